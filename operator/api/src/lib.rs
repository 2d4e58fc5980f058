//! Skein's resources, their validation, and the fleet they declare.
//!
//! `resources` are the types a user writes (and Kubernetes stores); `manifest` reads them from text, keeping positions,
//! and reports every problem at once; `fleet` is what validation returns: checked names, resolved selectors, no
//! strings left to distrust. Everything downstream takes a [`fleet::Fleet`]. No I/O.

pub mod fleet;
pub mod manifest;
pub mod name;
pub mod resources;
