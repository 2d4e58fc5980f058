//! Following a drain, or its end, in the status of a fleet until it is done or cannot be.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_adapter::migrations::MigrationRecord;
use skein_adapter::moves::{Drain, DrainWish};
use skein_api::name::BrokerName;
use skein_engine::directive::{MigrationPhase, Reason};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::Followed;
use super::progress::Progress;
use crate::failure::Failure;

/// What of a fleet's status is looked at.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its migrations, oldest first.
    pub records: Vec<MigrationRecord>,
    /// The drains that are wished.
    pub drains: Vec<Drain>,
    /// Somebody does what is wished.
    pub acts: bool,
}

/// What is waited for.
#[derive(Clone, Debug)]
pub enum Goal {
    /// The broker is empty, as this says.
    Drained(DrainWish),
    /// It has its clients.
    Undrained,
}

/// How the waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With what was waited for.
    Reached,
    /// It could not be done.
    Failed,
    /// Somebody wished the contrary meanwhile.
    CalledOff,
    /// This Migration, which goes before commands, says otherwise.
    Overruled(String),
    /// It was not done in time.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// Nobody acts any more.
    NobodyActs,
}

/// A drain that is followed.
#[derive(Debug)]
pub struct Follow {
    broker: BrokerName,
    goal: Goal,
    /// Migrations that were over before anything was asked for.
    over: BTreeSet<String>,
    /// One was not.
    under_way: bool,
    /// Who acts knows of the wish.
    known: bool,
}

/// Nothing comes after it but the contrary.
pub(super) fn is_done(phase: MigrationPhase) -> bool {
    phase == MigrationPhase::Completed || phase.is_over()
}

impl Follow {
    /// Begins before it is asked for, so that the drains that there are then are told apart.
    #[must_use]
    pub fn new(records: &[MigrationRecord], broker: &BrokerName, goal: Goal) -> Self {
        let (over, under_way): (Vec<_>, Vec<_>) = records
            .iter()
            .filter(|record| record.migration.broker == *broker && record.migration.reason == Reason::Drain)
            .partition(|record| record.is_over());
        Self {
            broker: broker.clone(),
            goal,
            over: over
                .into_iter()
                .map(|record| record.migration.name.clone())
                .collect(),
            under_way: !under_way.is_empty(),
            known: false,
        }
    }

    /// A drain of the broker was not over when this began.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Waits, and shows how far it is. `next` gives what is seen, each time that it differs, and may be given up at any time.
    ///
    /// # Errors
    /// If nothing can be seen any more.
    pub async fn until_its_end(
        &mut self,
        timeout: Option<Duration>,
        next: impl AsyncFnMut() -> Result<Seen, Failure>,
    ) -> Result<Followed, Failure> {
        let mut progress = Progress::new();
        let found = self.wait(timeout, next, &mut progress).await;
        progress.end();
        found
    }

    async fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut next: impl AsyncFnMut() -> Result<Seen, Failure>,
        progress: &mut Progress,
    ) -> Result<Followed, Failure> {
        let unheard = |error| Failure::could_not(format!("cannot wait for Ctrl-C: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let late = async || match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        };
        let mut last: Option<MigrationRecord> = None;
        loop {
            tokio::select! {
                seen = next() => {
                    let seen = seen?;
                    let record = self.record(&seen);
                    let end = self.judge(&seen, record);
                    last = record.cloned().or(last);
                    if let Some(end) = end {
                        return Ok((end, last));
                    }
                    if let Some(record) = record.filter(|record| self.concerns(record)) {
                        progress.show(record);
                    }
                    if !seen.acts {
                        return Ok((End::NobodyActs, last));
                    }
                }
                _ = interrupt.recv() => return Ok((End::Interrupted, last)),
                () = late() => return Ok((End::TimedOut, last)),
            }
        }
    }

    /// The drain that is followed, as far as it was begun.
    fn record<'a>(&self, seen: &'a Seen) -> Option<&'a MigrationRecord> {
        seen.records.iter().rev().find(|record| {
            let migration = &record.migration;
            migration.broker == self.broker
                && migration.reason == Reason::Drain
                && !self.over.contains(&migration.name)
        })
    }

    /// It is about what was asked for, and not about what was before.
    fn concerns(&self, record: &MigrationRecord) -> bool {
        let back = || record.migration.phase == MigrationPhase::FailingBack;
        self.known && (matches!(self.goal, Goal::Drained(_)) || back())
    }

    /// Whether the waiting is over.
    fn judge(&mut self, seen: &Seen, record: Option<&MigrationRecord>) -> Option<End> {
        let wished = seen.drains.iter().find(|drain| drain.broker == self.broker);
        let phase = record.map(|record| record.migration.phase);
        match (&self.goal, wished) {
            (Goal::Drained(wish), Some(wished)) => {
                let same = wished.to == wish.to && wished.abandon == wish.abandon;
                if let (false, Some(migration)) = (same, &wished.declared_by) {
                    return Some(End::Overruled(migration.clone()));
                }
                self.known |= same;
                if !self.known {
                    return None;
                }
                let there = |record: &MigrationRecord| wish.to.is_none() || record.migration.to == wish.to;
                match phase? {
                    MigrationPhase::Completed if record.is_some_and(there) => Some(End::Reached),
                    // The engine called it off, though it is wished still.
                    MigrationPhase::Failed | MigrationPhase::Aborted | MigrationPhase::FailedBack => {
                        Some(End::Failed)
                    }
                    _ => None,
                }
            }
            (Goal::Drained(_), None) => self.known.then_some(End::CalledOff),
            (Goal::Undrained, Some(wished)) => match &wished.declared_by {
                Some(migration) => Some(End::Overruled(migration.clone())),
                None => self.known.then_some(End::CalledOff),
            },
            (Goal::Undrained, None) => {
                self.known = true;
                match phase {
                    None | Some(MigrationPhase::FailedBack | MigrationPhase::Aborted) => Some(End::Reached),
                    Some(MigrationPhase::Failed) => Some(End::Failed),
                    Some(_) => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_engine::directive::Migration;
    use std::collections::BTreeMap;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    fn record(number: u32, to: &str, phase: MigrationPhase) -> MigrationRecord {
        MigrationRecord {
            migration: Migration {
                phase,
                reason: Reason::Drain,
                to: Some(name(to)),
                ..Migration::new(format!("i-{number}"), name("i"))
            },
            times: BTreeMap::new(),
            abandoned: BTreeMap::new(),
        }
    }

    fn status(wished: Option<(&str, Option<&str>)>, migrations: &[MigrationRecord]) -> Seen {
        let drain = wished.map(|(to, declared_by)| Drain {
            broker: name("i"),
            to: Some(name(to)),
            abandon: false,
            declared_by: declared_by.map(str::to_owned),
        });
        Seen {
            records: migrations.to_vec(),
            drains: drain.into_iter().collect(),
            acts: true,
        }
    }

    fn drained_to(to: &str) -> Goal {
        Goal::Drained(DrainWish {
            to: Some(name(to)),
            abandon: false,
        })
    }

    /// What is made of one status after another.
    fn ends(goal: Goal, before: &[MigrationRecord], then: &[Seen]) -> Vec<Option<End>> {
        let mut follow = Follow::new(before, &name("i"), goal);
        then.iter()
            .map(|status| {
                let record = follow.record(status);
                follow.judge(status, record)
            })
            .collect()
    }

    #[test]
    fn a_drain_is_followed_and_not_the_one_before() {
        use MigrationPhase::{Completed, Detected, FailedBack};
        let earlier = record(1, "j", FailedBack);
        let at = |phase| status(Some(("j", None)), &[earlier.clone(), record(2, "j", phase)]);
        let found = ends(
            drained_to("j"),
            std::slice::from_ref(&earlier),
            &[
                status(None, std::slice::from_ref(&earlier)),
                status(Some(("j", None)), std::slice::from_ref(&earlier)),
                at(Detected),
                at(Completed),
            ],
        );
        assert_eq!(found, [None, None, None, Some(End::Reached)]);
    }

    #[test]
    fn a_failure_of_what_was_wished_before_says_nothing_of_what_is_wished_now() {
        use MigrationPhase::{Failed, Seeded};
        let failed = record(1, "j", Failed);
        let found = ends(
            drained_to("k"),
            std::slice::from_ref(&failed),
            &[
                status(Some(("j", None)), std::slice::from_ref(&failed)),
                status(Some(("k", None)), &[record(1, "k", Seeded)]),
                status(Some(("k", None)), &[record(1, "k", Failed)]),
            ],
        );
        assert_eq!(found, [None, None, Some(End::Failed)]);
    }

    #[test]
    fn one_that_is_empty_elsewhere_is_not_where_it_was_wished() {
        let there = |to| status(Some(("k", None)), &[record(1, to, MigrationPhase::Completed)]);
        let found = ends(drained_to("k"), &[], &[there("j"), there("k")]);
        assert_eq!(found, [None, Some(End::Reached)]);
    }

    #[test]
    fn the_contrary_is_noticed_from_commands_and_from_manifests() {
        use MigrationPhase::{Detected, FailingBack};
        let begun = status(Some(("j", None)), &[record(1, "j", Detected)]);
        let found = ends(
            drained_to("j"),
            &[],
            &[begun.clone(), status(None, &[record(1, "j", FailingBack)])],
        );
        assert_eq!(found, [None, Some(End::CalledOff)]);
        let declared = status(Some(("k", Some("away"))), &[]);
        let found = ends(drained_to("j"), &[], &[begun, declared]);
        assert_eq!(found, [None, Some(End::Overruled("away".to_owned()))]);
    }

    #[test]
    fn clients_are_back_when_the_wish_is_gone_and_the_drain_over() {
        use MigrationPhase::{Aborted, Completed, FailedBack, FailingBack};
        let before = [record(1, "j", Completed)];
        let at = |phase| status(None, &[record(1, "j", phase)]);
        let found = ends(
            Goal::Undrained,
            &before,
            &[
                status(Some(("j", None)), &before),
                at(Completed),
                at(FailingBack),
                at(FailedBack),
            ],
        );
        assert_eq!(found, [None, None, None, Some(End::Reached)]);
        assert_eq!(
            ends(Goal::Undrained, &before, &[at(Aborted)]),
            [Some(End::Reached)]
        );
        assert_eq!(
            ends(
                Goal::Undrained,
                &before,
                &[at(FailingBack), status(Some(("j", None)), &before)]
            ),
            [None, Some(End::CalledOff)]
        );
    }
}
