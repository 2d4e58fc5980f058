//! What can be written into Mosquitto's configuration without meaning something else.
//!
//! Found by experiment on 2.0.11, 2.0.21 and 2.1.2. Mosquitto takes a line up to its end, `#` is a comment at its start
//! only, there is no escape character, and a `topic` line is cut at spaces. What it cannot subscribe it does not refuse: the bridge then connects and
//! fails in turns for ever, taking its other lines with it. So everything doubtful is refused here.

use skein_filters::TopicFilter;

use crate::version::{Capabilities, Version};

/// The most levels Mosquitto takes; it closes the connection of a client that subscribes more. Length is no problem:
/// filters of 65,535 bytes, MQTT's own limit, were bridged on all versions.
const MOST_LEVELS: usize = 201;

/// One word: a user, an address, an identifier.
pub(crate) fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= 253 && text.bytes().all(allowed)
}

/// A host name or an address of either family, without brackets.
pub(crate) fn is_host(text: &str) -> bool {
    is_word(text) || text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// An absolute path. Spaces and `#` inside are fine.
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with('/') && is_value(text)
}

/// A value that fills the rest of a line.
pub(crate) fn is_value(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

/// Why a filter cannot be the pattern of a `topic` line, if it cannot.
pub(crate) fn writable(filter: &TopicFilter, version: Version) -> Result<(), String> {
    let text = filter.as_str();
    if let Some(bad) = text
        .chars()
        .find(|&character| character.is_control() || is_noncharacter(character))
    {
        return Err(format!("the character {bad:?} in it is refused by Mosquitto"));
    }
    if text.split('/').count() > MOST_LEVELS {
        return Err(format!(
            "it has more than {MOST_LEVELS} levels, the most that Mosquitto takes"
        ));
    }
    let spaced = text.contains(' ');
    if spaced && !Capabilities::of(version).quotes_patterns {
        return Err(format!(
            "Mosquitto {version} cannot bridge a filter with a space: that takes 2.1"
        ));
    }
    if text.starts_with(' ') || text.ends_with(' ') {
        return Err("Mosquitto cuts a space off its start or end".to_owned());
    }
    if text.starts_with('"') || (spaced && text.contains('"')) {
        return Err("Mosquitto takes a quotation mark there for its own".to_owned());
    }
    Ok(())
}

/// Code points that MQTT says a server may refuse, and Mosquitto does.
fn is_noncharacter(character: char) -> bool {
    let code = u32::from(character);
    (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}
