//! Who would get what is published for somebody else, if one broker's clients were led to another: subscriptions at both
//! that overlap on topics that no Topic declares for both.
//!
//! Knows declarations and subscriptions; no health, no plans, and not whose sessions they are. Publications are not seen:
//! topics that nobody subscribes at both do not collide.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use skein_api::fleet::{Fleet, Topic};
use skein_api::name::BrokerName;
use skein_filters::{FilterTrie, TopicFilter};

use crate::sessions::ClientSession;

/// How many are named; the others are counted.
const NAMED: usize = 20;

/// What evidence of one begins with.
const MARK: &str = "collision: ";

/// A subscription of a client, and one at another broker that it overlaps with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Collision {
    /// The client's id.
    pub client: String,
    /// What it subscribes.
    pub filter: String,
    /// The other broker.
    pub with: BrokerName,
    /// The id of a client of that one.
    pub other: String,
    /// What that one subscribes.
    pub other_filter: String,
}

/// What clients of a broker subscribe, by filter: without the group of a shared subscription, and without topics under a
/// `$`, which are each broker's own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    by_filter: Vec<(TopicFilter, Vec<String>)>,
    clients: BTreeSet<String>,
    /// By place in the former.
    places: FilterTrie<usize>,
}

impl Subscriptions {
    /// Those of these sessions. Skein's own do not count.
    pub(crate) fn of<'a>(sessions: impl IntoIterator<Item = (&'a String, &'a ClientSession)>) -> Self {
        let mut by_filter: BTreeMap<TopicFilter, BTreeSet<&String>> = BTreeMap::new();
        for (client, session) in sessions {
            if client.starts_with("skein") {
                continue;
            }
            for filter in session.subscriptions.keys().filter_map(|text| topics(text)) {
                by_filter.entry(filter).or_default().insert(client);
            }
        }
        let mut places = FilterTrie::new();
        for (place, filter) in by_filter.keys().enumerate() {
            places.insert(filter, place);
        }
        let clients = by_filter.values().flatten().copied().cloned().collect();
        let owned =
            |(filter, clients): (_, BTreeSet<&String>)| (filter, clients.into_iter().cloned().collect());
        Self {
            clients,
            by_filter: by_filter.into_iter().map(owned).collect(),
            places,
        }
    }

    fn is_empty(&self) -> bool {
        self.by_filter.is_empty()
    }

    /// The first subscription that overlaps with a filter on more than what is `excused`, of a client that is not one of
    /// these: its filter and its client.
    fn against(
        &self,
        filter: &TopicFilter,
        excused: impl Fn(&TopicFilter) -> bool,
        but_for: &BTreeSet<String>,
    ) -> Option<(&TopicFilter, &String)> {
        let mut places = Vec::new();
        self.places.overlapping(filter, |place| places.push(*place));
        places.sort_unstable();
        let mut overlapping = places.into_iter().filter_map(|place| self.by_filter.get(place));
        overlapping.find_map(|(other, clients)| {
            let client = clients.iter().find(|client| !but_for.contains(*client))?;
            let common = filter.intersection(other)?;
            (!excused(&common)).then_some((other, client))
        })
    }
}

/// The topics of a subscription that clients can publish to.
fn topics(subscription: &str) -> Option<TopicFilter> {
    let filter = match subscription.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/')?.1,
        None => subscription,
    };
    let ours = !filter.starts_with('$');
    ours.then(|| TopicFilter::parse(filter).ok()).flatten()
}

/// What collides of the clients of one broker with those of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Collisions {
    /// The other broker.
    pub(crate) with: BrokerName,
    /// How many subscriptions of the one's clients do.
    pub(crate) count: usize,
    /// The first of them, by filter.
    pub(crate) named: Vec<Collision>,
}

impl Collisions {
    /// None if nothing collides. A client with sessions at both has been moved and is back, or moves by itself: it is no
    /// stranger to either.
    pub(crate) fn between(
        fleet: &Fleet,
        (home, own): (&BrokerName, &Subscriptions),
        (with, others): (&BrokerName, &Subscriptions),
    ) -> Option<Self> {
        if own.is_empty() || others.is_empty() {
            return None;
        }
        let mut declared = FilterTrie::new();
        for topic in fleet
            .topics
            .values()
            .filter(|topic| takes_part(topic, home) && takes_part(topic, with))
        {
            for filter in std::iter::once(&topic.filter).chain(&topic.commands) {
                declared.insert(filter, ());
            }
        }
        let excused = |filter: &TopicFilter| {
            let mut covered = false;
            declared.covering(filter, |()| covered = true);
            covered
        };
        let mut found = Self {
            with: with.clone(),
            count: 0,
            named: Vec::new(),
        };
        for (filter, clients) in own.by_filter.iter().filter(|(filter, _)| !excused(filter)) {
            let Some((other_filter, other)) = others.against(filter, excused, &own.clients) else {
                continue;
            };
            let clients = clients.iter().filter(|client| !others.clients.contains(*client));
            found.count += clients.clone().count();
            let room = NAMED.saturating_sub(found.named.len());
            let named = clients.take(room).map(|client| Collision {
                client: client.clone(),
                filter: filter.as_str().to_owned(),
                with: with.clone(),
                other: other.clone(),
                other_filter: other_filter.as_str().to_owned(),
            });
            found.named.extend(named);
        }
        (found.count > 0).then_some(found)
    }

    /// The first in a sentence's beginning, and how many there are.
    pub(crate) fn says(&self, home: &BrokerName) -> String {
        let Some(first) = self.named.first() else {
            return String::new();
        };
        let Collision {
            client,
            filter,
            with,
            other,
            other_filter,
        } = first;
        let more = match self.count {
            0 | 1 => String::new(),
            count => format!(" (and so for {count} subscriptions of clients of {home} in all)"),
        };
        format!(
            "client {client} of {home} ({filter}) and client {other} of {with} ({other_filter}) would get each other's \
             messages on topics that no Topic declares for both brokers{more}"
        )
    }
}

/// The evidence of a migration with what collides by it, and nothing that was said of that before.
pub(crate) fn evidence(evidence: &[String], home: &BrokerName, found: Option<&Collisions>) -> Vec<String> {
    let others = evidence.iter().filter(|text| !text.starts_with(MARK)).cloned();
    others
        .chain(found.map(|found| format!("{MARK}{}", found.says(home))))
        .collect()
}

/// What such evidence says.
pub(crate) fn said(evidence: &[String]) -> &str {
    let mut said = evidence.iter().filter_map(|text| text.strip_prefix(MARK));
    said.next().unwrap_or("clients would get each other's messages")
}

fn takes_part(topic: &Topic, broker: &BrokerName) -> bool {
    topic.producers.contains(broker) || topic.consumers.contains(broker)
}

#[cfg(test)]
mod tests;
