//! The cases as a page.

use std::fmt::Write as _;

use crate::case::Case;
use crate::cases;
use crate::packet::Version;

const HEAD: &str = "\
# What clients see

How a client of MQTT 3.1.1 or 5.0 is served by one plain Mosquitto, and by a federation where who publishes and who subscribes are at
different ends. This page is written from the cases in `e2e/tests/conformance`, each of which is played on one plain broker and through
fleets of 2, 4 and 6 brokers in a chain, on Mosquitto 2.0.11 and 2.1.2 (`cargo test -p skein-e2e --test conformance`). \"One broker\" is
configured with nothing but a port. A case with one version is about what only that version has, or does in its own way.
";

/// The page.
pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    let groups = cases::all();
    let changed: Vec<&Case> = groups
        .iter()
        .flat_map(|(_, cases)| cases.iter().filter(|case| case.federation.is_some()))
        .collect();
    text.push_str("\n## What a federation changes\n\n| | MQTT | one broker | federation | why |\n| --- | --- | --- | --- | --- |\n");
    for case in changed {
        if let Some((seen, why)) = case.federation {
            row(&mut text, case, &[seen, why.text()]);
        }
    }
    text.push_str("\n## What is the same\n");
    for (heading, cases) in &groups {
        let mut same = cases.iter().filter(|case| case.federation.is_none()).peekable();
        if same.peek().is_some() {
            let _ = write!(
                text,
                "\n### {heading}\n\n| | MQTT | one broker and federation |\n| --- | --- | --- |\n"
            );
        }
        for case in same {
            row(&mut text, case, &[]);
        }
    }
    text
}

fn row(text: &mut String, case: &Case, further: &[&str]) {
    let versions: Vec<&str> = case.versions.iter().copied().map(Version::name).collect();
    let one = match case.one_oldest {
        Some(oldest) => format!("{}; 2.0: {oldest}", case.one),
        None => case.one.to_owned(),
    };
    let mut cells = vec![case.behaviour.to_owned(), versions.join(", "), one];
    cells.extend(further.iter().map(|&cell| cell.to_owned()));
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}
