//! Grafana's dashboards in `deploy/dashboards`, written from what is said of them here: what is asked, and how it is to be read.
//!
//! This knows how Grafana wants it (its dashboard JSON, schema version 39); each dashboard is a module.

mod broker;
mod fleet;
mod migrations;
mod topics;

use serde_json::{Value, json};

/// The version of Grafana's schema.
const SCHEMA: u32 = 39;
/// Columns of a dashboard.
const COLUMNS: u32 = 24;

/// What a panel looks like.
#[derive(Clone, Copy)]
enum Look {
    /// The last value, large.
    Stat,
    /// Lines over time.
    Lines,
    /// Areas over time, one on the other.
    Stacked,
    /// What state each is in over time.
    States,
    /// How often it was how much, over time.
    Heatmap,
}

/// Colours in the words of Grafana, which has one for light and one for dark screens.
const GOOD: &str = "green";
const ODD: &str = "yellow";
const BAD: &str = "red";
const PLAIN: &str = "blue";

/// One panel.
struct Panel {
    title: &'static str,
    description: &'static str,
    look: Look,
    unit: &'static str,
    /// Columns.
    width: u32,
    /// What is asked, and how a series of the answer is called.
    queries: Vec<(String, &'static str)>,
    /// From which value on which colour: the first one from the least on.
    steps: &'static [(f64, &'static str)],
    /// Values that have a name and a colour.
    names: &'static [(i64, &'static str, &'static str)],
}

/// A panel with one query.
fn panel(
    title: &'static str,
    look: Look,
    unit: &'static str,
    query: impl Into<String>,
    legend: &'static str,
) -> Panel {
    let width = match look {
        Look::Stat => 3,
        Look::Lines | Look::Stacked | Look::Heatmap => 12,
        Look::States => COLUMNS,
    };
    Panel {
        title,
        description: "",
        look,
        unit,
        width,
        queries: vec![(query.into(), legend)],
        steps: &[(0.0, PLAIN)],
        names: &[],
    }
}

impl Panel {
    fn says(mut self, description: &'static str) -> Self {
        self.description = description;
        self
    }

    fn and(mut self, query: impl Into<String>, legend: &'static str) -> Self {
        self.queries.push((query.into(), legend));
        self
    }

    fn from(mut self, steps: &'static [(f64, &'static str)]) -> Self {
        self.steps = steps;
        self
    }

    fn named(mut self, names: &'static [(i64, &'static str, &'static str)]) -> Self {
        self.names = names;
        self
    }

    fn wide(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    fn height(&self) -> u32 {
        match self.look {
            Look::Stat => 4,
            _ => 8,
        }
    }

    fn json(&self, id: usize, at: (u32, u32)) -> Value {
        let steps = self.steps.iter().enumerate().map(|(index, (from, color))| {
            let value = if index == 0 { Value::Null } else { json!(from) };
            json!({"color": color, "value": value})
        });
        let is_stacked = matches!(self.look, Look::Stacked);
        let custom = match self.look {
            Look::Lines | Look::Stacked => json!({
                "drawStyle": "line", "lineWidth": 1, "showPoints": "never", "spanNulls": false,
                "fillOpacity": if is_stacked { 40 } else { 5 },
                "stacking": {"mode": if is_stacked { "normal" } else { "none" }},
            }),
            Look::States => json!({"fillOpacity": 80, "lineWidth": 0}),
            Look::Stat | Look::Heatmap => json!({}),
        };
        let names = self
            .names
            .iter()
            .map(|(value, text, color)| (value.to_string(), json!({"text": text, "color": color})));
        let names: serde_json::Map<String, Value> = names.collect();
        let mappings = if names.is_empty() {
            json!([])
        } else {
            json!([{"type": "value", "options": names}])
        };
        let mode = match self.look {
            Look::Stat | Look::States => "thresholds",
            _ => "palette-classic",
        };
        let defaults = json!({
            "unit": self.unit, "color": {"mode": mode}, "custom": custom, "mappings": mappings,
            "thresholds": {"mode": "absolute", "steps": steps.collect::<Vec<_>>()},
        });
        let is_stat = matches!(self.look, Look::Stat);
        let targets = self.queries.iter().zip('A'..).map(|((query, legend), letter)| {
            json!({
                "refId": letter.to_string(), "datasource": datasource(), "expr": query, "legendFormat": legend,
                "instant": is_stat, "range": !is_stat,
                "format": if matches!(self.look, Look::Heatmap) { "heatmap" } else { "time_series" },
            })
        });
        json!({
            "id": id, "type": self.kind(), "title": self.title, "description": self.description, "datasource": datasource(),
            "gridPos": {"x": at.0, "y": at.1, "w": self.width, "h": self.height()},
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": self.options(),
            "targets": targets.collect::<Vec<_>>(),
        })
    }

    fn kind(&self) -> &'static str {
        match self.look {
            Look::Stat => "stat",
            Look::Lines | Look::Stacked => "timeseries",
            Look::States => "state-timeline",
            Look::Heatmap => "heatmap",
        }
    }

    fn options(&self) -> Value {
        match self.look {
            Look::Stat => json!({
                "colorMode": "value", "graphMode": "none", "textMode": "auto",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            }),
            Look::Lines | Look::Stacked => json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
            Look::States => json!({
                "mergeValues": true, "showValue": "auto", "rowHeight": 0.8,
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
            }),
            Look::Heatmap => json!({
                "calculate": false, "yAxis": {"unit": self.unit}, "color": {"mode": "scheme", "scheme": "Blues"},
            }),
        }
    }
}

/// One dashboard.
struct Dashboard {
    /// By which it is known and called, with `skein-` before it.
    name: &'static str,
    title: &'static str,
    description: &'static str,
    /// What is chosen beside the namespace: a label, and of which metric.
    choice: Option<(&'static str, &'static str)>,
    panels: Vec<Panel>,
}

impl Dashboard {
    fn json(&self) -> Value {
        let (mut x, mut y, mut row) = (0, 0, 0);
        let mut panels = Vec::new();
        for (id, panel) in self.panels.iter().enumerate() {
            if x + panel.width > COLUMNS {
                (x, y, row) = (0, y + row, 0);
            }
            panels.push(panel.json(id + 1, (x, y)));
            x += panel.width;
            row = row.max(panel.height());
        }
        let mut variables = vec![
            json!({"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}),
            choice("namespace", "label_values(skein_broker_phase, namespace)", true),
        ];
        variables.extend(self.choice.map(|(label, metric)| {
            let query = format!("label_values({metric}{{namespace=~\"$namespace\"}}, {label})");
            choice(label, &query, false)
        }));
        json!({
            "uid": format!("skein-{}", self.name), "title": self.title, "description": self.description,
            "tags": ["skein", "mqtt"], "schemaVersion": SCHEMA, "version": 1, "editable": true, "graphTooltip": 1,
            "time": {"from": "now-1h", "to": "now"}, "refresh": "10s", "timezone": "browser",
            "templating": {"list": variables}, "annotations": {"list": []},
            "links": [{
                "type": "dashboards", "title": "Skein", "tags": ["skein"], "asDropdown": true,
                "includeVars": true, "keepTime": true,
            }],
            "panels": panels,
        })
    }
}

fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// A variable that is chosen from what Prometheus knows.
fn choice(name: &str, query: &str, several: bool) -> Value {
    json!({
        "name": name, "label": name, "type": "query", "datasource": datasource(), "refresh": 2, "sort": 1,
        "query": {"query": query, "refId": name}, "definition": query,
        "multi": several, "includeAll": several,
        "current": if several { json!({"text": ["All"], "value": ["$__all"]}) } else { json!({}) },
    })
}

/// In which phase brokers are, as a number: see [`PHASES`].
fn phases(of: &str) -> String {
    let phase =
        |phase: &str| format!("max by (namespace, broker) (skein_broker_phase{{{of},phase=\"{phase}\"}})");
    format!(
        "{} + 2 * {} + 3 * {} + 4 * {}",
        phase("Suspect"),
        phase("Down"),
        phase("Returning"),
        phase("Pending")
    )
}

/// What the numbers mean.
const PHASES: &[(i64, &str, &str)] = &[
    (0, "Ready", GOOD),
    (1, "Suspect", ODD),
    (2, "Down", BAD),
    (3, "Returning", "purple"),
    (4, "Pending", "blue"),
];

/// By file name.
pub(crate) fn all() -> Vec<(String, String)> {
    let dashboards = [
        fleet::dashboard(),
        broker::dashboard(),
        topics::dashboard(),
        migrations::dashboard(),
    ];
    let file = |dashboard: Dashboard| {
        (
            format!("{}.json", dashboard.name),
            format!("{:#}\n", dashboard.json()),
        )
    };
    dashboards.map(file).into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn parsed() -> Vec<Value> {
        let parsed = all().into_iter().map(|(_, text)| serde_json::from_str(&text));
        parsed.collect::<Result<_, _>>().unwrap()
    }

    fn panels(dashboard: &Value) -> &[Value] {
        dashboard["panels"].as_array().unwrap()
    }

    #[test]
    fn panels_lie_beside_each_other_and_say_what_they_show() {
        for dashboard in parsed() {
            let mut taken = BTreeSet::new();
            for panel in panels(&dashboard) {
                let title = panel["title"].as_str().unwrap();
                assert!(
                    !panel["description"].as_str().unwrap().is_empty(),
                    "{title} says nothing"
                );
                let at = |side: &str| panel["gridPos"][side].as_u64().unwrap();
                assert!(at("x") + at("w") <= u64::from(COLUMNS), "{title}");
                for x in at("x")..at("x") + at("w") {
                    for y in at("y")..at("y") + at("h") {
                        assert!(taken.insert((x, y)), "{title} lies on another panel");
                    }
                }
            }
        }
    }

    #[test]
    fn every_metric_is_shown_and_every_one_shown_is_a_metric() {
        let rows: Vec<_> = skein_metrics::controller::TABLE
            .into_iter()
            .chain(skein_metrics::pod::TABLE)
            .collect();
        let mut shown = BTreeSet::new();
        for query in parsed()
            .iter()
            .flat_map(panels)
            .flat_map(|panel| panel["targets"].as_array().unwrap())
        {
            let query = query["expr"].as_str().unwrap();
            let words = query.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
            for word in words.filter(|word| word.starts_with("skein_")) {
                let row = rows.iter().find(|row| {
                    word.strip_prefix(row.name)
                        .is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
                });
                shown.insert(row.unwrap_or_else(|| panic!("there is no {word}: {query}")).name);
            }
        }
        let hidden: Vec<&str> = rows
            .iter()
            .map(|row| row.name)
            .filter(|name| !shown.contains(name))
            .collect();
        assert!(hidden.is_empty(), "{hidden:?}");
    }
}
