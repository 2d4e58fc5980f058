//! Objects that somebody else changed or deleted, made as they should be.

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource as _;
use skein_api::name::BrokerName;

use super::Fleet;
use crate::names;
use crate::watching::Seen;
use crate::writer::Key;

impl Fleet {
    /// An object of ours was seen.
    pub(super) fn saw(&mut self, seen: Seen) {
        // What a pod reports there is its own: of that object only the absence is ours to mend.
        let is_report = seen.key.kind == ConfigMap::kind(&()) && seen.version.is_some();
        if !is_report && !self.is_left_alone(&seen.key) {
            self.writer.saw(&seen.key, seen.version);
        }
    }

    /// A person has it left as it is. That is not said of what the engine decides: configurations, and who serves.
    fn is_left_alone(&self, key: &Key) -> bool {
        let is_decided = key.kind == Secret::kind(&()) || key.kind == EndpointSlice::kind(&());
        let broker = names::broker_of(&key.name).or_else(|| BrokerName::new(&key.name).ok());
        !is_decided && broker.is_some_and(|broker| self.is_paused(&broker))
    }

    /// Anything may have been changed while a watch was interrupted.
    pub(super) fn see_all(&mut self) {
        let kinds = &self.setting.watched.objects;
        let namespace = &self.setting.namespace;
        let see = |key| kinds.iter().find_map(|kind| kind.see(namespace, key));
        let seen: Vec<Seen> = self.writer.keys().filter_map(see).collect();
        for seen in seen {
            self.saw(seen);
        }
    }
}
