//! `docs/metrics.md`.

use crate::{Kind, Row, controller, pod};

const HEAD: &str = include_str!("page.md");

/// The page: what is in `page.md`, with the tables where it names them.
#[must_use]
pub fn page() -> String {
    HEAD.replace("{controller}", &table(&controller::TABLE))
        .replace("{pod}", &table(&pod::TABLE))
}

fn table(rows: &[&Row]) -> String {
    let mut lines = vec![
        "| name | kind | labels | what it is |".to_owned(),
        "| --- | --- | --- | --- |".to_owned(),
    ];
    for row in rows {
        let kind = match row.kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = row.labels.iter().map(|label| format!("`{label}`")).collect();
        let cells = [&format!("`{}`", row.name), kind, &labels.join(", "), row.help];
        lines.push(["| ", &cells.join(" | "), " |"].concat());
    }
    lines.join("\n")
}
