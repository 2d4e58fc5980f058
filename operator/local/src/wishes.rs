//! What people wish of a running fleet, and `skein up` must not forget: a broker without clients, a step approved. A file
//! for each wish.
//!
//! Knows these files, and which wish counts; not how one is granted.

mod weigh;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use skein_agent::files::{self, FileError};
use skein_api::fleet::Failback;
use skein_api::name::BrokerName;
use skein_engine::directive::{BrokerPhase, Migration, MigrationPhase, Reason};

pub use weigh::Drain;
pub(crate) use weigh::{Wanted, unfit, weigh};

use crate::state::StateDirectory;

/// A broker is to be without clients, as long as this is wished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainWish {
    /// Where its clients are to go; none: to its planned substitute.
    #[serde(default)]
    pub to: Option<BrokerName>,
    /// Give up what waits for clients that do not get it.
    #[serde(default)]
    pub abandon: bool,
}

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
pub(crate) fn blocked(newest: Option<&Migration>) -> Option<Approval> {
    let moved = |newest: &&Migration| newest.phase.has_moved() && !newest.waiting.is_empty();
    newest.filter(moved).map(|migration| Approval {
        migration: migration.name.clone(),
        step: Step::Abandon,
    })
}

/// What waits for approval at a broker, if anything does, but for [`blocked`]: the name of its newest migration, and the step.
pub(crate) fn awaited(
    phase: BrokerPhase,
    newest: Option<&Migration>,
    failback: Failback,
) -> Option<Approval> {
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

/// The wishes of a fleet: a directory of its state directory.
///
/// ```text
/// drain-NAME.json    a person → up  see `DrainWish`; absent: not drained
/// approve-NAME.json  a person → up  see `Approval`; removed when that step is behind
/// ```
#[derive(Clone, Debug)]
pub(crate) struct WishDirectory {
    path: PathBuf,
}

/// What is in the directory.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// By broker; none: there is a wish, and it cannot be read.
    pub(crate) drains: BTreeMap<BrokerName, Option<DrainWish>>,
    /// By broker.
    pub(crate) approvals: BTreeMap<BrokerName, Approval>,
    /// What is wrong with files, in sentences, by file name.
    pub(crate) troubles: BTreeMap<String, String>,
}

const DRAIN: &str = "drain-";
const APPROVE: &str = "approve-";
const ENDING: &str = ".json";

impl WishDirectory {
    /// The one of a state directory; it need not exist yet.
    pub(crate) fn of(state: &StateDirectory) -> Self {
        Self {
            path: state.path().join("wishes"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a file of this name holds a wish.
    pub(crate) fn counts(name: &OsStr) -> bool {
        name.to_str().is_some_and(|name| name.ends_with(ENDING))
    }

    /// Wishes that a broker is drained.
    pub(crate) fn drain(&self, broker: &BrokerName, wish: &DrainWish) -> Result<(), FileError> {
        self.write(&self.drain_file(broker), wish)
    }

    /// Takes that wish back; says whether there was one.
    pub(crate) fn undrain(&self, broker: &BrokerName) -> Result<bool, FileError> {
        let file = self.drain_file(broker);
        let was_there = file.exists();
        files::remove(&file)?;
        Ok(was_there)
    }

    /// Notes that a person approved.
    pub(crate) fn approve(&self, broker: &BrokerName, approval: &Approval) -> Result<(), FileError> {
        self.write(&self.path.join(format!("{APPROVE}{broker}{ENDING}")), approval)
    }

    /// Forgets an approval.
    pub(crate) fn forget_approval(&self, broker: &BrokerName) -> Result<(), FileError> {
        files::remove(&self.path.join(format!("{APPROVE}{broker}{ENDING}")))
    }

    fn drain_file(&self, broker: &BrokerName) -> PathBuf {
        self.path.join(format!("{DRAIN}{broker}{ENDING}"))
    }

    fn write<T: Serialize>(&self, path: &Path, wish: &T) -> Result<(), FileError> {
        StateDirectory::make(&self.path).map_err(|source| FileError::System {
            action: "make",
            path: self.path.clone(),
            source,
        })?;
        files::write_json(path, wish)
    }

    /// All that is wished. What is damaged is left out, and said.
    pub(crate) fn read(&self) -> Result<Found, FileError> {
        let system = |source| FileError::System {
            action: "read",
            path: self.path.clone(),
            source,
        };
        let mut found = Found::default();
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            Err(error) => return Err(system(error)),
        };
        for entry in entries {
            let name = entry.map_err(system)?.file_name();
            if Self::counts(&name) {
                self.take(&name.to_string_lossy(), &mut found);
            }
        }
        Ok(found)
    }

    fn take(&self, file: &str, found: &mut Found) {
        let path = self.path.join(file);
        let broker = |prefix| {
            let name = file.strip_prefix(prefix)?.strip_suffix(ENDING)?;
            BrokerName::new(name).ok()
        };
        let damaged = if let Some(broker) = broker(DRAIN) {
            match files::read_json(&path) {
                // Taken back while this was read.
                Ok(None) => None,
                Ok(wish) => {
                    found.drains.insert(broker, wish);
                    None
                }
                Err(error) => {
                    found.drains.insert(broker, None);
                    Some(error.to_string())
                }
            }
        } else if let Some(broker) = broker(APPROVE) {
            match files::read_json(&path) {
                Ok(approval) => {
                    found
                        .approvals
                        .extend(approval.map(|approval| (broker, approval)));
                    None
                }
                Err(error) => Some(error.to_string()),
            }
        } else {
            Some(format!(
                "{} is no wish that Skein wrote; remove it",
                path.display()
            ))
        };
        found
            .troubles
            .extend(damaged.map(|damaged| (file.to_owned(), damaged)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    #[test]
    fn wishes_are_there_until_they_are_taken_back() {
        let temporary = tempfile::tempdir().unwrap();
        let wishes = || WishDirectory::of(&StateDirectory::new(temporary.path()));
        assert!(
            wishes().read().unwrap().drains.is_empty(),
            "there is no directory yet"
        );
        let wish = DrainWish {
            to: Some(name("i2")),
            abandon: true,
        };
        wishes().drain(&name("i"), &wish).unwrap();
        let approval = Approval {
            migration: "c-2".to_owned(),
            step: Step::TakeBack,
        };
        wishes().approve(&name("c"), &approval).unwrap();

        let found = wishes().read().unwrap();
        assert_eq!(found.drains, BTreeMap::from([(name("i"), Some(wish))]));
        assert_eq!(found.approvals, BTreeMap::from([(name("c"), approval)]));
        assert!(found.troubles.is_empty());

        assert!(wishes().undrain(&name("i")).unwrap());
        assert!(!wishes().undrain(&name("i")).unwrap());
        wishes().forget_approval(&name("c")).unwrap();
        let found = wishes().read().unwrap();
        assert!(found.drains.is_empty() && found.approvals.is_empty());
    }

    #[test]
    fn a_file_that_makes_no_sense_is_said_and_the_others_count() {
        let temporary = tempfile::tempdir().unwrap();
        let wishes = WishDirectory::of(&StateDirectory::new(temporary.path()));
        wishes.drain(&name("a"), &DrainWish::default()).unwrap();
        for (file, text) in [
            ("drain-b.json", "{\"too\": \"c\"}"),
            ("drain-.json", "{}"),
            ("approve-c.json", "yes"),
            ("note.json", "{}"),
            ("note.txt", "does not count"),
        ] {
            fs::write(wishes.path().join(file), text).unwrap();
        }
        let found = wishes.read().unwrap();
        let drains: Vec<_> = found
            .drains
            .iter()
            .map(|(name, wish)| (name.as_str(), wish.is_some()))
            .collect();
        assert_eq!(drains, [("a", true), ("b", false)]);
        assert!(found.approvals.is_empty());
        let troubled: Vec<&str> = found.troubles.keys().map(String::as_str).collect();
        assert_eq!(
            troubled,
            ["approve-c.json", "drain-.json", "drain-b.json", "note.json"]
        );
        let said = &found.troubles["drain-b.json"];
        assert!(
            said.contains("drain-b.json") && said.contains("`too`") && said.contains("remove"),
            "{said}"
        );
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
