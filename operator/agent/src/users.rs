//! The security file that a broker starts with: made before every start of who may connect (`users.json`) and of whom the
//! file that the last process left bars.
//!
//! Knows files; who may connect and whom to bar is its controller's business.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use skein_mosquitto::security::{Security, barred, read, render};

use crate::directory::BrokerDirectory;
use crate::files::{self, FileError};
use crate::say::say;

/// The option of `mosquitto.conf` that names the file.
const OPTION: &str = "plugin_opt_config_file";

/// Which file a configuration has its broker read, if it has a dynamic-security plugin.
fn security_file(config: &str) -> Option<PathBuf> {
    let value = |line: &str| {
        let (option, value) = line.trim().split_once(char::is_whitespace)?;
        (option == OPTION).then(|| PathBuf::from(value.trim()))
    };
    config.lines().find_map(value)
}

/// Why a broker cannot be started on a configuration for the sake of its users.
pub(crate) fn objection(directory: &BrokerDirectory, config: &str) -> Option<String> {
    let file = security_file(config)?;
    known(directory, &file).err().map(|error| error.to_string())
}

/// Puts the file there that a broker is to start with. Without any a broker would begin one of its own. Gives the reason
/// if all bridges are barred in it because nobody knows who was.
pub(crate) fn lay_out(directory: &BrokerDirectory, config: &str) -> Result<Option<String>, FileError> {
    let Some(file) = security_file(config) else {
        return Ok(None);
    };
    let mut users = known(directory, &file)?;
    let wanted: BTreeSet<_> = users.barred().cloned().collect();
    let (left, unknown) = match files::read(&file) {
        Ok(Some(left)) => {
            let unknown = users.keep_barred(&left).err().map(|error| error.to_string());
            (Some(left), unknown)
        }
        Ok(None) => {
            users.bar_all();
            (None, Some(format!("{} is gone", file.display())))
        }
        Err(error) => {
            users.bar_all();
            (None, Some(error.to_string()))
        }
    };
    let all: BTreeSet<_> = users.barred().cloned().chain(wanted).collect();
    users.bar(&all);
    if let Some(reason) = &unknown {
        say!("starts the broker with all bridges barred: {reason}");
    }
    if left
        .as_deref()
        .is_some_and(|left| read(left).as_ref() == Ok(&users))
    {
        return Ok(unknown);
    }
    match files::write(&file, render(&users).as_bytes()) {
        // A full disk must not keep a broker down whose file lets nobody in that should be out.
        Err(error) if left.is_some_and(|left| bars_all_of(&left, &users)) => say!("{error}"),
        written => written?,
    }
    Ok(unknown)
}

fn bars_all_of(left: &str, users: &Security) -> bool {
    barred(left).is_ok_and(|barred| users.barred().all(|user| barred.contains(user)))
}

/// Who may connect, as the controller says; or as the broker's own file does, if the controller's is lost.
fn known(directory: &BrokerDirectory, file: &Path) -> Result<Security, FileError> {
    let damage = match directory.users() {
        Ok(Some(users)) => return Ok(users),
        Ok(None) => FileError::NoUsers {
            path: directory.users_file(),
        },
        Err(error) => error,
    };
    let left = files::read(file).ok().flatten();
    left.and_then(|left| read(&left).ok()).ok_or(damage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use skein_mosquitto::security::{FleetSecret, downstream_of};

    const SECRET: FleetSecret = FleetSecret::new([7; 32]);

    /// The users of b.
    fn users(downstreams: &[&str], barred: &[&str]) -> Security {
        let named = |names: &[&str]| -> BTreeSet<_> {
            let user = |name: &&str| downstream_of(&format!("skein:{name}"));
            names.iter().filter_map(user).collect()
        };
        let b = downstream_of("skein:b").unwrap();
        let mut users = Security::derived(&SECRET, &b, &named(downstreams), true);
        users.bar(&named(barred));
        users
    }

    struct Place {
        _temporary: tempfile::TempDir,
        directory: BrokerDirectory,
        config: String,
    }

    impl Place {
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let directory = BrokerDirectory::new(temporary.path().join("b"));
            directory.create().unwrap();
            let config = format!(
                "listener 1\nplugin /p.so\n{OPTION} {}\n",
                directory.security_file().display()
            );
            Self {
                _temporary: temporary,
                directory,
                config,
            }
        }

        fn leave(&self, text: &str) {
            fs::write(self.directory.security_file(), text).unwrap();
        }

        fn left(&self) -> Security {
            read(&fs::read_to_string(self.directory.security_file()).unwrap()).unwrap()
        }

        fn lay_out(&self) -> Option<String> {
            lay_out(&self.directory, &self.config).unwrap()
        }
    }

    #[test]
    fn a_broker_starts_with_whom_its_controller_names_and_bars_whom_either_bars() {
        let place = Place::new();
        place
            .directory
            .set_users(&users(&["a", "c", "d"], &["a"]))
            .unwrap();
        place.leave(&render(&users(&["a", "c"], &["c"])));
        assert_eq!(place.lay_out(), None);
        assert_eq!(place.left(), users(&["a", "c", "d"], &["a", "c"]));
    }

    #[test]
    fn a_file_that_says_all_this_in_other_words_stays_as_it_is() {
        let place = Place::new();
        place.directory.set_users(&users(&["a", "c"], &[])).unwrap();
        let left = render(&users(&["a", "c"], &["c"])).replace("  ", " ");
        place.leave(&left);
        assert_eq!(place.lay_out(), None);
        assert_eq!(fs::read_to_string(place.directory.security_file()).unwrap(), left);
    }

    #[test]
    fn all_are_barred_by_a_file_that_cannot_be_read_or_is_gone() {
        let place = Place::new();
        place.directory.set_users(&users(&["a", "c"], &[])).unwrap();
        assert!(place.lay_out().unwrap().ends_with("is gone"));
        assert_eq!(place.left(), users(&["a", "c"], &["a", "c"]));
        let whole = render(&users(&["a", "c"], &["c"]));
        for broken in ["", &whole[..whole.len() / 2]] {
            place.leave(broken);
            assert!(place.lay_out().unwrap().contains("cannot be read"));
            assert_eq!(place.left(), users(&["a", "c"], &["a", "c"]));
        }
        // From then on it is known again.
        assert_eq!(place.lay_out(), None);
    }

    #[test]
    fn a_broker_whose_users_nobody_knows_is_not_started() {
        let place = Place::new();
        let reason = objection(&place.directory, &place.config).unwrap();
        assert!(reason.contains("users.json"), "{reason}");
        assert!(lay_out(&place.directory, &place.config).is_err());
        assert!(!place.directory.security_file().exists());
        // What the last process had is good enough.
        place.leave(&render(&users(&["a"], &["a"])));
        assert_eq!(objection(&place.directory, &place.config), None);
        assert_eq!(place.lay_out(), None);
        assert_eq!(place.left(), users(&["a"], &["a"]));
    }

    #[test]
    fn a_broker_that_asks_nobody_for_a_name_needs_no_users() {
        let place = Place::new();
        assert_eq!(objection(&place.directory, "listener 1\n"), None);
        assert_eq!(lay_out(&place.directory, "listener 1\n").unwrap(), None);
        assert!(!place.directory.security_file().exists());
    }
}
