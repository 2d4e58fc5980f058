//! One broker.

use super::{BAD, Dashboard, GOOD, Look, ODD, PHASES, panel, phases};

const OF: &str = "namespace=~\"$namespace\",broker=\"$broker\"";

pub(super) fn dashboard() -> Dashboard {
    let newest = |metric: &str| format!("max by (namespace, broker) ({metric}{{{OF}}})");
    Dashboard {
        name: "broker",
        title: "Skein / Broker",
        description: "One broker: its health, its process, its links, and what waits in it.",
        choice: Some(("broker", "skein_broker_phase")),
        panels: vec![
            panel("Process", Look::Stat, "none", newest("skein_broker_running"), "")
                .says("Whether Mosquitto runs, as its supervisor sees it.").named(&[(0, "stopped", BAD), (1, "runs", GOOD)]),
            panel("Up for", Look::Stat, "s", format!("time() - {}", newest("skein_broker_start_time_seconds")), "")
                .says("How long ago Mosquitto was started."),
            panel("Configuration", Look::Stat, "none", newest("skein_config_epoch"), "")
                .says("The number of the configuration that it uses."),
            panel("Newest one taken", Look::Stat, "none", newest("skein_config_rejected"), "")
                .says("Whether Mosquitto takes the newest configuration; if not, the Broker's conditions say why.").named(&[(0, "yes", GOOD), (1, "no", BAD)]),
            panel("Replaced by", Look::Stat, "none", format!("max by (substitute) (skein_broker_replaced{{{OF}}})"), "{{substitute}}")
                .says("Who serves its clients, if it is not the broker itself.").named(&[(1, "serves", ODD)]),
            panel("Queue full in", Look::Stat, "s", format!("min by (namespace, broker) (skein_queue_full_after_seconds{{{OF}}})"), "")
                .says("How soon the first queue is full if all go on to grow as they do; infinite if none grows.").from(&[(0.0, BAD), (600.0, ODD), (3600.0, GOOD)]),
            panel("Room left", Look::Stat, "bytes", newest("skein_store_free_bytes"), "")
                .says("On the volume where it keeps its messages. A full one loses what it acknowledges.").from(&[(0.0, BAD), (134_217_728.0, ODD), (536_870_912.0, GOOD)]),
            panel("Store read", Look::Stat, "s", format!("time() - {}", newest("skein_store_read_time_seconds")), "")
                .says("How old the figures of sessions and queues are."),
            panel("Phase", Look::States, "none", phases(OF), "{{namespace}}/{{broker}}").says("As the controller sees it.").named(PHASES),
            panel("Heartbeat", Look::Lines, "s", newest("skein_heartbeat_seconds"), "round trip")
                .and(format!("min by (namespace, broker) (skein_last_contact_seconds{{{OF}}})"), "last contact")
                .says("How long the last one took there and back, and how long ago it answered last."),
            panel("Links", Look::Lines, "none", newest("skein_links"), "planned").and(newest("skein_links_up"), "up")
                .says("Bridge connections that it is to hold, and those on which something comes through."),
            panel("Sessions", Look::Lines, "none", format!("sum by (of) (skein_sessions{{{OF}}})"), "{{of}}")
                .says("That its store keeps, of clients and of links."),
            panel("Messages that wait", Look::Lines, "short", format!("sum by (of) (skein_queue_messages{{{OF}}})"), "{{of}}")
                .says("In all of these sessions, or on their way and not acknowledged."),
            panel("Bytes that wait", Look::Lines, "bytes", format!("sum by (of) (skein_queue_bytes{{{OF}}})"), "{{of}}")
                .says("The payloads of these messages."),
            panel("Fullest queue", Look::Lines, "percentunit", newest("skein_queue_fill_ratio"), "full")
                .says("Of spec.managed.queue: what comes to a full queue is dropped.").from(&[(0.0, GOOD), (0.5, ODD), (0.9, BAD)]),
            panel("Processor", Look::Lines, "percentunit", format!("sum by (namespace, broker) (rate(skein_broker_cpu_seconds_total{{{OF}}}[$__rate_interval]))"), "of one core")
                .says("What Mosquitto takes of one core."),
            panel("Memory", Look::Lines, "bytes", newest("skein_broker_memory_bytes"), "resident").says("Of Mosquitto's process."),
            panel("Restarts", Look::Lines, "none", format!("sum by (namespace, broker) (increase(skein_broker_restarts_total{{{OF}}}[$__rate_interval]))"), "restarts")
                .says("How often Mosquitto died by itself and was started again.").wide(24),
        ],
    }
}
