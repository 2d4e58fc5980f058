//! What a person would look at when something on a cluster does not work.

use std::io;
use std::process::Output;

/// Runs `kubectl` with these words.
pub(crate) type Kubectl<'a> = &'a dyn Fn(&[&str]) -> io::Result<Output>;

/// Objects, what is said of brokers and of their moves, what happened, and what controllers said last.
pub(crate) fn story(kubectl: Kubectl<'_>, namespace: &str) -> String {
    let here = ["--namespace", namespace];
    let there = ["--namespace", "skein"];
    let conditions =
        "--output=jsonpath={range .items[*]}{.metadata.name}{\": \"}{.status.conditions}{\"\\n\"}{end}";
    let moves = "--output=jsonpath={range .items[*]}{.metadata.name}{\": \"}{.status}{\"\\n\"}{end}";
    let all = "brokers,noderoutes,topics,migrations,pods";
    let selector = "--selector=app.kubernetes.io/name=skein";
    let mut story = Vec::new();
    for (place, words) in [
        (here, &["get", all, "--output=wide"] as &[&str]),
        (here, &["get", "brokers", conditions]),
        (here, &["get", "migrations", moves]),
        (here, &["get", "events", "--sort-by=.lastTimestamp"]),
        (there, &["get", "pods", "--output=wide"]),
        (
            there,
            &["logs", selector, "--prefix", "--timestamps", "--tail=80"],
        ),
    ] {
        let words = [&place, words].concat();
        story.push(format!("$ kubectl {}", words.join(" ")));
        story.push(match kubectl(&words) {
            Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
            Err(error) => error.to_string(),
        });
    }
    story.join("\n")
}
