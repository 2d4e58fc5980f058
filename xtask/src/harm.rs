//! What `soak` and `matrix` do to a fleet of real brokers: one fault at a time, and what takes it back. It counts no messages.

mod disk;
mod fault;
mod network;
mod seclusion;
mod victim;

pub(crate) use fault::{Direction, Ended, Fault};
pub(crate) use seclusion::{Means, Secluded};
pub(crate) use victim::{LATE, Victim};

/// The brokers of the fleet: `a` has the subscribers and `i` the publishers, `a2` and `i2` stand in for them, `b` is on the way
/// between, and `c` on the other way.
pub(crate) const BROKERS: [&str; 6] = ["a", "a2", "b", "c", "i", "i2"];
