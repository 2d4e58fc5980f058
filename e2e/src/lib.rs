//! Whole-system tests on real Mosquitto processes.
