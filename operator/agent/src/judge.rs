//! Whether a broker would take a configuration, and what it needs to get there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use skein_mosquitto::config::{parse, render};
use skein_mosquitto::transition::{Action, transition};
use skein_mosquitto::version::{Capabilities, Version};
use tokio::process::Command;
use tokio::time::timeout;

use crate::directory::BrokerDirectory;
use crate::files::{self, FileError};
use crate::process::words;
use crate::users;

/// How long a test may take.
const TEST: Duration = Duration::from_secs(10);

/// Options that name a file which must be there. `mosquitto --test-config` does not look; the broker then ends at a start
/// and, worse, at a reload.
const FILES: [&str; 13] = [
    "acl_file",
    "password_file",
    "psk_file",
    "cafile",
    "certfile",
    "keyfile",
    "crlfile",
    "dhparamfile",
    "bridge_cafile",
    "bridge_certfile",
    "bridge_keyfile",
    "plugin",
    "auth_plugin",
];

/// Options that name a directory which must be there.
const DIRECTORIES: [&str; 4] = ["persistence_location", "include_dir", "capath", "bridge_capath"];

/// How a broker gets from one configuration to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is there already.
    Nothing,
    /// By reading it; these texts before, one after the other.
    Reload { stages: Vec<String> },
    /// By starting on it.
    Restart,
}

/// What is known of Mosquitto's configuration; a trait so that tests can know something else.
pub(crate) trait Knowledge {
    /// Why a text is no configuration, where the program itself cannot be asked.
    fn objection(&self, config: &str) -> Option<String>;
    /// What a broker needs to get from one text to the other.
    fn way(&self, old: &str, new: &str, version: Version) -> Way;
}

/// What `skein_mosquitto` knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mosquitto;

impl Knowledge for Mosquitto {
    fn objection(&self, config: &str) -> Option<String> {
        parse(config).err().map(|error| error.to_string())
    }

    fn way(&self, old: &str, new: &str, version: Version) -> Way {
        match (parse(old), parse(new)) {
            (Ok(old), Ok(new)) => {
                let change = transition(&old, &new, version);
                match change.action {
                    Action::None => Way::Nothing,
                    Action::Reload => Way::Reload {
                        stages: change.stages.iter().map(render).collect(),
                    },
                    Action::Restart => Way::Restart,
                }
            }
            // Not Skein's own text: only a restart is sure to do.
            _ => Way::Restart,
        }
    }
}

/// Tests a configuration without touching the broker that runs: a reason against it, in Mosquitto's words where it has
/// some.
pub(crate) async fn objection(
    directory: &BrokerDirectory,
    mosquitto: &Path,
    version: Version,
    knowledge: &impl Knowledge,
    config: &str,
) -> Result<Option<String>, FileError> {
    if let Some(reason) = missing(directory.path(), config) {
        return Ok(Some(reason));
    }
    if let Some(reason) = users::objection(directory, config) {
        return Ok(Some(reason));
    }
    if !Capabilities::of(version).tests_config {
        return Ok(knowledge.objection(config));
    }
    let candidate = directory.candidate_file();
    files::write(&candidate, config.as_bytes())?;
    let reason = ask(directory, mosquitto, &candidate).await;
    files::remove(&candidate)?;
    Ok(reason)
}

/// `mosquitto --test-config` (2.1 and later).
async fn ask(directory: &BrokerDirectory, mosquitto: &Path, candidate: &Path) -> Option<String> {
    let test = Command::new(mosquitto)
        .arg("-c")
        .arg(candidate)
        .arg("--test-config")
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match timeout(TEST, test).await {
        Err(_) => Some(format!(
            "`mosquitto --test-config` did not end within {} s",
            TEST.as_secs()
        )),
        Ok(Err(error)) => Some(format!("`mosquitto --test-config` cannot be run: {error}")),
        Ok(Ok(output)) if output.status.success() => None,
        Ok(Ok(output)) => {
            let said = [output.stderr, output.stdout].concat();
            let said = words(&String::from_utf8_lossy(&said));
            Some(said.unwrap_or_else(|| format!("`mosquitto --test-config` failed with {}", output.status)))
        }
    }
}

/// The first file or directory that the configuration names and that cannot be read.
fn missing(base: &Path, config: &str) -> Option<String> {
    config.lines().enumerate().find_map(|(index, line)| {
        let (option, value) = line.trim().split_once(char::is_whitespace)?;
        let path: PathBuf = base.join(value.trim());
        let directory = DIRECTORIES.contains(&option);
        if !directory && !FILES.contains(&option) {
            return None;
        }
        let problem = match File::open(&path).and_then(|file| file.metadata()) {
            Ok(metadata) if metadata.is_dir() == directory => return None,
            Ok(_) if directory => "is not a directory".to_owned(),
            Ok(_) => "is a directory".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        Some(format!(
            "line {}: {option}: {} {problem}",
            index + 1,
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_named_must_be_there_and_of_the_right_kind() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        std::fs::write(base.join("acl"), "").unwrap();
        let against = |config: &str| missing(base, config);
        assert_eq!(
            against("listener 1\nacl_file acl\npersistence_location .\n#acl_file gone\n"),
            None
        );
        let reason = against("listener 1\npassword_file gone\n").unwrap();
        assert!(
            reason.starts_with("line 2: password_file: ") && reason.contains("gone"),
            "{reason}"
        );
        assert!(
            against("persistence_location acl")
                .unwrap()
                .ends_with("is not a directory")
        );
        assert!(against("certfile .").unwrap().ends_with("is a directory"));
        // An absolute path is itself.
        assert_eq!(against(&format!("cafile {}", base.join("acl").display())), None);
    }
}
