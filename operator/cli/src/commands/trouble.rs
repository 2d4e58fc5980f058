//! `skein break` and `skein mend`

use std::process::ExitCode;

use skein_commands::{Failure, output};
use skein_local::StateDirectory;
use skein_local::client::{self, ClientError};

use crate::arguments::{Break, Mend};
use crate::failure;

pub(crate) fn break_broker(arguments: &Break) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref()).map_err(failure::of_client)?;
    client::break_broker(&state, &arguments.broker, arguments.hang)
        .map_err(|error| self::failure(error, &state))?;
    let broker = &arguments.broker;
    let how = if arguments.hang { "hangs" } else { "is kept down" };
    output::write(&format!("{broker} {how} until `skein mend {broker}`\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn mend(arguments: &Mend) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref()).map_err(failure::of_client)?;
    client::mend(&state, &arguments.broker).map_err(|error| self::failure(error, &state))?;
    output::write(&format!("{} may come back\n", arguments.broker))?;
    Ok(ExitCode::SUCCESS)
}

/// A fleet without brokers has no names to offer: more likely it is the wrong one, or has not begun.
pub(super) fn failure(error: ClientError, state: &StateDirectory) -> Failure {
    match error {
        ClientError::NoBroker { broker, known } if known.is_empty() => Failure::bad_input(format!(
            "there is no broker {broker}: Skein runs none in {state}; start the fleet with `skein up -f DIR --state {state}`",
            state = state.path().display()
        )),
        error => failure::of_client(error),
    }
}
