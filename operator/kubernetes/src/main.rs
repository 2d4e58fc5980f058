//! The `skein-operator` command: what Skein's pods run. Arguments in, an exit code out.
//!
//! It is a program of its own so that `skein`, which people run on their own machines, carries no client of Kubernetes.

mod arguments;
mod flow;
mod help;

use std::process::ExitCode;

use arguments::{Agent, Arguments, Command, Controller, Install};
use clap::Parser as _;
use skein_controller::objects::{Images, Settings};
use skein_controller::{LeaseSettings, Options};
use skein_pod::PodOptions;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Controller(arguments) => controller(arguments),
        Command::Agent(arguments) => agent(arguments),
        Command::Test(arguments) => runtime().and_then(|runtime| runtime.block_on(flow::test(arguments))),
        Command::Install(arguments) => install(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn controller(arguments: Controller) -> Result<(), String> {
    let options = Options {
        namespace: arguments.namespace,
        lease: arguments.lease.or_else(LeaseSettings::of_this_pod),
        listen: Some(arguments.listen),
        objects: Settings {
            images: Images {
                skein: arguments.image,
                skein_pull_policy: arguments.pull_policy.clone(),
                mosquitto: arguments.mosquitto_image,
                mosquitto_pull_policy: arguments.pull_policy,
            },
            delete_volumes: arguments.delete_volumes,
            ..Settings::default()
        },
    };
    skein_controller::run(&options).map_err(|error| error.to_string())
}

fn agent(arguments: Agent) -> Result<(), String> {
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
    ended.map(drop).map_err(|error| error.to_string())
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))
}

fn install(arguments: &Install) -> Result<(), String> {
    skein_pod::install(&arguments.directory)
        .map(drop)
        .map_err(|error| error.to_string())
}
