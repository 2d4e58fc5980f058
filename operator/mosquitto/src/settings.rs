//! Which Mosquitto options a user may pass through, and which are Skein's.

use skein_api::fleet::Fleet;

/// A setting that Skein does not pass through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}; {remedy}")]
pub struct Refused {
    /// The option.
    pub key: String,
    /// Why not.
    pub reason: String,
    /// What to do instead.
    pub remedy: String,
}

/// Whether a user may set this option to this value.
pub fn review(key: &str, value: &str) -> Result<(), Refused> {
    let _ = (key, value);
    Ok(())
}

/// Everything in a fleet that Mosquitto's configuration cannot or must not say: (object as `Broker/a`, field as
/// `spec.managed.settings.max_keepalive`, what is wrong and what to do).
#[must_use]
pub fn review_fleet(fleet: &Fleet) -> Vec<(String, String, String)> {
    let _ = fleet;
    Vec::new()
}
