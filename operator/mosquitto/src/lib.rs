//! What Skein knows of Mosquitto: links and lines, configuration, versions.
//!
//! `link` is the line model that the planner writes and `check` reads back; `config` turns links into configuration
//! text and text into links; `version` knows what each release can do, `transition` what a running broker needs to get
//! from one configuration to the next, `settings` which options are Skein's and which are the user's. No I/O.

pub mod config;
pub mod link;
pub mod security;
pub mod settings;
pub mod transition;
pub mod version;
