//! What a broker promises, for people: durability, the contract, queues, known issues.

use std::collections::BTreeMap;

use skein_contract::Lost;
use skein_planner::explain::{
    BrokerExplanation, ContractRow, DurabilityExplanation, KnownFrom, Limit, QosPromise, QueueBudget,
    VersionIssue, listed,
};
use skein_planner::plan::Finding;
use unicode_width::UnicodeWidthStr as _;

use crate::findings::finding_lines;
use crate::paint::{BAD, CAREFUL, FAINT, GOOD, PLAIN, TITLE, paint};
use crate::plan::brief;
use crate::prose::{hung, paragraph};
use crate::table::{Cell, Table};

/// All sections, each with an empty line before it.
pub(super) fn sections(found: &BrokerExplanation) -> String {
    let mut text = match &found.durability {
        Some(durability) => section("Durability", &kept(durability)),
        None => section(
            "Durability",
            &paragraph(
                "Skein does not control it, so what it keeps is up to whoever runs it, and no row of the loss contract holds for it.",
            ),
        ),
    };
    if !found.contract.is_empty() {
        text += &section("If … then", &contract(&found.contract));
    }
    if !found.queues.is_empty() {
        text += &section("Queues", &queues(&found.queues));
    }
    if let (false, Some(durability)) = (found.known_issues.is_empty(), &found.durability) {
        text += &section(
            &format!("Known issues of Mosquitto {}", durability.version),
            &issues(&found.known_issues),
        );
    }
    text + &findings(&found.findings)
}

/// A titled part, with an empty line before it.
pub(super) fn section(title: &str, text: &str) -> String {
    format!("\n{}\n{text}", paint(TITLE, title))
}

/// Findings as `plan` shows them, after an empty line.
pub(super) fn findings(findings: &[Finding]) -> String {
    let lines = finding_lines(findings);
    if lines.is_empty() {
        lines
    } else {
        format!("\n{lines}")
    }
}

fn kept(durability: &DurabilityExplanation) -> String {
    let version = &durability.version;
    let by = match durability.version_from {
        KnownFrom::Running => format!("Mosquitto {version} runs"),
        KnownFrom::Declared => format!("Mosquitto {version} is asked for"),
        KnownFrom::Assumed => format!("nothing says which Mosquitto, so {version} is assumed"),
    };
    let mut text = paragraph(&format!("{}, {}; {by}", durability.profile, durability.reason));
    let width = durability
        .keeps
        .iter()
        .map(|left| left.after.title().width())
        .max();
    for left in &durability.keeps {
        let title = left.after.title();
        text += &hung(title, title, width.unwrap_or(0), left.says);
    }
    text
}

fn contract(rows: &[ContractRow]) -> String {
    let mut table = Table::new(&["IF", "QOS", "LOST", "TWICE", "ORDER", "TODAY"]).indented();
    for row in rows {
        let mut head = Cell::from(row.event.brief());
        for (qos, promise) in grouped(&row.promises) {
            table.row(vec![
                std::mem::take(&mut head),
                qos.into(),
                Cell::styled(promise.loss.brief(), lost_style(promise.loss)),
                promise.duplicates.into(),
                promise.order.brief().into(),
                match (row.kept, promise.loss) {
                    (true, Lost::NotPromised) => Cell::styled("-", FAINT),
                    (true, _) => Cell::styled("kept", GOOD),
                    (false, _) => Cell::styled("not yet", CAREFUL),
                },
            ]);
        }
    }
    table.text() + &notes(rows)
}

fn lost_style(loss: Lost) -> anstyle::Style {
    match loss {
        Lost::Nothing => GOOD,
        Lost::EverythingHeld | Lost::NotPromised => BAD,
        Lost::Bounded(_) | Lost::While(_) => PLAIN,
    }
}

/// Neighbouring qualities of service with the same promise, as `0-2`.
fn grouped(promises: &[QosPromise]) -> Vec<(String, &QosPromise)> {
    let same = |one: &QosPromise, other: &QosPromise| {
        (one.loss.brief(), one.duplicates, one.order) == (other.loss.brief(), other.duplicates, other.order)
    };
    promises
        .chunk_by(same)
        .filter_map(|group| {
            let (first, last) = (group.first()?, group.last()?);
            let qos = if first.qos == last.qos {
                first.qos.to_string()
            } else {
                format!("{}-{}", first.qos, last.qos)
            };
            Some((qos, first))
        })
        .collect()
}

/// What the table has no room for: what holds where it says "not yet", rows without a promise, and what all of it rests on.
fn notes(rows: &[ContractRow]) -> String {
    let mut text = String::new();
    // Rows that share their reason are told together, in the order of the table.
    let mut not_yet: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for row in rows {
        let Some(reason) = row.today.zip(row.why_not_yet) else {
            continue;
        };
        match not_yet.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, events)) => events.push(row.event.brief()),
            None => not_yet.push((reason, vec![row.event.brief()])),
        }
    }
    if !not_yet.is_empty() {
        text += "\n";
        text += &paragraph("Not yet so, and what holds today:");
    }
    for ((today, why), events) in not_yet {
        text += &hung(
            "-",
            "-",
            1,
            &format!("{}: {today}. {}.", events.join("; "), capital(why)),
        );
    }
    let mut rests: Vec<String> = Vec::new();
    for row in rows {
        let nothing = |promise: &QosPromise| promise.loss == Lost::NotPromised;
        let told = row.promises.is_empty() || row.promises.iter().any(nothing);
        if told && row.kept && !row.says.is_empty() {
            rests.push(format!("{}: {}.", row.event.brief(), row.says));
        }
    }
    for row in rows {
        for footnote in &row.footnotes {
            let sentence = format!("{}.", capital(footnote));
            if !rests.contains(&sentence) {
                rests.push(sentence);
            }
        }
    }
    if !rests.is_empty() {
        text += "\n";
        text += &paragraph("All of it is about what a broker acknowledged. Besides:");
    }
    for sentence in rests {
        text += &hung("-", "-", 1, &sentence);
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A table of queues, or a sentence where no load is declared at all.
pub(super) fn queues(queues: &[QueueBudget]) -> String {
    let known = queues
        .iter()
        .any(|queue| queue.full_after_ms.is_some() || !queue.uncounted.is_empty());
    if !known && queues.iter().any(|queue| !queue.undeclared.is_empty()) {
        let limits: BTreeMap<_, Vec<_>> = queues.iter().fold(BTreeMap::new(), |mut limits, queue| {
            let holders: &mut Vec<_> = limits.entry(limit(queue)).or_default();
            if !holders.contains(&&queue.holder) {
                holders.push(&queue.holder);
            }
            limits
        });
        let limits: Vec<String> = limits
            .into_iter()
            .map(|(limit, holders)| format!("{limit} at {}", listed(holders)))
            .collect();
        let mut topics: Vec<_> = queues.iter().flat_map(|queue| &queue.undeclared).collect();
        topics.sort_unstable();
        topics.dedup();
        return paragraph(&format!(
            "{} queues concern it, each of {}. How soon they are full when whoever they wait for is away is unknown: \
             declare spec.expected of topic {}.",
            queues.len(),
            limits.join("; "),
            listed(topics)
        ));
    }
    let mut table = Table::new(&["WAITS IN", "FOR", "TOPIC", "LIMIT", "LOAD", "FULL AFTER"]).indented();
    for queue in queues {
        table.row(vec![
            Cell::from(&queue.holder),
            queue
                .waits_for
                .as_ref()
                .map_or_else(|| Cell::styled("a subscriber", FAINT), Cell::from),
            waiting(queue).into(),
            limit(queue).replace(" messages or", ",").into(),
            load(queue),
            full(queue),
        ]);
    }
    let mut text = table.text();
    if queues.iter().any(|queue| !queue.uncounted.is_empty()) {
        text += &paragraph("QoS 0 counts for no limit: what waits with it fills memory.");
    }
    text
}

fn waiting(queue: &QueueBudget) -> String {
    let mut parts = Vec::new();
    if !queue.topics.is_empty() {
        parts.push(brief(&queue.topics));
    }
    if !queue.commands.is_empty() {
        parts.push(format!("commands of {}", brief(&queue.commands)));
    }
    parts.join(", ")
}

/// As a sentence has it; a table has a comma for the words.
fn limit(queue: &QueueBudget) -> String {
    match (queue.messages, queue.bytes) {
        (Some(messages), Some(bytes)) => format!("{messages} messages or {}", size(bytes)),
        _ => "not Skein's".to_owned(),
    }
}

fn load(queue: &QueueBudget) -> Cell {
    if queue.messages_per_second == 0 {
        return Cell::styled("undeclared", FAINT);
    }
    format!(
        "{}/s, {}/s",
        queue.messages_per_second,
        size(queue.bytes_per_second)
    )
    .into()
}

fn full(queue: &QueueBudget) -> Cell {
    let all_declared = queue.undeclared.is_empty() && queue.commands.is_empty();
    let Some(after) = queue.full_after_ms else {
        return if all_declared && queue.messages.is_some() {
            "no limit".into()
        } else {
            Cell::styled("unknown", FAINT)
        };
    };
    let most = if all_declared { "" } else { "at most " };
    let by = match queue.limited_by {
        Some(Limit::Bytes) => " (bytes)",
        Some(Limit::Messages) | None => "",
    };
    let style = if after < 60_000 { CAREFUL } else { PLAIN };
    Cell::styled(format!("{most}{}{by}", time(after)), style)
}

/// `1.5 s`, `90 s`, `15 min`, `7 h`, `12 days`: rounded down.
fn time(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, milliseconds % 1000 / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// `64Mi`, as manifests write sizes; rounded down where it is no whole number.
fn size(bytes: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    units.iter().find(|(bits, _)| bytes >> bits > 0).map_or_else(
        || bytes.to_string(),
        |(bits, unit)| format!("{}{unit}", bytes >> bits),
    )
}

fn issues(issues: &[VersionIssue]) -> String {
    let effects = issues.iter().map(|issue| issue.effect.to_string().width());
    let width = effects.max().unwrap_or(0);
    let mut text = String::new();
    for issue in issues.iter().filter(|issue| !issue.avoided) {
        let style = if issue.effect.is_grave() { BAD } else { CAREFUL };
        let sentence = format!("{}: {}; {}.", issue.name, issue.what, issue.remedy);
        let effect = issue.effect.to_string();
        text += &hung(&effect, &paint(style, &effect), width, &sentence);
    }
    let avoided: Vec<&str> = issues
        .iter()
        .filter(|issue| issue.avoided)
        .map(|issue| issue.name)
        .collect();
    if !avoided.is_empty() {
        text += &paragraph(&format!("Skein keeps clear of {}.", avoided.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_as_people_say_them() {
        for (milliseconds, said) in [
            (0, "0.0 s"),
            (1_550, "1.5 s"),
            (59_999, "59 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_199_000, "119 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(time(milliseconds), said);
        }
        for (bytes, said) in [
            (0, "0"),
            (1_023, "1023"),
            (1_024, "1Ki"),
            (64 << 20, "64Mi"),
            (3 << 30, "3Gi"),
        ] {
            assert_eq!(size(bytes), said);
        }
    }
}
