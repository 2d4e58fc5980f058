//! The text of a configuration.
//!
//! Every option is written out, defaults too, so that no release of Mosquitto and no distribution changes what the
//! delivery contract rests on. Each comment says why the value is what it is.

use std::fmt::Write as _;

use super::{Config, Connection, Line, Persistence, SecurityPlugin};
use skein_api::name::BrokerName;
use skein_filters::TopicFilter;

/// What every file of Skein's starts with.
pub(super) const HEAD: &str = "# skein: ";

/// Where a forgotten filter is mapped to in the own broker: nobody publishes there.
pub(super) const FORGOTTEN: &str = "$skein/forgotten/";

/// Notes which session upstream may still hold which filter: `# skein: left CLIENT_ID FILTER`.
pub(super) const LEFT: &str = "# skein: left ";

/// The file of the classic store.
pub(super) const CLASSIC_FILE: &str = "mosquitto.db";

/// The option of the dynamic-security plugin that tells it from others.
pub(super) const SECURITY_FILE: &str = "plugin_opt_config_file";

/// Options that are the same in every configuration, before the user's. See [`super::Limits`] for those that vary.
pub(super) const FIXED: [(&str, &str); 1] = [
    // The supervisor reads the broker's output.
    ("log_dest", "stderr"),
];

/// Options that are the same in every connection.
pub(super) const CONNECTION_FIXED: [(&str, &str); 5] = [
    // 5.0 sessions end with the link unless told otherwise (2.1 only), and 5.0 subscribers get one copy per matching
    // line whatever `allow_duplicate_messages` says.
    ("bridge_protocol_version", "mqttv311"),
    // What waits while the link is down waits in the sessions of both ends.
    ("cleansession", "false"),
    ("start_type", "automatic"),
    // They would be published upstream under `$SYS`; probes tell more.
    ("notifications", "false"),
    // The bridge tells its upstream that it is one: no echo, and the retain flag is kept.
    ("try_private", "true"),
];

/// The text of `mosquitto.conf`. Equal configurations give equal bytes.
///
/// It trusts its input to be safe to write, which `compile` and `parse` see to.
#[must_use]
pub fn render(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, config);
    text
}

fn write(text: &mut String, config: &Config) -> std::fmt::Result {
    writeln!(text, "{HEAD}broker={} epoch={}", config.broker, config.epoch)?;
    writeln!(text, "# Written by Skein, which overwrites changes made here.\n")?;
    if let Some(user) = &config.user {
        writeln!(text, "user {user}")?;
    }
    for (key, value) in FIXED {
        writeln!(text, "{key} {value}")?;
    }
    writeln!(text, "allow_anonymous {}", config.allow_anonymous)?;
    let limits = &config.limits;
    writeln!(text, "max_packet_size {}", limits.max_packet_size)?;
    if let Some(size) = limits.packet_buffer_size {
        // More would be carried over from one connection of a bridge to its next, which takes it for an answer.
        writeln!(text, "packet_buffer_size {size}")?;
    }
    writeln!(text, "max_queued_messages {}", limits.max_queued_messages)?;
    writeln!(text, "max_queued_bytes {}", limits.max_queued_bytes)?;
    writeln!(text, "max_inflight_messages {}", limits.max_inflight_messages)?;
    writeln!(text, "queue_qos0_messages {}", limits.queue_qos0_messages)?;
    writeln!(
        text,
        "allow_duplicate_messages {}",
        limits.allow_duplicate_messages
    )?;
    for (key, value) in &config.settings {
        // Mosquitto takes one kind a line.
        if key == super::MANY_WORDS {
            for word in value.split(' ') {
                writeln!(text, "{key} {word}")?;
            }
        } else {
            writeln!(text, "{key} {value}")?;
        }
    }
    persistence(text, &config.persistence)?;
    if let Some(SecurityPlugin { plugin, file }) = &config.security {
        writeln!(text, "plugin {plugin}\n{SECURITY_FILE} {file}")?;
    }
    for listener in &config.listeners {
        writeln!(text, "\nlistener {} {}", listener.port, listener.address)?;
    }
    for held in &config.connections {
        connection(text, &config.broker, held)?;
    }
    for (client_id, filters) in &config.left {
        for filter in filters {
            write!(text, "\n{LEFT}{client_id} {filter}")?;
        }
    }
    if !config.left.is_empty() {
        text.push('\n');
    }
    Ok(())
}

fn persistence(text: &mut String, persistence: &Persistence) -> std::fmt::Result {
    match persistence {
        Persistence::None => writeln!(text, "persistence false"),
        Persistence::Classic { directory } => {
            writeln!(text, "persistence true")?;
            writeln!(text, "persistence_location {directory}")?;
            writeln!(text, "persistence_file {CLASSIC_FILE}")?;
            // Saved on each change: with the default, half an hour is lost.
            writeln!(text, "autosave_on_changes true\nautosave_interval 1")
        }
        Persistence::Durable { directory, plugin } => {
            // The plugin stores instead of the built-in persistence.
            writeln!(text, "persistence false")?;
            writeln!(text, "persistence_location {directory}")?;
            writeln!(text, "plugin {plugin}")?;
            // Flushed before it is acknowledged: any other period loses what came since the last flush.
            writeln!(text, "plugin_opt_flush_period 0\nplugin_opt_sync normal")
        }
    }
}

fn connection(text: &mut String, holder: &BrokerName, held: &Connection) -> std::fmt::Result {
    writeln!(text, "\nconnection {}", held.name)?;
    writeln!(text, "address {}:{}", held.host, held.port)?;
    writeln!(text, "remote_clientid {}", held.remote_client_id)?;
    if let Some(login) = &held.login {
        writeln!(text, "remote_username {}", login.user)?;
        writeln!(text, "remote_password {}", login.password.expose())?;
    }
    writeln!(text, "local_clientid {}", held.local_client_id)?;
    for (key, value) in CONNECTION_FIXED {
        writeln!(text, "{key} {value}")?;
    }
    let (base, cap) = held.restart_timeout;
    writeln!(text, "restart_timeout {base} {cap}")?;
    writeln!(text, "keepalive_interval {}", held.keepalive_interval)?;
    writeln!(text, "bridge_outgoing_retain {}", held.outgoing_retain)?;
    writeln!(text, "bridge_attempt_unsubscribe {}", held.unsubscribes)?;
    for Line {
        filter,
        direction,
        qos,
    } in &held.lines
    {
        writeln!(text, "topic {} {direction} {qos}", pattern(filter))?;
    }
    for filter in &held.forgotten {
        writeln!(text, "topic {} out 0 {FORGOTTEN} \"\"", pattern(filter))?;
    }
    // The last: what comes through on it proves that all lines before are done.
    if let Some(marker) = held.marker(holder) {
        writeln!(text, "topic {marker} in 1")?;
    }
    Ok(())
}

/// A pattern with a space is quoted, which 2.1 understands; `compile` refuses it for 2.0.
fn pattern(filter: &TopicFilter) -> String {
    let text = filter.as_str();
    if text.contains(' ') {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}
