//! The supervisor of one Mosquitto, and the forwarder of its client address.
