//! `skein agent` and `skein install`: what the containers of a broker's pod run.

use std::process::ExitCode;

use skein_pod::PodOptions;

use crate::arguments::{Agent, Install};
use crate::failure::Failure;
use crate::runtime;

pub(crate) fn agent(arguments: Agent) -> Result<ExitCode, Failure> {
    let Agent {
        broker,
        namespace,
        directory,
        mosquitto,
        pod_uid,
    } = arguments;
    let options = PodOptions {
        broker,
        namespace,
        directory,
        mosquitto,
        pod_uid,
    };
    let runtime = runtime()?;
    let ended = runtime.block_on(skein_pod::run(options));
    // A line that nobody reads from standard output must not keep this process.
    runtime.shutdown_background();
    ended
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| Failure::could_not(error.to_string()))
}

pub(crate) fn install(arguments: &Install) -> Result<ExitCode, Failure> {
    skein_pod::install(&arguments.directory)
        .map(|_| ExitCode::SUCCESS)
        .map_err(|error| Failure::could_not(error.to_string()))
}
