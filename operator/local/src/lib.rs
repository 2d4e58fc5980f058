//! A fleet of processes on one machine.
