//! The status of a migration, and the record that it is restored from.

use std::collections::BTreeMap;

use skein_adapter::migrations::MigrationRecord;
use skein_api::name::BrokerName;
use skein_api::resources::{
    Evidence, MigrationReason, MigrationSpec, MigrationStatus, MovedSessions, NotMoved, Waiting,
};
use skein_engine::directive::{Migration, MigrationPhase, Reason};
use skein_planner::explain::listed;

use super::conditions::{Verdict, Verdicts};
use super::{Seen, declared, phases};

/// The status of the Migration `name`, whose spec is of this generation, and of which there is a record once it is begun.
#[must_use]
pub fn migration(
    seen: &Seen<'_>,
    name: &str,
    spec: &MigrationSpec,
    record: Option<&MigrationRecord>,
    generation: Option<i64>,
    before: Option<&MigrationStatus>,
) -> MigrationStatus {
    let known = before
        .map(|before| before.conditions.as_slice())
        .unwrap_or_default();
    let begun = record.map(|record| &record.migration);
    let verdicts = Verdicts {
        configured: declared::configured(seen, &format!("Migration/{name}"), true, generation, known),
        matched: matched(seen, spec, begun),
        operational: operational(seen, spec, begun),
        ready: begun.map_or_else(String::new, progress),
    };
    let conditions = verdicts.conditions(generation, known, seen.now);
    let status = record.map(status).unwrap_or_default();
    MigrationStatus {
        conditions,
        observed_generation: generation,
        ..status
    }
}

/// What [`migration`] wrote, as it was known; `None` of one that was not begun. Nothing is lost but fractions of seconds.
///
/// The record is called `name`.
#[must_use]
pub fn from_status(name: &str, spec: &MigrationSpec, status: &MigrationStatus) -> Option<MigrationRecord> {
    let moved = status.moved.iter();
    let not_moved = status.not_moved.iter();
    let migration = Migration {
        to: status.to.clone(),
        reason: match spec.reason {
            MigrationReason::Failure => Reason::Failure,
            MigrationReason::Drain => Reason::Drain,
        },
        phase: phases::of_engine(status.phase?),
        evidence: status.evidence.iter().map(|seen| seen.message.clone()).collect(),
        moved: moved
            .map(|moved| (moved.at.clone(), moved.clients.iter().cloned().collect()))
            .collect(),
        not_moved: not_moved
            .map(|not| (not.what.clone(), not.reason.clone()))
            .collect(),
        adopted: u64::try_from(status.adopted).unwrap_or_default(),
        copied: status.copied,
        waiting: counts(&status.waiting),
        ..Migration::new(name.to_owned(), spec.broker.clone())
    };
    Some(MigrationRecord {
        migration,
        times: phases::recorded(&status.times),
        abandoned: counts(&status.abandoned),
    })
}

fn status(record: &MigrationRecord) -> MigrationStatus {
    let migration = &record.migration;
    let evidence = migration.evidence.iter();
    let moved = migration.moved.iter();
    let not_moved = migration.not_moved.iter();
    MigrationStatus {
        phase: Some(phases::of_resource(migration.phase)),
        to: migration.to.clone(),
        times: phases::times(&record.times, migration.reason),
        evidence: evidence
            .map(|message| Evidence {
                message: message.clone(),
            })
            .collect(),
        moved: moved
            .map(|(at, clients)| MovedSessions {
                at: at.clone(),
                clients: clients.iter().cloned().collect(),
            })
            .collect(),
        not_moved: not_moved
            .map(|(what, reason)| NotMoved {
                what: what.clone(),
                reason: reason.clone(),
            })
            .collect(),
        waiting: waiting(&migration.waiting),
        abandoned: waiting(&record.abandoned),
        adopted: i64::try_from(migration.adopted).unwrap_or(i64::MAX),
        copied: migration.copied,
        conditions: Vec::new(),
        observed_generation: None,
    }
}

fn waiting(counts: &BTreeMap<String, u64>) -> Vec<Waiting> {
    let one = |(client, messages): (&String, &u64)| Waiting {
        client: client.clone(),
        messages: i64::try_from(*messages).unwrap_or(i64::MAX),
    };
    counts.iter().map(one).collect()
}

fn counts(waiting: &[Waiting]) -> BTreeMap<String, u64> {
    let one = |one: &Waiting| {
        (
            one.client.clone(),
            u64::try_from(one.messages).unwrap_or_default(),
        )
    };
    waiting.iter().map(one).collect()
}

fn matched(seen: &Seen<'_>, spec: &MigrationSpec, begun: Option<&Migration>) -> Verdict {
    if begun.is_some_and(|migration| migration.phase.is_over()) {
        return Verdict::yes("Over", "it is over");
    }
    let to = begun
        .and_then(|migration| migration.to.as_ref())
        .or(spec.to.as_ref());
    let gone = |name: &&BrokerName| !seen.fleet.brokers.contains_key(*name);
    if let Some(name) = [&spec.broker].into_iter().chain(to).find(gone) {
        return Verdict::no(
            "NoSuchBroker",
            format!("Broker/{name} is not declared: declare it, or remove this Migration"),
        );
    }
    match to {
        Some(to) => Verdict::yes("BrokersExist", format!("{} and {to} are declared", spec.broker)),
        None if !begun.is_some_and(seeks) => {
            Verdict::yes("BrokersExist", format!("{} is declared", spec.broker))
        }
        None => Verdict::no(
            "NoSubstitute",
            format!(
                "no broker that is well can serve the clients of {broker}: bring Broker/{broker} back, or allow another in its \
                 spec.failover.substitutes",
                broker = spec.broker
            ),
        ),
    }
}

/// Without a substitute it cannot go on; one that has gone on without is of a broker that is only routed around.
fn seeks(migration: &Migration) -> bool {
    matches!(migration.phase, MigrationPhase::Pending | MigrationPhase::Failed)
}

fn operational(seen: &Seen<'_>, spec: &MigrationSpec, begun: Option<&Migration>) -> Verdict {
    let Some(migration) = begun else {
        return Verdict::unknown("NotBegun", "it is not begun yet");
    };
    let said = seen.sentences(&format!("Migration/{}", migration.name));
    let broker = &migration.broker;
    match migration.phase {
        MigrationPhase::Failed if migration.reason == Reason::Drain && !migration.evidence.is_empty() => {
            let why = migration.evidence.join(". ");
            Verdict::no("Failed", format!("{broker} cannot be drained: {why}"))
        }
        MigrationPhase::Pending | MigrationPhase::Failed if !said.is_empty() => {
            let reason = if migration.phase == MigrationPhase::Failed {
                "Failed"
            } else {
                "Waits"
            };
            Verdict::no(reason, said.join(". "))
        }
        MigrationPhase::Pending => Verdict::no(
            "Waits",
            format!("it waits until a person agrees: set spec.approved once {broker} may move"),
        ),
        MigrationPhase::Failed => Verdict::no(
            "Failed",
            format!("no broker that is well can serve the clients of {broker}; bring it back"),
        ),
        MigrationPhase::Draining | MigrationPhase::FailingBack
            if !migration.waiting.is_empty() && !spec.abandon =>
        {
            Verdict::yes(
                "WaitsForClients",
                format!(
                    "messages wait for {}, who have to get them first; connect those clients, or set spec.abandon to give that up",
                    listed(migration.waiting.keys())
                ),
            )
        }
        phase if phase.is_over() || phase == MigrationPhase::Completed => {
            Verdict::yes("Done", progress(migration))
        }
        _ => Verdict::yes("Progresses", progress(migration)),
    }
}

/// What it does now.
fn progress(migration: &Migration) -> String {
    let broker = &migration.broker;
    let to = migration.to.as_ref().map_or("another broker", BrokerName::as_str);
    match migration.phase {
        MigrationPhase::Pending => format!("{broker} is to move to {to}"),
        MigrationPhase::Detected | MigrationPhase::Completed if migration.to.is_none() => {
            format!("{broker} is out, and routed around")
        }
        MigrationPhase::Detected => format!("the clients of {broker} are to go to {to}"),
        MigrationPhase::Fenced => format!("the links of {broker} are barred"),
        MigrationPhase::Seeded => format!("the sessions of the clients of {broker} are open at {to}"),
        MigrationPhase::Draining => format!("the clients of {broker} get what waits for them"),
        MigrationPhase::Retargeted => format!("the address of {broker} leads to {to}"),
        MigrationPhase::Adopted => format!("{to} has taken over the links of {broker}"),
        MigrationPhase::Completed => format!("{to} serves the clients of {broker}"),
        MigrationPhase::FailingBack => format!("the clients of {broker} go back to it"),
        MigrationPhase::FailedBack => format!("{broker} serves its clients itself again"),
        MigrationPhase::Aborted => format!("it was called off before anything of {broker} moved"),
        MigrationPhase::Failed => format!("{broker} could not be moved"),
    }
}
