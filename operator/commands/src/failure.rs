//! Why a command ended without doing its work, and the exit code that says so.

use std::fmt;
use std::process::ExitCode;

use crate::paint::{BAD, paint};

/// The end of a command that did not do its work.
#[derive(Debug)]
pub enum Failure {
    /// What the user gave is wrong: exit code 2.
    BadInput(String),
    /// Manifests are wrong: exit code 2. A line for each problem, then how many they are.
    Problems(String),
    /// It could not be done: exit code 1.
    CouldNot(String),
}

impl Failure {
    /// Bad input.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::BadInput(message.into())
    }

    /// It could not be done.
    pub fn could_not(message: impl Into<String>) -> Self {
        Self::CouldNot(message.into())
    }

    /// What the process ends with.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
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
