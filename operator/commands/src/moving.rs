//! How far a drain is, in a sentence: for whoever tells each step, and for `drain`, which waits.

use std::collections::{BTreeMap, BTreeSet};

use skein_adapter::migrations::MigrationRecord;
use skein_engine::directive::{Migration, MigrationPhase};

use crate::paint::count;

/// So many clients are named; of the others it is said how many they are.
const NAMED: usize = 3;

/// What a drain does now.
#[must_use]
pub fn sentence(record: &MigrationRecord) -> String {
    let migration = &record.migration;
    let broker = &migration.broker;
    match migration.phase {
        MigrationPhase::Pending => format!("draining {broker}: it waits for its turn"),
        MigrationPhase::Detected => match &migration.to {
            Some(to) => format!("draining {broker}: its clients are to go to {to}"),
            None => format!("draining {broker}: looking for a broker that can take its clients"),
        },
        MigrationPhase::Fenced => format!("draining {broker}: its links are barred"),
        MigrationPhase::Seeded => format!(
            "draining {broker}: {} at {}, and both serve",
            opened(migration),
            substitute(migration)
        ),
        MigrationPhase::Draining if migration.waiting.is_empty() => {
            format!("draining {broker}: waiting until every client has got what waits for it")
        }
        MigrationPhase::Draining => format!(
            "draining {broker}: messages wait for {}: {}",
            clients(migration.waiting.len()),
            waiting(&migration.waiting)
        ),
        MigrationPhase::Retargeted => {
            format!(
                "draining {broker}: its address leads to {} now",
                substitute(migration)
            )
        }
        MigrationPhase::Adopted => {
            format!(
                "draining {broker}: {} has taken its links over",
                substitute(migration)
            )
        }
        MigrationPhase::Completed => format!(
            "broker {broker} is empty and can be stopped; {} serves its clients",
            substitute(migration)
        ),
        MigrationPhase::FailingBack if migration.waiting.is_empty() => {
            format!("undraining {broker}: its clients go back to it")
        }
        MigrationPhase::FailingBack => format!(
            "undraining {broker}: messages wait for {}: {}",
            clients(migration.waiting.len()),
            waiting(&migration.waiting)
        ),
        MigrationPhase::FailedBack => format!("broker {broker} serves its clients itself again"),
        MigrationPhase::Aborted => format!("the drain of {broker} was called off before anything moved"),
        MigrationPhase::Failed => format!("broker {broker} cannot be drained: {}", why(migration)),
    }
}

/// How many clients have their sessions at the substitute.
pub(crate) fn moved(migration: &Migration) -> usize {
    let there = migration.to.as_ref().and_then(|to| migration.moved.get(to));
    there.map_or(0, BTreeSet::len)
}

/// `the sessions of 2 clients are open`.
fn opened(migration: &Migration) -> String {
    match moved(migration) {
        0 => "all is ready".to_owned(),
        1 => "the session of 1 client is open".to_owned(),
        moved => format!("the sessions of {} are open", clients(moved)),
    }
}

/// Why it could not be done.
pub(crate) fn why(migration: &Migration) -> String {
    if !migration.evidence.is_empty() {
        return migration.evidence.join("; ");
    }
    match migration.phase {
        MigrationPhase::Failed => "no broker that is well can take its clients".to_owned(),
        phase => format!("it ended in phase {phase:?}"),
    }
}

fn substitute(migration: &Migration) -> &str {
    migration.to.as_ref().map_or("nobody", |to| to.as_str())
}

fn clients(number: usize) -> String {
    count(number, "client")
}

/// Who blocks, worst first: `pump (12 messages), gate (1 message) and 4 more`.
pub(crate) fn waiting(waiting: &BTreeMap<String, u64>) -> String {
    let mut clients: Vec<(&String, &u64)> = waiting.iter().collect();
    clients.sort_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
    let named: Vec<String> = clients
        .iter()
        .take(NAMED)
        .map(|(client, number)| format!("{client} ({})", messages(**number)))
        .collect();
    match clients.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// `3 messages`.
pub(crate) fn messages(number: u64) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_block_most_are_named() {
        let of = |clients: &[(&str, u64)]| {
            waiting(
                &clients
                    .iter()
                    .map(|(client, number)| ((*client).to_owned(), *number))
                    .collect(),
            )
        };
        assert_eq!(
            of(&[("gate", 1), ("pump", 12)]),
            "pump (12 messages), gate (1 message)"
        );
        assert_eq!(
            of(&[("a", 1), ("b", 1), ("c", 2), ("d", 1), ("e", 1)]),
            "c (2 messages), a (1 message), b (1 message) and 2 more"
        );
    }
}
