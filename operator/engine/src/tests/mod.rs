//! Stories and properties of the whole engine, against simulated brokers and supervisors in virtual time.

mod judge;
mod property;
mod stories;
mod toy;
mod world;
