//! Alerts, their tests and their runbooks: none without the others. What they say is tried on Prometheus in `cluster_metrics`.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;
use skein_e2e::repository;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap()
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn every_alert_says_what_to_do_and_is_tested() {
    let (rules, tests) = (
        yaml("deploy/alerts/skein.yaml"),
        yaml("deploy/alerts/tests/skein.yaml"),
    );
    let runbooks = read("docs/runbooks.md");
    let alerts: Vec<&Value> = list(&rules["groups"])
        .iter()
        .flat_map(|group| list(&group["rules"]))
        .collect();
    assert!(alerts.len() > 10, "{}", alerts.len());
    for alert in &alerts {
        let name = text(&alert["alert"]);
        assert!(
            ["critical", "warning"].contains(&text(&alert["labels"]["severity"])),
            "{name}"
        );
        for annotation in ["summary", "description"] {
            assert!(
                text(&alert["annotations"][annotation]).ends_with('.'),
                "{name} has no {annotation}"
            );
        }
        let url = text(&alert["annotations"]["runbook_url"]);
        assert_eq!(url, format!("docs/runbooks.md#{}", name.to_lowercase()));
        let chapter = runbooks.split(&format!("\n## {name}\n")).nth(1);
        let chapter = chapter.unwrap_or_else(|| panic!("{name} has no runbook"));
        let chapter = chapter.split("\n## ").next().unwrap_or_default();
        assert!(chapter.trim().len() > 100, "the runbook of {name} says little");

        let test = list(&tests["tests"])
            .iter()
            .find(|test| text(&test["name"]) == name);
        let test = test.unwrap_or_else(|| panic!("{name} has no test"));
        let asked = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
        let expected: BTreeSet<bool> = list(&test["promql_expr_test"])
            .iter()
            .filter(|case| text(&case["expr"]) == asked)
            .map(|case| !list(&case["exp_samples"]).is_empty())
            .collect();
        assert_eq!(
            expected.len(),
            2,
            "{name} has to fire in one case and be silent in another"
        );
    }
    let alerts = alerts.len();
    assert_eq!(list(&tests["tests"]).len(), alerts, "a test is of no alert");
    assert_eq!(
        runbooks.matches("\n## ").count(),
        alerts,
        "a runbook is of no alert"
    );
}
