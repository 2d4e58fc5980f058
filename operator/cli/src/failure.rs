//! Why a command ended without doing its work, and the exit code that says so.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use skein_local::StateDirectory;
use skein_local::client::{ClientError, MoveError};

use crate::paint::{BAD, paint};

/// The end of a command that did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the user gave is wrong: exit code 2.
    BadInput(String),
    /// Manifests are wrong: exit code 2. A line for each problem, then how many they are.
    Problems(String),
    /// It could not be done: exit code 1.
    CouldNot(String),
}

impl Failure {
    /// Bad input.
    pub(crate) fn bad_input(message: impl Into<String>) -> Self {
        Self::BadInput(message.into())
    }

    /// It could not be done.
    pub(crate) fn could_not(message: impl Into<String>) -> Self {
        Self::CouldNot(message.into())
    }

    /// What the process ends with.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::BadInput(_) | Self::Problems(_) => ExitCode::from(2),
            Self::CouldNot(_) => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadInput(message) | Self::CouldNot(message) => {
                write!(f, "{} {message}", paint(BAD.bold(), "error:"))
            }
            // Each begins with its place, which terminals and editors recognise.
            Self::Problems(lines) => f.write_str(lines),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::NoFleet { state } => Self::BadInput(no_fleet(&state)),
            ClientError::NoneRunning { .. } => Self::CouldNot(none_running()),
            ClientError::NoBroker { .. } => Self::BadInput(error.to_string()),
            error => Self::CouldNot(error.to_string()),
        }
    }
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        match error {
            MoveError::Client(error) => error.into(),
            MoveError::NobodyRuns { .. } | MoveError::File(_) => Self::CouldNot(error.to_string()),
            error => Self::BadInput(error.to_string()),
        }
    }
}

/// Nothing of a fleet is where the user says.
fn no_fleet(state: &Path) -> String {
    let shown = state.display();
    let remedy =
        "give --state the path that `skein up` printed, or leave it away to ask the only fleet that runs";
    if state.exists() {
        format!("no fleet has its state in {shown}; {remedy}")
    } else {
        format!("there is no {shown}; {remedy}, or start one there with `skein up -f DIR --state {shown}`")
    }
}

/// Nobody holds a state directory where they are if nobody says otherwise.
fn none_running() -> String {
    let Some(base) = StateDirectory::base() else {
        return "no fleet is running: no home directory is known to look for one in; say with --state PATH where its \
                state is"
            .to_owned();
    };
    let left: Vec<String> = left_behind(&base)
        .iter()
        .map(|state| format!("\n  {}", state.display()))
        .collect();
    if left.is_empty() {
        return format!(
            "no fleet is running: none has its state in {}; start one with `skein up -f DIR`, or say with --state PATH \
             where its state is",
            base.display()
        );
    }
    format!(
        "no `skein up` is running, but one ended without stopping its fleet; take that over with `skein up -f DIR`, or \
         look at it with --state:{}",
        left.concat()
    )
}

/// State directories with a status that nobody took away: a fleet that is stopped has none.
fn left_behind(base: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    let mut left: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| StateDirectory::new(path).status_file().exists())
        .collect();
    left.sort();
    left
}
