//! What each command does: read a fleet, ask the libraries, show the answer.

pub(crate) mod diff;
pub(crate) mod drain;
pub(crate) mod render;
pub(crate) mod status;
pub(crate) mod trouble;
pub(crate) mod up;
