//! The whole fleet at a glance.

use super::{BAD, Dashboard, GOOD, Look, ODD, PHASES, PLAIN, panel, phases};

const OF: &str = "namespace=~\"$namespace\"";

pub(super) fn dashboard() -> Dashboard {
    let count = |query: &str| format!("{} or vector(0)", query.replace("OF", OF));
    let none: &[(f64, &str)] = &[(0.0, GOOD), (1.0, BAD)];
    let rather_none: &[(f64, &str)] = &[(0.0, GOOD), (1.0, ODD)];
    Dashboard {
        name: "fleet",
        title: "Skein / Fleet",
        description: "All brokers, links and topics of a fleet, and the controller that cares for them.",
        choice: None,
        panels: vec![
            panel("Brokers ready", Look::Stat, "none", count("sum(max by (namespace, broker) (skein_broker_phase{OF,phase=\"Ready\"}))"), "")
                .says("Brokers that answer."),
            panel("Brokers out", Look::Stat, "none", count("sum(max by (namespace, broker) (skein_broker_phase{OF,phase=~\"Down|Returning\"}))"), "")
                .says("Brokers that are declared down, or answer again and are not yet taken back.").from(none),
            panel("Brokers replaced", Look::Stat, "none", count("sum(max by (namespace, broker) (skein_broker_replaced{OF}))"), "")
                .says("Brokers whose clients a substitute serves.").from(rather_none),
            panel("Paths down", Look::Stat, "none", count("count(max by (namespace, topic, producer, consumer) (skein_path_up{OF}) == 0)"), "")
                .says("Paths on which the last probe did not come through.").from(none),
            panel("Links down", Look::Stat, "none", format!("sum(max by (namespace, broker) (skein_links{{{OF}}})) - sum(max by (namespace, broker) (skein_links_up{{{OF}}}))"), "")
                .says("Links of the plan on which nothing comes through.").from(none),
            panel("Waiting for approval", Look::Stat, "none", count("sum(max by (namespace) (skein_migrations{OF,phase=\"Pending\"}))"), "")
                .says("Migrations that a person has to approve.").from(rather_none),
            panel("Problems", Look::Stat, "none", count("sum(max by (namespace) (skein_problems{OF}))"), "")
                .says("Things that do not work; the status of the resources says which.").from(rather_none),
            panel("Errors declared", Look::Stat, "none", count("sum(max by (namespace) (skein_declaration_errors{OF}))"), "")
                .says("Things that are wrong with what is declared, so that it is not in force.").from(rather_none),
            panel("Phases of brokers", Look::States, "none", phases(OF), "{{namespace}}/{{broker}}")
                .says("Ready: it answers. Suspect: something is amiss. Down: routed around, and replaced if its policy says so. Returning: it answers again and is not yet taken back. Pending: nothing was heard yet.")
                .named(PHASES),
            panel("Heartbeats", Look::Lines, "s", format!("max by (namespace, broker) (skein_heartbeat_seconds{{{OF}}})"), "{{namespace}}/{{broker}}")
                .says("How long the last heartbeat of each broker took there and back."),
            panel("Last contact", Look::Lines, "s", format!("min by (namespace, broker) (skein_last_contact_seconds{{{OF}}})"), "{{namespace}}/{{broker}}")
                .says("How long ago each broker answered last."),
            panel("Probes that were lost or came twice", Look::Lines, "cps", format!("sum by (namespace, topic, result) (rate(skein_probes_total{{{OF},result=~\"lost|doubled\"}}[$__rate_interval]))"), "{{namespace}}/{{topic}} {{result}}")
                .says("Probes a second, by topic. While a path moves some are lost to the controller, though no message is."),
            panel("Latency of topics", Look::Lines, "s", format!("histogram_quantile(0.95, sum by (namespace, topic, le) (rate(skein_topic_latency_seconds_bucket{{{OF}}}[$__rate_interval])))"), "{{namespace}}/{{topic}}")
                .says("How long 95 of 100 probes took at most, end to end."),
            panel("Fullest queues", Look::Lines, "percentunit", format!("topk(10, max by (namespace, broker) (skein_queue_fill_ratio{{{OF}}}))"), "{{namespace}}/{{broker}}")
                .says("How full the fullest queue of a session is at each broker, of spec.managed.queue. A full one drops what comes next.").from(&[(0.0, GOOD), (0.5, ODD), (0.9, BAD)]),
            panel("Messages that wait", Look::Stacked, "short", format!("sum by (of) (skein_queue_messages{{{OF}}})"), "{{of}}")
                .says("In the sessions of clients and of links, over all brokers."),
            panel("Restarts of Mosquitto", Look::Lines, "none", format!("sum by (namespace, broker) (increase(skein_broker_restarts_total{{{OF}}}[$__rate_interval]))"), "{{namespace}}/{{broker}}")
                .says("How often its process died by itself and was started again."),
            panel("Controllers that act", Look::Lines, "none", "sum(skein_leader)", "acting").and("count(skein_leader)", "running")
                .says("One of those that run acts."),
            panel("Planning", Look::Lines, "s", "histogram_quantile(0.5, sum by (le) (rate(skein_plan_seconds_bucket[$__rate_interval])))", "median")
                .and("histogram_quantile(0.99, sum by (le) (rate(skein_plan_seconds_bucket[$__rate_interval])))", "99 of 100")
                .says("How long it took to plan a fleet anew; nothing where none was."),
            panel("Reconciles and writes", Look::Lines, "cps", format!("sum(rate(skein_reconciles_total{{{OF}}}[$__rate_interval]))"), "reconciles")
                .and("sum by (result) (rate(skein_writes_total[$__rate_interval]))", "writes: {{result}}")
                .says("How often what is declared was read and put in force, and what became of writes to the API server.").from(&[(0.0, PLAIN)]),
        ],
    }
}
