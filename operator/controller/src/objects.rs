//! The objects that a broker runs by, as they should be: pure functions of what is declared.
