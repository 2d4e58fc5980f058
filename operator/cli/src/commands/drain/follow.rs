//! Following a drain, or its end, in the status of a fleet until it is done or cannot be.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_engine::directive::{MigrationPhase, Reason};
use skein_local::client::{self, StatusWatch};
use skein_local::{DrainWish, FleetStatus, MigrationRecord, StateDirectory};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::progress::Progress;
use crate::failure::Failure;

/// How often it is looked whether `skein up` still runs: its death changes no file.
const PULSE: Duration = Duration::from_secs(1);

/// What is waited for.
#[derive(Clone, Debug)]
pub(super) enum Goal {
    /// The broker is empty, as this says.
    Drained(DrainWish),
    /// It has its clients.
    Undrained,
}

/// How the waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With what was waited for.
    Reached,
    /// It could not be done.
    Failed,
    /// Somebody wished the contrary meanwhile.
    CalledOff,
    /// This Migration among the manifests says otherwise.
    Overruled(String),
    /// It was not done in time.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// `skein up` ended.
    UpEnded,
}

/// A drain that is followed.
pub(super) struct Follow {
    state: StateDirectory,
    broker: BrokerName,
    goal: Goal,
    /// Migrations that were over before anything was asked for.
    over: BTreeSet<String>,
    /// One was not.
    under_way: bool,
    /// `skein up` knows of the wish.
    known: bool,
}

/// Nothing comes after it but the contrary.
pub(super) fn is_done(phase: MigrationPhase) -> bool {
    phase == MigrationPhase::Completed || phase.is_over()
}

impl Follow {
    /// Begins before it is asked for, so that earlier ones are told apart.
    pub(super) fn new(state: &StateDirectory, broker: &BrokerName, goal: Goal) -> Result<Self, Failure> {
        let records = client::status(state)?.map_or_else(Vec::new, |status| status.migrations);
        Ok(Self::among(&records, state, broker, goal))
    }

    fn among(records: &[MigrationRecord], state: &StateDirectory, broker: &BrokerName, goal: Goal) -> Self {
        let (over, under_way): (Vec<_>, Vec<_>) = records
            .iter()
            .filter(|record| record.migration.broker == *broker && record.migration.reason == Reason::Drain)
            .partition(|record| record.is_over());
        Self {
            state: state.clone(),
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
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Waits, and shows how far it is. Returns the last record, too, if there was any.
    pub(super) async fn until_its_end(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<(End, Option<MigrationRecord>), Failure> {
        let mut progress = Progress::new();
        let found = self.wait(timeout, &mut progress).await;
        progress.end();
        found
    }

    async fn wait(
        &mut self,
        timeout: Option<Duration>,
        progress: &mut Progress,
    ) -> Result<(End, Option<MigrationRecord>), Failure> {
        let unheard = |error| Failure::could_not(format!("cannot wait for Ctrl-C: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut watch = StatusWatch::new(&self.state);
        let mut last: Option<MigrationRecord> = None;
        let mut pulse = Instant::now() + PULSE;
        loop {
            let until = deadline.map_or(pulse, |deadline| deadline.min(pulse));
            tokio::select! {
                status = watch.next() => {
                    let status = status?;
                    let record = self.record(&status);
                    let end = self.judge(&status, record);
                    last = record.cloned().or(last);
                    if let Some(end) = end {
                        return Ok((end, last));
                    }
                    if let Some(record) = record.filter(|record| self.concerns(record)) {
                        progress.show(record);
                    }
                }
                _ = interrupt.recv() => return Ok((End::Interrupted, last)),
                () = tokio::time::sleep_until(until) => {
                    if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        return Ok((End::TimedOut, last));
                    }
                    pulse = Instant::now() + PULSE;
                    if self.state.holder().is_none() {
                        return Ok((End::UpEnded, last));
                    }
                }
            }
        }
    }

    /// The drain that is followed, as far as it was begun.
    fn record<'a>(&self, status: &'a FleetStatus) -> Option<&'a MigrationRecord> {
        status.migrations.iter().rev().find(|record| {
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
    fn judge(&mut self, status: &FleetStatus, record: Option<&MigrationRecord>) -> Option<End> {
        let wished = status.drains.iter().find(|drain| drain.broker == self.broker);
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
    use skein_local::Drain;
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

    fn status(wished: Option<(&str, Option<&str>)>, migrations: &[MigrationRecord]) -> FleetStatus {
        let drain = wished.map(|(to, declared_by)| Drain {
            broker: name("i"),
            to: Some(name(to)),
            abandon: false,
            declared_by: declared_by.map(str::to_owned),
        });
        FleetStatus {
            updated_at: String::new(),
            fleet: "/farm".into(),
            pid: 1,
            brokers: Vec::new(),
            paths: Vec::new(),
            migrations: migrations.to_vec(),
            drains: drain.into_iter().collect(),
            settled: true,
            problems: Vec::new(),
        }
    }

    fn drained_to(to: &str) -> Goal {
        Goal::Drained(DrainWish {
            to: Some(name(to)),
            abandon: false,
        })
    }

    /// What is made of one status after another.
    fn ends(goal: Goal, before: &[MigrationRecord], then: &[FleetStatus]) -> Vec<Option<End>> {
        let mut follow = Follow::among(before, &StateDirectory::new("/state"), &name("i"), goal);
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
