//! Stories and properties of the whole engine, against simulated brokers and supervisors in virtual time.

mod adoptions;
mod broker;
mod collisions;
mod commitments;
mod judge;
mod leftovers;
mod moves;
mod neighbours;
mod orphans;
mod property;
mod secured;
mod sessions;
mod stories;
pub(crate) mod toy;
mod values;
mod world;
