//! `skein break` and `skein mend`

use std::process::ExitCode;

use skein_local::client;

use crate::arguments::{Break, Mend};
use crate::failure::Failure;
use crate::output;

pub(crate) fn break_broker(arguments: &Break) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref())?;
    client::break_broker(&state, &arguments.broker, arguments.hang)?;
    let broker = &arguments.broker;
    let how = if arguments.hang { "hangs" } else { "is kept down" };
    output::write(&format!("{broker} {how} until `skein mend {broker}`\n"))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn mend(arguments: &Mend) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref())?;
    client::mend(&state, &arguments.broker)?;
    output::write(&format!("{} may come back\n", arguments.broker))?;
    Ok(ExitCode::SUCCESS)
}
