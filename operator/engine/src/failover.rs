//! Who serves whose clients, and the record of it.
//!
//! Knows which brokers are out, their policies and candidates; knows no links, no epochs and no heartbeats. Only
//! phases that really happened are recorded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{CollisionPolicy, Failback, FailoverPolicy, Fleet};
use skein_api::name::BrokerName;

use crate::collisions::{self, Collisions};
use crate::directive::{Directive, Migration, MigrationPhase, Reason};
use crate::engine::draining::{Drain, Drains};

/// What the failover must know of the rest.
pub(crate) struct Situation<'a> {
    pub(crate) fleet: &'a Fleet,
    /// Brokers that nothing is planned through.
    pub(crate) out: &'a BTreeSet<BrokerName>,
    /// Brokers that are well.
    pub(crate) ready: &'a BTreeSet<BrokerName>,
    /// Per broker that is out: who could stand in for it, best first.
    pub(crate) candidates: &'a BTreeMap<BrokerName, Vec<BrokerName>>,
    /// Per broker that is out: why it was declared down.
    pub(crate) evidence: &'a BTreeMap<BrokerName, Vec<String>>,
    /// Brokers that are to be without clients; some of them are out already.
    pub(crate) drains: &'a Drains,
    /// What collides if the clients of the one go to the other.
    pub(crate) collisions: &'a dyn Fn(&BrokerName, &BrokerName) -> Option<Arc<Collisions>>,
}

/// Failovers under way and past.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failovers {
    migrations: Vec<Migration>,
    served_by: BTreeMap<BrokerName, BrokerName>,
    approved: BTreeSet<BrokerName>,
}

fn all_but<'a>(clients: &'a BTreeSet<String>, these: &BTreeMap<String, String>) -> Vec<&'a String> {
    clients
        .iter()
        .filter(|client| !these.contains_key(*client))
        .collect()
}

impl Failovers {
    /// Takes up what an earlier life left. A broker with an active record was down then.
    pub(crate) fn restore(&mut self, migrations: Vec<Migration>) {
        for migration in &migrations {
            if let (true, Some(to)) = (migration.phase.has_moved(), &migration.to) {
                self.served_by.insert(migration.broker.clone(), to.clone());
            }
        }
        self.migrations = migrations;
    }

    pub(crate) fn migrations(&self) -> &[Migration] {
        &self.migrations
    }

    pub(crate) fn served_by(&self) -> &BTreeMap<BrokerName, BrokerName> {
        &self.served_by
    }

    /// The clients of a broker that have sessions at another.
    pub(crate) fn moved<'a>(&'a self, home: &BrokerName, at: &BrokerName) -> BTreeSet<&'a String> {
        let of = self
            .migrations
            .iter()
            .filter(|migration| migration.broker == *home);
        of.filter_map(|migration| migration.moved.get(at))
            .flatten()
            .collect()
    }

    /// Clients of others that have sessions at a broker.
    pub(crate) fn guests(&self, at: &BrokerName) -> BTreeSet<&String> {
        let there = self
            .migrations
            .iter()
            .filter_map(|migration| migration.moved.get(at));
        there.flatten().collect()
    }

    /// Whose clients have sessions elsewhere, where, and which. Not those for whom something waits that they did not get.
    pub(crate) fn lodgings(&self) -> impl Iterator<Item = (&BrokerName, &BrokerName, Vec<&String>)> {
        self.migrations.iter().flat_map(|migration| {
            let moved = migration.moved.iter();
            moved.map(|(at, clients)| (&migration.broker, at, all_but(clients, &migration.not_moved)))
        })
    }

    /// Sessions are open, or about to be, for the clients of a broker; and some cannot be.
    pub(crate) fn note_moved(
        &mut self,
        home: &BrokerName,
        at: &BrokerName,
        moved: impl IntoIterator<Item = String>,
        not_moved: &BTreeMap<String, String>,
    ) -> Vec<Directive> {
        let mut directives = Vec::new();
        let open = |migration: &Migration| migration.broker == *home && !migration.phase.is_over();
        if let Some(index) = self.migrations.iter().rposition(open) {
            let note = |migration: &mut Migration| {
                migration.moved.entry(at.clone()).or_default().extend(moved);
                migration.moved.retain(|_, clients| !clients.is_empty());
                migration.not_moved.clone_from(not_moved);
            };
            self.advance(index, note, &mut directives);
        }
        directives
    }

    /// Messages that waited for a broker's links were passed on.
    pub(crate) fn note_adopted(&mut self, holder: &BrokerName, messages: u64) -> Vec<Directive> {
        let mut directives = Vec::new();
        if let Some(index) = self.active(holder).filter(|_| messages > 0) {
            self.advance(index, |migration| migration.adopted += messages, &mut directives);
        }
        directives
    }

    /// The retained values of a broker's clients were copied as they left, or could not be.
    pub(crate) fn note_copied(&mut self, home: &BrokerName, copied: bool) -> Vec<Directive> {
        let mut directives = Vec::new();
        let last = self
            .migrations
            .iter()
            .rposition(|migration| migration.broker == *home);
        if let Some(index) = last {
            self.advance(index, |migration| migration.copied = copied, &mut directives);
        }
        directives
    }

    /// They were when they left last.
    pub(crate) fn were_copied(&self, home: &BrokerName) -> bool {
        let last = self
            .migrations
            .iter()
            .rfind(|migration| migration.broker == *home);
        last.is_some_and(|migration| migration.copied)
    }

    /// The session of a client is not there any more.
    pub(crate) fn note_ended(&mut self, at: &BrokerName, client: &str) -> Vec<Directive> {
        let mut directives = Vec::new();
        for index in 0..self.migrations.len() {
            let note = |migration: &mut Migration| {
                if let Some(clients) = migration.moved.get_mut(at) {
                    clients.remove(client);
                }
                migration.moved.retain(|_, clients| !clients.is_empty());
            };
            self.advance(index, note, &mut directives);
        }
        directives
    }

    /// Who keeps the clients of a broker from going on.
    pub(crate) fn note_waiting(
        &mut self,
        waiting: impl Fn(&BrokerName) -> BTreeMap<String, u64>,
    ) -> Vec<Directive> {
        let mut directives = Vec::new();
        for index in 0..self.migrations.len() {
            if let Some(migration) = self.migrations.get(index).filter(|it| !it.phase.is_over()) {
                let waiting = waiting(&migration.broker);
                self.advance(index, |migration| migration.waiting = waiting, &mut directives);
            }
        }
        directives
    }

    /// These are given up as the clients of a broker go: the next record says so.
    pub(crate) fn give_up(&mut self, broker: &BrokerName, waiting: BTreeMap<String, u64>) {
        if let Some(migration) = self
            .active(broker)
            .and_then(|index| self.migrations.get_mut(index))
        {
            migration.waiting = waiting;
        }
    }

    /// The migration of a broker that is out, or about to be.
    fn active(&self, broker: &BrokerName) -> Option<usize> {
        let is_it = |it: &Migration| it.broker == *broker && it.phase.is_active();
        self.migrations.iter().rposition(is_it)
    }

    /// A person approved what waits.
    pub(crate) fn approve(&mut self, broker: &BrokerName) {
        self.approved.insert(broker.clone());
    }

    /// A returned broker may be taken back.
    pub(crate) fn may_fail_back(&self, fleet: &Fleet, broker: &BrokerName) -> bool {
        let manual = fleet
            .brokers
            .get(broker)
            .is_some_and(|declared| declared.failover.failback == Failback::Manual);
        !manual || !self.served_by.contains_key(broker) || self.approved.contains(broker)
    }

    /// The clients of a broker wait for approval.
    pub(crate) fn is_pending(&self, broker: &BrokerName) -> bool {
        let migration = self.active(broker).and_then(|index| self.migrations.get(index));
        migration.is_some_and(|migration| migration.phase == MigrationPhase::Pending)
    }

    /// Somebody could be served who is not.
    pub(crate) fn wants_substitute(&self) -> bool {
        self.migrations.iter().any(|migration| {
            matches!(
                migration.phase,
                MigrationPhase::Failed | MigrationPhase::Detected | MigrationPhase::Pending
            )
        })
    }

    /// Brings who serves whom into line with who is out.
    pub(crate) fn assign(&mut self, situation: &Situation<'_>) -> Vec<Directive> {
        let mut directives = Vec::new();
        self.end_those_who_are_back(situation, &mut directives);
        for broker in situation.out {
            if situation.fleet.brokers.contains_key(broker) {
                self.serve(broker, situation, &mut directives);
            }
        }
        for broker in situation.drains.keys() {
            if situation.fleet.brokers.contains_key(broker) && !situation.out.contains(broker) {
                self.prepare(broker, situation, &mut directives);
            }
        }
        directives
    }

    /// Says where the clients of a broker are to go that is going to be out.
    fn prepare(&mut self, broker: &BrokerName, situation: &Situation<'_>, directives: &mut Vec<Directive>) {
        let index = self.record_of(broker, situation, directives);
        let to = self.choose(broker, situation);
        let wished = situation.drains.get(broker).and_then(|drain| drain.to.as_ref());
        let (phase, evidence) = match (&to, wished) {
            // A person decided, so that it goes ahead.
            (Some(to), _) => {
                let found = (situation.collisions)(broker, to);
                let evidence = collisions::evidence(&[], broker, found.as_deref());
                (MigrationPhase::Draining, evidence)
            }
            (None, Some(wished)) => {
                let why = format!("{wished} is not well, or is none that Skein leads clients to");
                (MigrationPhase::Failed, vec![why])
            }
            (None, None) => {
                let why = "no broker that is well can take its clients".to_owned();
                (MigrationPhase::Failed, vec![why])
            }
        };
        let note = |migration: &mut Migration| {
            migration.phase = phase;
            migration.to = to;
            migration.evidence = evidence;
        };
        self.advance(index, note, directives);
    }

    /// Where the clients of a broker are to go, or have gone.
    pub(crate) fn destination(&self, broker: &BrokerName) -> Option<&BrokerName> {
        self.migrations.get(self.active(broker)?)?.to.as_ref()
    }

    /// Brokers that are drained, or about to be, where their clients have gone, and which of them have left nothing behind.
    pub(crate) fn drained(&self) -> impl Iterator<Item = (&BrokerName, &BrokerName, Vec<&String>)> {
        let drained = |migration: &&Migration| {
            migration.reason == Reason::Drain && migration.phase.is_active() && migration.phase.has_moved()
        };
        let drained = self.migrations.iter().filter(drained);
        drained.filter_map(|migration| {
            let to = migration.to.as_ref()?;
            let moved = migration.moved.get(to)?;
            Some((&migration.broker, to, all_but(moved, &migration.not_moved)))
        })
    }

    fn end_those_who_are_back(&mut self, situation: &Situation<'_>, directives: &mut Vec<Directive>) {
        for index in 0..self.migrations.len() {
            let Some(migration) = self
                .migrations
                .get(index)
                .filter(|migration| migration.phase.is_active())
            else {
                continue;
            };
            let broker = migration.broker.clone();
            let stays = situation.out.contains(&broker) || situation.drains.contains_key(&broker);
            if stays && situation.fleet.brokers.contains_key(&broker) {
                continue;
            }
            let moved = migration.phase.has_moved();
            self.approved.remove(&broker);
            self.served_by.remove(&broker);
            let phase = if moved {
                MigrationPhase::FailingBack
            } else {
                MigrationPhase::Aborted
            };
            self.advance(index, |migration| migration.phase = phase, directives);
        }
    }

    fn serve(&mut self, broker: &BrokerName, situation: &Situation<'_>, directives: &mut Vec<Directive>) {
        let Some(declared) = situation.fleet.brokers.get(broker) else {
            return;
        };
        let index = self.record_of(broker, situation, directives);
        // A person who drains it has decided, whatever the policy for failures is.
        let drain = situation.drains.get(broker);
        let disabled = declared.failover.policy == FailoverPolicy::Disabled && drain.is_none();
        if !declared.is_controlled() || disabled {
            return;
        }
        let wished = drain.and_then(|drain| drain.to.as_ref());
        let stands = self.served_by.get(broker).is_some_and(|substitute| {
            let fits = wished.is_none_or(|wished| wished == substitute);
            fits && !situation.out.contains(substitute) && situation.fleet.brokers.contains_key(substitute)
        });
        if stands {
            return;
        }
        let chosen = self.choose(broker, situation);
        let moved_before = self.served_by.contains_key(broker);
        let found = chosen.as_ref().and_then(|to| (situation.collisions)(broker, to));
        let collides = found.is_some() && declared.failover.collisions == CollisionPolicy::Manual;
        let waits = (declared.failover.policy == FailoverPolicy::Manual || collides)
            && drain.is_none()
            && !moved_before
            && !self.approved.contains(broker);
        if waits {
            self.advance(
                index,
                |migration| {
                    migration.phase = MigrationPhase::Pending;
                    migration.to.clone_from(&chosen);
                    migration.evidence = collisions::evidence(&migration.evidence, broker, found.as_deref());
                },
                directives,
            );
            return;
        }
        if let Some(to) = chosen {
            // An approval is used up: the way back needs one of its own.
            self.approved.remove(broker);
            self.served_by.insert(broker.clone(), to.clone());
            self.advance(
                index,
                |migration| {
                    migration.phase = MigrationPhase::Retargeted;
                    migration.to = Some(to);
                    migration.evidence = collisions::evidence(&migration.evidence, broker, found.as_deref());
                },
                directives,
            );
        } else {
            // If its substitute is out as well, nobody serves its clients until it is back itself.
            self.served_by.remove(broker);
            let phase = if has_roles(situation.fleet, broker) {
                MigrationPhase::Failed
            } else {
                MigrationPhase::Detected
            };
            let already_done = self.migrations.get(index).is_some_and(|migration| {
                migration.to.is_none() && migration.phase == MigrationPhase::Completed
            });
            if !already_done {
                self.advance(
                    index,
                    |migration| {
                        migration.phase = phase;
                        migration.to = None;
                    },
                    directives,
                );
            }
        }
    }

    /// The first candidate that is well; failing that, whoever serves the first candidate that is served.
    fn choose(&self, broker: &BrokerName, situation: &Situation<'_>) -> Option<BrokerName> {
        let declared = |broker: &BrokerName| situation.fleet.brokers.get(broker);
        let can_serve = |candidate: &&BrokerName| {
            let controlled = declared(candidate).is_some_and(skein_api::fleet::Broker::is_controlled);
            *candidate != broker && controlled && situation.ready.contains(*candidate)
        };
        let drain = situation.drains.get(broker);
        let wished = drain.and_then(|drain| drain.to.as_ref());
        // Whoever has been led there already is better led on than left there.
        let fails =
            |wished: &&BrokerName| drain.is_some_and(Drain::is_out) && !situation.ready.contains(*wished);
        if let Some(wished) = wished.filter(|wished| !fails(wished)) {
            return Some(wished).filter(can_serve).cloned();
        }
        let allowed = declared(broker).and_then(|it| it.failover.substitutes.as_ref());
        let fits = |candidate: &&BrokerName| {
            can_serve(candidate) && allowed.is_none_or(|allowed| allowed.contains(*candidate))
        };
        let candidates = situation
            .candidates
            .get(broker)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let own = candidates.iter().find(fits);
        own.or_else(|| {
            candidates
                .iter()
                .filter_map(|it| self.served_by.get(it))
                .find(fits)
        })
        .cloned()
    }

    fn record_of(
        &mut self,
        broker: &BrokerName,
        situation: &Situation<'_>,
        directives: &mut Vec<Directive>,
    ) -> usize {
        if let Some(index) = self.active(broker) {
            return index;
        }
        // It died again while it was being taken back: that failover is over, whatever comes of this one.
        for index in 0..self.migrations.len() {
            let Some(migration) = self.migrations.get(index) else {
                continue;
            };
            if migration.broker == *broker && migration.phase == MigrationPhase::FailingBack {
                self.advance(
                    index,
                    |migration| migration.phase = MigrationPhase::FailedBack,
                    directives,
                );
            }
        }
        let number = |name: &str| name.rsplit('-').next().and_then(|text| text.parse::<u64>().ok());
        let before = self
            .migrations
            .iter()
            .filter(|migration| migration.broker == *broker);
        let highest = before
            .filter_map(|migration| number(&migration.name))
            .max()
            .unwrap_or(0);
        let is_well = !situation.evidence.contains_key(broker);
        let migration = Migration {
            reason: if is_well && situation.drains.contains_key(broker) {
                Reason::Drain
            } else {
                Reason::Failure
            },
            evidence: situation.evidence.get(broker).cloned().unwrap_or_default(),
            ..Migration::new(format!("{broker}-{}", highest + 1), broker.clone())
        };
        directives.push(Directive::RecordMigration(migration.clone()));
        self.migrations.push(migration);
        self.migrations.len() - 1
    }

    /// What was planned is in place everywhere. Sessions that clients left at some brokers are still to be ended, though.
    pub(crate) fn settle(&mut self, ending: &BTreeSet<&BrokerName>) -> Vec<Directive> {
        let mut directives = Vec::new();
        for index in 0..self.migrations.len() {
            let Some(migration) = self.migrations.get(index) else {
                continue;
            };
            let next = match migration.phase {
                MigrationPhase::Detected | MigrationPhase::Retargeted => MigrationPhase::Completed,
                MigrationPhase::FailingBack if !migration.moved.keys().any(|at| ending.contains(at)) => {
                    MigrationPhase::FailedBack
                }
                _ => continue,
            };
            self.advance(index, |migration| migration.phase = next, &mut directives);
        }
        directives
    }

    fn advance(
        &mut self,
        index: usize,
        change: impl FnOnce(&mut Migration),
        directives: &mut Vec<Directive>,
    ) {
        let Some(migration) = self.migrations.get_mut(index) else {
            return;
        };
        let before = migration.clone();
        change(migration);
        if *migration != before {
            directives.push(Directive::RecordMigration(migration.clone()));
        }
    }
}

/// Its clients publish or subscribe something that is declared.
fn has_roles(fleet: &Fleet, broker: &BrokerName) -> bool {
    fleet
        .topics
        .values()
        .any(|topic| topic.producers.contains(broker) || topic.consumers.contains(broker))
}
