//! The two programs beside `skein up`: what the hidden subcommands `supervise` and `forward` take and do.
//!
//! `skein up` starts its own executable with these subcommands, so that whatever a supervisor or a forwarder is belongs
//! to the same build.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;

use skein_agent::{
    BrokerDirectory, ForwardError, ForwardOptions, ForwarderDirectory, SupervisorError, SupervisorOptions,
};

/// The subcommand of a supervisor.
pub const SUPERVISE: &str = "supervise";
/// The subcommand of a forwarder.
pub const FORWARD: &str = "forward";

/// Why such a process ended.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It was not called as `skein up` does.
    #[error("expected {expected}; this command is for `skein up` to call")]
    Usage {
        /// What it takes.
        expected: &'static str,
    },
    /// The supervisor.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The forwarder.
    #[error(transparent)]
    Forwarder(#[from] ForwardError),
    /// The system lacks something.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

pub(crate) fn supervise_arguments(directory: &BrokerDirectory, mosquitto: &Path) -> Vec<OsString> {
    vec![SUPERVISE.into(), directory.path().into(), mosquitto.into()]
}

pub(crate) fn forward_arguments(directory: &ForwarderDirectory, listen: SocketAddr) -> Vec<OsString> {
    vec![FORWARD.into(), directory.path().into(), listen.to_string().into()]
}

/// `supervise DIRECTORY MOSQUITTO`: blocks until SIGTERM. Takes what follows the subcommand.
///
/// # Errors
/// If the arguments are not these, or as [`skein_agent::supervise`].
pub fn supervise(arguments: &[impl AsRef<OsStr>]) -> Result<(), ProcessError> {
    let [directory, mosquitto] = arguments else {
        return Err(ProcessError::Usage {
            expected: "DIRECTORY MOSQUITTO",
        });
    };
    let options = SupervisorOptions {
        directory: BrokerDirectory::new(directory.as_ref()),
        mosquitto: mosquitto.as_ref().into(),
    };
    Ok(runtime()?.block_on(skein_agent::supervise(options))?)
}

/// `forward DIRECTORY HOST:PORT`: blocks until SIGTERM. Takes what follows the subcommand.
///
/// # Errors
/// If the arguments are not these, or as [`skein_agent::forward`].
pub fn forward(arguments: &[impl AsRef<OsStr>]) -> Result<(), ProcessError> {
    let usage = || ProcessError::Usage {
        expected: "DIRECTORY HOST:PORT",
    };
    let [directory, listen] = arguments else {
        return Err(usage());
    };
    let listen = listen
        .as_ref()
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(usage)?;
    let options = ForwardOptions {
        listen,
        directory: ForwarderDirectory::new(directory.as_ref()),
    };
    Ok(runtime()?.block_on(skein_agent::forward(options))?)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_call_says_what_is_expected() {
        let error = forward(&["/directory", "no address"]).unwrap_err().to_string();
        assert!(error.contains("DIRECTORY HOST:PORT"), "{error}");
        let error = supervise(&["only one"]).unwrap_err().to_string();
        assert!(error.contains("DIRECTORY MOSQUITTO"), "{error}");
    }
}
