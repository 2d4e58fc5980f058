//! Fleets on Kubernetes: a namespace is a fleet.
//!
//! The adapter between the engine and the API server. It reads custom resources, keeps the objects that brokers run by as
//! they should be, watches heartbeats, feeds the engine with what it sees, executes what the engine says and writes status.
//! Decides nothing that the engine decides.

pub mod names;
pub mod objects;
pub mod status;
