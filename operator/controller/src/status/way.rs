//! Why there is no way from one broker to another, and which route would make one.

use std::collections::BTreeSet;

use skein_api::fleet::Route;
use skein_api::name::{BrokerName, RouteName};

use super::Seen;

/// What to do so that something flows from a producer to a consumer, as they serve now; `None` if that is no matter of routes.
pub(super) fn remedy(seen: &Seen<'_>, producer: &BrokerName, consumer: &BrokerName) -> Option<String> {
    let from = server(seen, producer)?;
    let to = server(seen, consumer)?;
    let reached = spread(seen, from, Open::Now, |route| &route.a, |route| &route.b);
    if reached.contains(to) {
        return None;
    }
    let reaching = spread(seen, to, Open::Now, |route| &route.b, |route| &route.a);
    let joins = |route: &Route| {
        let leads = |a, b| reached.contains(a) && reaching.contains(b);
        leads(&route.a, &route.b) || (!route.one_way && leads(&route.b, &route.a))
    };
    let against = |route: &Route| route.one_way && reached.contains(&route.b) && reaching.contains(&route.a);
    let named = |fits: &dyn Fn(&Route) -> bool| -> Option<&RouteName> {
        seen.fleet
            .routes
            .iter()
            .find(|(_, route)| fits(route))
            .map(|(name, _)| name)
    };
    Some(if let Some(down) = blocking(seen, from, to, &reached) {
        format!("Broker/{down} is in between and out: bring it back, or add a NodeRoute around it")
    } else if let Some(name) = named(&|route| route.paused && joins(route)) {
        format!("NodeRoute/{name} would connect them and is paused: take spec.paused away")
    } else if let Some(name) = named(&|route| !route.paused && against(route)) {
        format!(
            "NodeRoute/{name} leads the other way only: declare it with spec.between, or add one from {from} to {to}"
        )
    } else {
        format!("no NodeRoute connects them: add one, such as spec.between: [{from}, {to}]")
    })
}

/// Who plays a broker's part; nobody while it is out and not replaced.
fn server<'a>(seen: &Seen<'a>, broker: &'a BrokerName) -> Option<&'a BrokerName> {
    match seen.broker(broker.as_str()) {
        Some(heard) => heard.served_by.as_ref(),
        None => Some(broker),
    }
}

/// Which brokers data passes through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Those that are not out now.
    Now,
    /// All, as if they were well.
    Ever,
}

/// Whom data gets to over open routes, from the end that it leaves to the end that it comes to.
fn spread<'a>(
    seen: &Seen<'a>,
    start: &'a BrokerName,
    open: Open,
    leaves: impl Fn(&'a Route) -> &'a BrokerName,
    comes: impl Fn(&'a Route) -> &'a BrokerName,
) -> BTreeSet<&'a BrokerName> {
    let mut reached = BTreeSet::from([start]);
    let mut fresh = vec![start];
    while let Some(at) = fresh.pop() {
        for route in seen.fleet.routes.values().filter(|route| !route.paused) {
            let next = if leaves(route) == at {
                comes(route)
            } else if comes(route) == at && !route.one_way {
                leaves(route)
            } else {
                continue;
            };
            if (open == Open::Ever || !seen.is_out(next.as_str())) && reached.insert(next) {
                fresh.push(next);
            }
        }
    }
    reached
}

/// A broker that is out, at which what is reached ends, if there is a way but for those that are out.
fn blocking<'a>(
    seen: &Seen<'a>,
    from: &'a BrokerName,
    to: &'a BrokerName,
    reached: &BTreeSet<&'a BrokerName>,
) -> Option<&'a BrokerName> {
    let ever = spread(seen, from, Open::Ever, |route| &route.a, |route| &route.b);
    let ends_at = |name: &&'a BrokerName| {
        let leads = |route: &Route| {
            (route.b == **name && reached.contains(&route.a))
                || (!route.one_way && route.a == **name && reached.contains(&route.b))
        };
        seen.is_out(name.as_str())
            && seen
                .fleet
                .routes
                .values()
                .any(|route| !route.paused && leads(route))
    };
    ever.contains(to)
        .then(|| ever.iter().copied().find(ends_at))
        .flatten()
}
