//! The secret of a fleet on this machine, and where it is noted who may connect to a broker: in its directory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use skein_adapter::users::{Left, Roll, Users};
use skein_agent::BrokerDirectory;
use skein_agent::files::{self, FileError};
use skein_mosquitto::config::parse;
use skein_mosquitto::security::{FleetSecret, SecretError, Security, render};

/// The secret of a fleet cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// There is something else in its place.
    #[error("{}: {source}; put the secret back that was there, or remove the file for a new one", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: SecretError,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gives no random bytes to make one of.
    #[error("cannot make a secret for the fleet: {0}")]
    Random(io::Error),
}

/// The users of a fleet with the secret of this file, or with a new one; tells whether it is new.
pub(crate) fn open(file: &Path) -> Result<(Users, bool), SecretFileError> {
    let kept = files::read(file)?;
    let is_new = kept.is_none();
    let secret = if let Some(text) = kept {
        let path = file.to_owned();
        FleetSecret::parse(&text).map_err(|source| SecretFileError::Content { path, source })?
    } else {
        let secret = random().map_err(SecretFileError::Random)?;
        files::write(file, format!("{}\n", secret.to_text()).as_bytes())?;
        secret
    };
    Ok((Users::new(secret), is_new))
}

/// What a broker's directory tells of its users.
pub(crate) struct Files(pub(crate) BrokerDirectory);

impl Roll for Files {
    type Error = FileError;

    /// What is damaged is written anew.
    fn kept(&self) -> Option<Security> {
        self.0.users().ok().flatten()
    }

    fn keep(&self, users: &Security) -> Result<(), FileError> {
        self.0.set_users(users)
    }
}

impl Files {
    /// Whom the process that runs knows, as the file tells that it rewrites.
    pub(crate) fn left(&self) -> Left {
        let runs = self.0.broker().ok().flatten().is_some();
        let left = if runs {
            files::read(&self.0.security_file()).ok().flatten()
        } else {
            None
        };
        left.map_or(Left::Unseen, Left::File)
    }

    /// Where there is no file, a broker would begin one of its own.
    pub(crate) fn begin(&self, users: &Security) -> Result<(), FileError> {
        let file = self.0.security_file();
        if file.exists() || has_begun(&self.0) {
            return Ok(());
        }
        files::write(&file, render(users).as_bytes())
    }
}

fn random() -> io::Result<FleetSecret> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(FleetSecret::new(bytes))
}

/// It may have run under the plugin before.
fn has_begun(directory: &BrokerDirectory) -> bool {
    match directory.loaded() {
        Ok(Some(loaded)) => parse(&loaded.config).map_or(true, |config| config.security.is_some()),
        Ok(None) => false,
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests;
