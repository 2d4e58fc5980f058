//! `skein controller`

use std::process::ExitCode;

use skein_controller::objects::{Images, Settings};
use skein_controller::{LeaseSettings, Options, run as care};

use crate::arguments;
use crate::failure::Failure;

pub(crate) fn run(arguments: arguments::Controller) -> Result<ExitCode, Failure> {
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
    care(&options)
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| Failure::could_not(error.to_string()))
}
