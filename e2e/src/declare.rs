//! Manifests in few words, for fleets that only one story needs. It knows their text, not their meaning.

use std::fmt::Write as _;

/// Documents of a manifest file, one after the other.
///
/// Brokers are managed, allow anonymous clients, and have quick heartbeats, so that a story is short.
#[derive(Clone, Debug, Default)]
pub struct Manifest(String);

impl Manifest {
    /// An empty file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Brokers, by name: `"a b c"`.
    #[must_use]
    pub fn brokers(self, names: &str) -> Self {
        self.brokers_as(
            names,
            "{managed: {allowAnonymous: true}, heartbeat: {interval: 200ms, misses: 3}, failover: {after: 1s}}",
        )
    }

    /// The same with the quickest heartbeats there are, and time to come back from a death.
    #[must_use]
    pub fn quick_brokers(self, names: &str) -> Self {
        self.brokers_as(
            names,
            "{managed: {allowAnonymous: true}, heartbeat: {interval: 50ms, misses: 3}, failover: {after: 5s}}",
        )
    }

    /// Brokers of a specification of their own, such as `"{managed: {durability: none}}"`.
    #[must_use]
    pub fn brokers_as(mut self, names: &str, spec: &str) -> Self {
        for name in names.split_whitespace() {
            self.add("Broker", name, spec);
        }
        self
    }

    /// Two-way routes: `"a-b b-c:5"`, the number being the cost.
    #[must_use]
    pub fn routes(mut self, routes: &str) -> Self {
        for route in routes.split_whitespace() {
            let (between, cost) = route.split_once(':').unwrap_or((route, "1"));
            let (one, other) = between.split_once('-').unwrap_or((between, ""));
            self.add(
                "NodeRoute",
                between,
                &format!("{{between: [{one}, {other}], cost: {cost}}}"),
            );
        }
        self
    }

    /// A topic with its filter; producers and consumers by name: `"i i2"`.
    #[must_use]
    pub fn topic(self, name: &str, filter: &str, producers: &str, consumers: &str) -> Self {
        self.topic_with(name, filter, producers, consumers, "")
    }

    /// A topic with further fields, such as `"qos: 2"`.
    #[must_use]
    pub fn topic_with(
        mut self,
        name: &str,
        filter: &str,
        producers: &str,
        consumers: &str,
        further: &str,
    ) -> Self {
        let list = |names: &str| {
            let brokers: Vec<String> = names
                .split_whitespace()
                .map(|name| format!("{{broker: {name}}}"))
                .collect();
            brokers.join(", ")
        };
        let (producers, consumers) = (list(producers), list(consumers));
        self.add(
            "Topic",
            name,
            &format!(
                "{{filter: \"{filter}\", producers: [{producers}], consumers: [{consumers}], {further}}}"
            ),
        );
        self
    }

    /// The file's text: YAML.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    fn add(&mut self, kind: &str, name: &str, spec: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(
            self.0,
            "---\napiVersion: mqtt.skein.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}"
        );
    }
}
