//! What may wait for a person, and whether it does: a step of a migration, for approval.

use serde::{Deserialize, Serialize};
use skein_api::fleet::Failback;
use skein_engine::directive::{BrokerPhase, Migration, MigrationPhase, Reason};

/// A person approved a step of a migration; of no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// The migration's name.
    pub migration: String,
    /// Which step of it.
    pub step: Step,
}

/// A step that may wait for approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Step {
    /// Its substitute serves a dead broker's clients (`spec.failover.policy: Manual`).
    Move,
    /// A returned broker serves its clients itself again (`spec.failover.failback: Manual`).
    TakeBack,
    /// The same for one whose clients have not got what waits for them at the substitute: that is given up.
    Abandon,
}

/// What waits for clients that do not come for it, and keeps a broker from having its clients back, if anything does.
#[must_use]
pub fn blocked(newest: Option<&Migration>) -> Option<Approval> {
    let moved = |newest: &&Migration| newest.phase.has_moved() && !newest.waiting.is_empty();
    newest.filter(moved).map(|migration| Approval {
        migration: migration.name.clone(),
        step: Step::Abandon,
    })
}

/// What waits for approval at a broker, if anything does, but for [`blocked`]: the name of its newest migration, and the step.
#[must_use]
pub fn awaited(phase: BrokerPhase, newest: Option<&Migration>, failback: Failback) -> Option<Approval> {
    let migration = newest.filter(|newest| newest.reason == Reason::Failure && !newest.phase.is_over())?;
    let step = match (migration.phase, phase) {
        (MigrationPhase::Pending, _) => Step::Move,
        (_, BrokerPhase::Returning) if failback == Failback::Manual => Step::TakeBack,
        _ => return None,
    };
    Some(Approval {
        migration: migration.name.clone(),
        step,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::name::BrokerName;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    #[test]
    fn an_approval_is_of_what_waits_and_of_nothing_else() {
        use BrokerPhase::{Down, Returning};
        use MigrationPhase::{Completed, FailedBack, Pending};
        let step = |phase, migration_phase, failback| {
            let migration = Migration {
                phase: migration_phase,
                ..Migration::new("c-1".to_owned(), name("c"))
            };
            awaited(phase, Some(&migration), failback).map(|approval| approval.step)
        };
        assert_eq!(step(Down, Pending, Failback::Automatic), Some(Step::Move));
        assert_eq!(step(Down, Completed, Failback::Manual), None);
        assert_eq!(step(Returning, Completed, Failback::Manual), Some(Step::TakeBack));
        assert_eq!(step(Returning, Completed, Failback::Automatic), None);
        assert_eq!(step(Returning, FailedBack, Failback::Manual), None);
        let drain = Migration {
            reason: Reason::Drain,
            phase: Pending,
            ..Migration::new("c-2".to_owned(), name("c"))
        };
        assert_eq!(awaited(Down, Some(&drain), Failback::Manual), None);
        assert_eq!(awaited(Down, None, Failback::Manual), None);
    }

    #[test]
    fn what_keeps_clients_away_can_be_given_up_once_they_are() {
        use MigrationPhase::{Completed, Draining, FailingBack};
        let blocked = |phase, messages: u64| {
            let waiting = (messages > 0).then(|| ("pump".to_owned(), messages));
            let migration = Migration {
                phase,
                waiting: waiting.into_iter().collect(),
                ..Migration::new("c-1".to_owned(), name("c"))
            };
            blocked(Some(&migration)).map(|approval| approval.step)
        };
        assert_eq!(blocked(Completed, 3), Some(Step::Abandon));
        assert_eq!(blocked(Completed, 0), None, "nothing waits");
        assert_eq!(blocked(Draining, 3), None, "they are still there");
        assert_eq!(blocked(FailingBack, 3), None, "they are led back");
    }
}
