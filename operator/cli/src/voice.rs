//! How `skein` speaks of itself.

use skein_api::name::BrokerName;
use skein_commands::{Failure, Voice};
use skein_local::client::MoveError;

use crate::failure;

/// The words of `skein`, whose fleets `skein up` keeps.
pub(crate) const VOICE: Voice = Voice {
    command: "skein",
    nobody: "skein up is not running",
    ended: "`skein up` has ended",
    edit: "an edit of the manifests",
    overruled,
};

fn overruled(broker: &BrokerName, migration: &str) -> Failure {
    failure::of_move(MoveError::Declared {
        broker: broker.clone(),
        migration: migration.to_owned(),
        drain: true,
    })
}
