//! The paper's Table 11 (002, section 3.3.2): which broker publishes and subscribes which topic, as 0 and 1.

use serde::Serialize;
use skein_api::fleet::Fleet;
use skein_api::name::{BrokerName, TopicName};

use crate::plan::View;

/// A row of the table: a broker and a topic (or a topic's commands) that its clients use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleRow {
    /// The broker.
    pub broker: BrokerName,
    /// The topic.
    pub topic: TopicName,
    /// The topic's filter, or one of its command filters.
    pub filter: String,
    /// Its clients publish it.
    pub publish: bool,
    /// Its clients subscribe it.
    pub subscribe: bool,
    /// The broker is up.
    pub normal: bool,
}

/// The whole table: by broker, then topic. Pairs with neither action are left out.
#[must_use]
pub fn equivalence(fleet: &Fleet, view: &View) -> Vec<RoleRow> {
    let mut rows = Vec::new();
    for (topic, declared) in &fleet.topics {
        let brokers: std::collections::BTreeSet<&BrokerName> =
            declared.producers.iter().chain(&declared.consumers).collect();
        for broker in brokers {
            let produces = declared.producers.contains(broker);
            let consumes = declared.consumers.contains(broker);
            let normal = !view.down.contains(broker);
            let row = |filter: String, publish, subscribe| RoleRow {
                broker: broker.clone(),
                topic: topic.clone(),
                filter,
                publish,
                subscribe,
                normal,
            };
            rows.push(row(declared.filter.to_string(), produces, consumes));
            // Commands flow the other way: consumers publish them, producers subscribe them.
            rows.extend(
                declared
                    .commands
                    .iter()
                    .map(|filter| row(filter.to_string(), consumes, produces)),
            );
        }
    }
    rows.sort();
    rows
}

/// The rows of one broker.
#[must_use]
pub fn roles_of(fleet: &Fleet, view: &View, broker: &BrokerName) -> Vec<RoleRow> {
    equivalence(fleet, view)
        .into_iter()
        .filter(|row| &row.broker == broker)
        .collect()
}

#[cfg(test)]
mod tests {
    use skein_api::fleet::FleetBuilder;

    use super::*;

    #[test]
    fn twins_have_equal_rows() {
        // Table 11 of the paper: B1 and B2 publish and subscribe the same, so each can replace the other.
        let fleet = FleetBuilder::new()
            .topic("x", "x", "b1 b2", "b3")
            .topic("y", "y", "b3", "b1 b2")
            .build();
        let down = View {
            down: [BrokerName::new("b3").unwrap()].into(),
            ..View::default()
        };

        let rows = |name: &str| -> Vec<_> {
            roles_of(&fleet, &down, &BrokerName::new(name).unwrap())
                .into_iter()
                .map(|row| (row.topic, row.publish, row.subscribe, row.normal))
                .collect()
        };

        assert_eq!(rows("b1"), rows("b2"));
        assert!(rows("b1").iter().all(|row| row.3));
        assert!(rows("b3").iter().all(|row| !row.3));
        assert_eq!(equivalence(&fleet, &down).len(), 6);
    }

    #[test]
    fn commands_flow_the_other_way() {
        let fleet = FleetBuilder::new()
            .topic("x", "x", "p", "c")
            .commands("x", "x/set")
            .build();
        let rows = equivalence(&fleet, &View::default());
        let shown: Vec<String> = rows
            .iter()
            .map(|row| {
                format!(
                    "{} {} {}{}",
                    row.broker,
                    row.filter,
                    u8::from(row.publish),
                    u8::from(row.subscribe)
                )
            })
            .collect();
        assert_eq!(shown, ["c x 01", "c x/set 10", "p x 10", "p x/set 01"]);
    }
}
