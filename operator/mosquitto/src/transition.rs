//! What a running broker needs to get from one configuration to the next.

use crate::config::Config;
use crate::version::Version;

/// What to do to the process, least disturbing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Nothing: it behaves as the new one says already.
    None,
    /// SIGHUP.
    Reload,
    /// Stop and start.
    Restart,
}

/// What to do, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What to do.
    pub action: Action,
    /// Why not less than that: a sentence each. Empty for [`Action::None`].
    pub reasons: Vec<String>,
}

/// What a broker of `version` that runs on `old` needs to run on `new`.
#[must_use]
pub fn transition(old: &Config, new: &Config, version: Version) -> Transition {
    let _ = version;
    if old == new {
        Transition {
            action: Action::None,
            reasons: Vec::new(),
        }
    } else {
        Transition {
            action: Action::Restart,
            reasons: Vec::new(),
        }
    }
}
