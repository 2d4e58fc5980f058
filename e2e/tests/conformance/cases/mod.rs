//! All cases, by what they are about.

mod declared;
mod delivery;
mod filters;
mod five;
mod retained;
mod sessions;
mod sizes;
mod wills;

use crate::case::Case;

/// Headings and the cases below them.
pub(crate) fn all() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("What flows where", declared::cases()),
        ("Delivery", delivery::cases()),
        ("Payloads and topics", sizes::cases()),
        ("Retained messages", retained::cases()),
        ("Sessions", sessions::cases()),
        ("Wills", wills::cases()),
        ("Filters and subscriptions", filters::cases()),
        ("MQTT 5.0", five::cases()),
    ]
}
