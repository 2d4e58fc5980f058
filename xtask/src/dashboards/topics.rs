//! The paths of one topic.

use super::{BAD, Dashboard, GOOD, Look, panel};

const OF: &str = "namespace=~\"$namespace\",topic=\"$topic\"";

pub(super) fn dashboard() -> Dashboard {
    let quantile = |part: &str| {
        format!(
            "histogram_quantile({part}, sum by (le) (rate(skein_topic_latency_seconds_bucket{{{OF}}}[$__rate_interval])))"
        )
    };
    let probes = |result: &str| format!("sum(rate(skein_probes_total{{{OF},{result}}}[$__rate_interval]))");
    Dashboard {
        name: "topics",
        title: "Skein / Topic paths",
        description: "The paths of one topic: whether messages come through, and how long they take.",
        choice: Some(("topic", "skein_path_up")),
        panels: vec![
            panel("Paths up", Look::Stat, "none", format!("sum(max by (namespace, producer, consumer) (skein_path_up{{{OF}}}))"), "")
                .says("Pairs of producer and consumer between which the last probe came through.").wide(6),
            panel("Paths", Look::Stat, "none", format!("count(max by (namespace, producer, consumer) (skein_path_up{{{OF}}}))"), "")
                .says("All pairs of producer and consumer.").wide(6),
            panel("Slowest path", Look::Stat, "s", format!("max(skein_path_latency_seconds{{{OF}}})"), "")
                .says("How long the last probe took on the slowest path.").wide(6),
            panel("Probes lost", Look::Stat, "percentunit", format!("{} / {}", probes("result=\"lost\""), probes("result=~\"lost|arrived\"")), "")
                .says("Of those in the last moments.").from(&[(0.0, GOOD), (0.01, BAD)]).wide(6),
            panel("Paths", Look::States, "none", format!("max by (namespace, producer, consumer) (skein_path_up{{{OF}}})"), "{{producer}} → {{consumer}}")
                .says("Whether the last probe from a producer to a consumer came through.").named(&[(0, "down", BAD), (1, "up", GOOD)]),
            panel("Latency by path", Look::Lines, "s", format!("max by (namespace, producer, consumer) (skein_path_latency_seconds{{{OF}}})"), "{{producer}} → {{consumer}}")
                .says("How long the last probe took from each producer to each consumer."),
            panel("Latency of all paths", Look::Lines, "s", quantile("0.5"), "median").and(quantile("0.95"), "95 of 100").and(quantile("0.99"), "99 of 100")
                .says("How long probes took at most."),
            panel("Distribution of latency", Look::Heatmap, "s", format!("sum by (le) (increase(skein_topic_latency_seconds_bucket{{{OF}}}[$__rate_interval]))"), "{{le}}")
                .says("How many probes took how long."),
            panel("Mean latency", Look::Lines, "s", format!("sum(rate(skein_topic_latency_seconds_sum{{{OF}}}[$__rate_interval])) / sum(rate(skein_topic_latency_seconds_count{{{OF}}}[$__rate_interval]))"), "mean")
                .says("Over all paths."),
            panel("Probes", Look::Lines, "cps", format!("sum by (result) (rate(skein_probes_total{{{OF}}}[$__rate_interval]))"), "{{result}}")
                .says("Probes a second by what came of them. After a change ten times as many are sent for a while.").wide(24),
        ],
    }
}
