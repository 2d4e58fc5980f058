//! Failovers and drains.

use super::{BAD, Dashboard, GOOD, Look, ODD, PHASES, panel, phases};

const OF: &str = "namespace=~\"$namespace\"";

pub(super) fn dashboard() -> Dashboard {
    let of_phase = |phases: &str| {
        format!("sum(max by (namespace, phase) (skein_migrations{{{OF},phase=~\"{phases}\"}}))")
    };
    Dashboard {
        name: "migrations",
        title: "Skein / Migrations",
        description: "Failovers and drains: whose clients are on their way, who serves them, and what it costs those who listen.",
        choice: None,
        panels: vec![
            panel("Under way", Look::Stat, "none", of_phase("Detected|Fenced|Seeded|Retargeted|Adopted|Draining|FailingBack"), "")
                .says("Migrations that are on their way there or back.").from(&[(0.0, GOOD), (1.0, ODD)]).wide(6),
            panel("Served by a substitute", Look::Stat, "none", of_phase("Completed"), "")
                .says("Migrations that are done; the broker's clients are elsewhere.").from(&[(0.0, GOOD), (1.0, ODD)]).wide(6),
            panel("Waiting for approval", Look::Stat, "none", of_phase("Pending"), "")
                .says("A person has to approve them: kubectl patch migration NAME --type=merge --patch '{\"spec\": {\"approved\": true}}'.").from(&[(0.0, GOOD), (1.0, ODD)]).wide(6),
            panel("Failed", Look::Stat, "none", of_phase("Failed"), "")
                .says("Migrations that could not be done; kubectl describe migration says why.").from(&[(0.0, GOOD), (1.0, BAD)]).wide(6),
            panel("Phases of brokers", Look::States, "none", phases(OF), "{{namespace}}/{{broker}}")
                .says("As the controller sees them.").named(PHASES),
            panel("Who is replaced by whom", Look::States, "none", format!("max by (namespace, broker, substitute) (skein_broker_replaced{{{OF}}})"), "{{namespace}}/{{broker}} by {{substitute}}")
                .says("While a substitute serves the clients of a broker.").named(&[(1, "serves", ODD)]),
            panel("Migrations by phase", Look::Stacked, "none", format!("sum by (phase) (max by (namespace, phase) (skein_migrations{{{OF},phase!~\"FailedBack|Aborted\"}}))"), "{{phase}}")
                .says("Those that are not over."),
            panel("Migrations that are over", Look::Lines, "none", format!("sum by (phase) (max by (namespace, phase) (skein_migrations{{{OF},phase=~\"FailedBack|Aborted\"}}))"), "{{phase}}")
                .says("FailedBack: the broker serves itself again. Aborted: it came back before anything moved."),
            panel("Latency of paths meanwhile", Look::Lines, "s", format!("max by (namespace, topic) (skein_path_latency_seconds{{{OF}}})"), "{{namespace}}/{{topic}}")
                .says("How long the last probe took on the slowest path of each topic."),
            panel("Paths down meanwhile", Look::Lines, "none", format!("sum by (namespace, topic) (1 - max by (namespace, topic, producer, consumer) (skein_path_up{{{OF}}}))"), "{{namespace}}/{{topic}}")
                .says("Pairs of producer and consumer between which nothing comes through."),
        ],
    }
}
