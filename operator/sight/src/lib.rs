//! What can be seen of a broker on the machine it runs on: what its store keeps, what its process does, whether its disk has room.
//!
//! It looks and tells, in the engine's words. It knows no MQTT, no supervisors and no plans, judges nothing that the engine judges,
//! and is not noticed by whom it looks at.

#[cfg(test)]
#[path = "../../store/tests/common/classic.rs"]
#[allow(dead_code, reason = "shared with the tests of the store")]
mod classic_store;
pub mod queues;
pub mod rooms;
pub mod stores;
pub mod values;
pub mod vitals;
pub mod wire;
