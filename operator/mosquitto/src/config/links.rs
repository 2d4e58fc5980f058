//! Links from a configuration: the way back.

use skein_api::name::{BrokerName, ClassName};

use super::{Config, Connection};
use crate::link::{CLIENT_ID_PREFIX, Line, Link, Mode};

/// Skein's own topics start with this.
pub const RESERVED: &str = "$skein/";

/// Path probes of a class: followed by its name.
pub const PROBE: &str = "$skein/probe/";

/// The links that `holder` holds in this configuration, exactly as they were compiled. Connections that are not
/// Skein's, or not `holder`'s, are left out.
#[must_use]
pub fn links_of(holder: &BrokerName, config: &Config) -> Vec<Link> {
    config
        .connections
        .iter()
        .filter_map(|held| link(held))
        .filter(|link| link.downstream == *holder)
        .collect()
}

/// Downstream, upstream, mode and class of the link with this client id, if it is one of Skein's.
#[must_use]
pub fn identity_of(client_id: &str) -> Option<(BrokerName, BrokerName, Mode, ClassName)> {
    let identity = client_id.strip_prefix(CLIENT_ID_PREFIX)?;
    let parts: Vec<&str> = identity.split(':').collect();
    let [downstream, upstream, mode, class] = parts.as_slice() else {
        return None;
    };
    let mode = mode.parse().ok()?;
    Some((
        BrokerName::new(downstream).ok()?,
        BrokerName::new(upstream).ok()?,
        mode,
        ClassName::new(class).ok()?,
    ))
}

fn link(held: &Connection) -> Option<Link> {
    let (downstream, upstream, mode, class) = identity_of(&held.remote_client_id)?;
    let (control, lines) = held.lines.iter().cloned().partition::<Vec<_>, _>(is_control);
    Some(Link {
        downstream,
        upstream,
        mode,
        class,
        lines: lines.into(),
        control: control.into(),
    })
}

/// A line under `$skein/`.
pub(super) fn is_control(line: &Line) -> bool {
    line.filter.as_str().starts_with(RESERVED)
}
