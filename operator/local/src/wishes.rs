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

use serde::Serialize;
pub use skein_adapter::approvals::{Approval, Step};
pub(crate) use skein_adapter::approvals::{awaited, blocked};
pub use skein_adapter::moves::DrainWish;
use skein_agent::files::{self, FileError};
use skein_api::name::BrokerName;

pub use weigh::Drain;
pub(crate) use weigh::{Wanted, weigh};

use crate::state::StateDirectory;

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
}
