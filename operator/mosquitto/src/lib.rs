//! What Skein knows of Mosquitto: links and lines, configuration, versions.
//!
//! `link` is the line model that the planner writes and `check` reads back; the rest turns links into configuration
//! text and text into links, and knows what each version can do. No I/O.

pub mod link;
