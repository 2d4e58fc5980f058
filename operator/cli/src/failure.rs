//! Why a running fleet could not be asked, as the end of a command.

use std::path::{Path, PathBuf};

use skein_commands::Failure;
use skein_local::StateDirectory;
use skein_local::client::{ClientError, MoveError};

/// A fleet could not be asked.
pub(crate) fn of_client(error: ClientError) -> Failure {
    match error {
        ClientError::NoFleet { state } => Failure::BadInput(no_fleet(&state)),
        ClientError::NoneRunning { .. } => Failure::CouldNot(none_running()),
        ClientError::NoBroker { .. } => Failure::BadInput(error.to_string()),
        error => Failure::CouldNot(error.to_string()),
    }
}

/// A broker's clients could not be led away or back, or nothing be approved.
pub(crate) fn of_move(error: MoveError) -> Failure {
    match error {
        MoveError::Client(error) => of_client(error),
        MoveError::NobodyRuns { .. } | MoveError::File(_) => Failure::CouldNot(error.to_string()),
        error => Failure::BadInput(error.to_string()),
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
