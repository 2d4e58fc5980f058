//! How a program speaks of itself and of what keeps a fleet, where texts name them.

use skein_api::name::BrokerName;

use crate::failure::Failure;

/// The words in which one program differs from another.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    /// What a person types: `skein`.
    pub command: &'static str,
    /// That nobody keeps the fleet healthy now: `skein up is not running`.
    pub nobody: &'static str,
    /// The same of who did until now: `` `skein up` has ended ``.
    pub ended: &'static str,
    /// What else takes a drain back: `an edit of the manifests`.
    pub edit: &'static str,
    /// This Migration, which goes before commands, says otherwise.
    pub overruled: fn(&BrokerName, &str) -> Failure,
}
