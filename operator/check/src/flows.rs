//! What must flow: the declared topics as they stand while some brokers are down. Knows the fleet, not the links.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::fleet::{Fleet, Topic};
use skein_api::name::{BrokerName, Qos, TopicName};
use skein_filters::TopicFilter;

/// One declared flow as it stands in a view (roles of a dead broker moved to its substitute).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The topic that declares it.
    pub topic: TopicName,
    /// What is published and subscribed.
    pub filter: TopicFilter,
    /// The quality of service that consumers are to get.
    pub qos: Qos,
    /// It is one of the topic's command filters.
    pub command: bool,
    /// Brokers whose clients publish it.
    pub producers: BTreeSet<BrokerName>,
    /// Brokers whose clients subscribe it.
    pub consumers: BTreeSet<BrokerName>,
}

/// The flows of a fleet, sorted by topic: one for each topic's filter and one for each of its command filters, which go
/// from the consumers back to the producers.
///
/// A role of a broker in `down` is played by the broker that serves it, if that one is up; otherwise nobody plays it.
#[must_use]
pub fn flows(
    fleet: &Fleet,
    down: &BTreeSet<BrokerName>,
    served_by: &BTreeMap<BrokerName, BrokerName>,
) -> Vec<Flow> {
    flows_of(&fleet.topics, down, served_by)
}

/// The [`flows`] of some topics, in their order.
#[must_use]
pub fn flows_of<'a>(
    topics: impl IntoIterator<Item = (&'a TopicName, &'a Arc<Topic>)>,
    down: &BTreeSet<BrokerName>,
    served_by: &BTreeMap<BrokerName, BrokerName>,
) -> Vec<Flow> {
    let stands_in = |broker: &BrokerName| {
        let mut broker = broker;
        // A substitute may have died in its turn and be served itself; more steps than entries would be a circle.
        for _ in 0..=served_by.len() {
            if !down.contains(broker) {
                return Some(broker.clone());
            }
            broker = served_by.get(broker)?;
        }
        None
    };
    let mut flows = Vec::new();
    for (name, topic) in topics {
        let producers: BTreeSet<BrokerName> = topic.producers.iter().filter_map(stands_in).collect();
        let consumers: BTreeSet<BrokerName> = topic.consumers.iter().filter_map(stands_in).collect();
        let flow = |filter: &TopicFilter, command, producers: &BTreeSet<_>, consumers: &BTreeSet<_>| Flow {
            topic: name.clone(),
            filter: filter.clone(),
            qos: topic.qos,
            command,
            producers: producers.clone(),
            consumers: consumers.clone(),
        };
        flows.push(flow(&topic.filter, false, &producers, &consumers));
        flows.extend(
            topic
                .commands
                .iter()
                .map(|filter| flow(filter, true, &consumers, &producers)),
        );
    }
    flows
}

/// Brokers whose sessions give a bridge (MQTT 3.1.1) one copy however many of its lines match
/// (`allow_duplicate_messages false`): all that Skein controls.
#[must_use]
pub fn deduplicating(fleet: &Fleet) -> BTreeSet<BrokerName> {
    let controlled = fleet.brokers.iter().filter(|(_, broker)| broker.is_controlled());
    controlled.map(|(name, _)| name.clone()).collect()
}
