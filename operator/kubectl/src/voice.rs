//! How `kubectl skein` speaks of itself.

use skein_api::name::BrokerName;
use skein_commands::{Failure, Voice};

/// The words of `kubectl skein`, whose fleets controllers keep.
pub(crate) const VOICE: Voice = Voice {
    command: "kubectl skein",
    nobody: "no controller acts",
    ended: "no controller takes notice",
    edit: "an edit of its Migration",
    overruled,
};

fn overruled(broker: &BrokerName, migration: &str) -> Failure {
    Failure::bad_input(format!(
        "Broker/{broker}: Migration/{migration} says whether it is drained, and goes before this command; edit its spec.to or \
         spec.abandon, or delete it first: `kubectl delete migration {migration}`"
    ))
}
