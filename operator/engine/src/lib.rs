//! Health, epochs and migrations as a state machine without I/O.
