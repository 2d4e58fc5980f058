//! The supervisor of one Mosquitto, in a pod.
//!
//! It is the same supervisor as everywhere, on a directory of its own. What the controller says comes from a Secret that is
//! watched through the API, and is written into that directory; what the supervisor reports goes to a ConfigMap.
