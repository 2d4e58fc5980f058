//! Heartbeats and path probes over MQTT.
