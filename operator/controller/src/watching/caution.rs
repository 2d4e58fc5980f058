//! What a watch tells, taken with caution. A server that is behind the others may list what was, and tell again what happened since: what
//! is older than what is known is not believed, nor that something is back that has gone since; and what a list has no more is asked
//! for before it counts as gone. A server that is set back for good, from a backup, is believed again when it has caught up, or by
//! the next life of this process.

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// See the head of this module.
pub(super) struct Caution<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    known: Store<K>,
    kind: K::DynamicType,
    /// What a list has told so far.
    listed: Vec<K>,
    /// The newest state that was seen of any object.
    newest: u64,
}

/// What comes of an event.
#[derive(Debug)]
pub(super) enum Verdict<K> {
    /// These are to be believed.
    Believed(Vec<Event<K>>),
    /// A list lacks these: whoever asks for them tells [`Caution::told`].
    Ask(Vec<Arc<K>>),
}

/// What became of an object that a list lacks.
#[derive(Debug)]
pub(super) enum Asked<K> {
    /// It is there, and like this.
    There(K),
    Gone,
    /// Nobody says.
    Unknown,
}

impl<K> Caution<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    /// Of what is known by a mirror.
    pub(super) fn new(known: Store<K>, kind: K::DynamicType) -> Self {
        Self {
            known,
            kind,
            listed: Vec::new(),
            newest: 0,
        }
    }

    /// What of this is to be believed.
    pub(super) fn judge(&mut self, event: Event<K>) -> Verdict<K> {
        Verdict::Believed(match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.push(object);
                Vec::new()
            }
            Event::InitDone => return Verdict::Ask(self.missing()),
            Event::Apply(object) | Event::Delete(object) if self.is_old(&object) => Vec::new(),
            Event::Apply(object) => {
                self.see(&object);
                vec![Event::Apply(object)]
            }
            Event::Delete(object) => {
                self.see(&object);
                vec![Event::Delete(object)]
            }
        })
    }

    /// What of a list is to be believed, now that it is known what became of those that it lacks.
    pub(super) fn told(&mut self, answers: impl IntoIterator<Item = (Arc<K>, Asked<K>)>) -> Vec<Event<K>> {
        let listed = std::mem::take(&mut self.listed).into_iter();
        let listed = listed.filter_map(|object| {
            if self.is_old(&object) {
                let known = self.known(&object)?;
                return Some(known.as_ref().clone());
            }
            Some(object)
        });
        let left = answers.into_iter().filter_map(|(known, asked)| match asked {
            Asked::There(object) => Some(object),
            Asked::Gone => None,
            Asked::Unknown => Some(known.as_ref().clone()),
        });
        let all: Vec<K> = listed.chain(left).collect();
        for object in &all {
            self.see(object);
        }
        let all = all.into_iter().map(Event::InitApply);
        [Event::Init]
            .into_iter()
            .chain(all)
            .chain([Event::InitDone])
            .collect()
    }

    fn known(&self, object: &K) -> Option<Arc<K>> {
        self.known
            .get(&ObjectRef::from_obj_with(object, self.kind.clone()))
    }

    /// It is like that no more. States of all objects are numbered in one row, so of one that is not known, what is not newer than
    /// everything that was seen was seen to go.
    fn is_old(&self, object: &K) -> bool {
        let Some(number) = number(object) else {
            return false;
        };
        let known = self.known(object);
        known.map_or(number <= self.newest, |known| {
            self::number(known.as_ref()).is_some_and(|known| number < known)
        })
    }

    fn see(&mut self, object: &K) {
        self.newest = self.newest.max(number(object).unwrap_or_default());
    }

    /// What is known and not in the list.
    fn missing(&self) -> Vec<Arc<K>> {
        let key = |object: &K| (object.namespace(), object.name_any());
        let listed: BTreeSet<_> = self.listed.iter().map(key).collect();
        let known = self.known.state().into_iter();
        known.filter(|known| !listed.contains(&key(known))).collect()
    }
}

/// Which state of an object this is, as the server counts them.
fn number<K: Resource>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::reflector::store::Writer;
    use serde_json::json;

    use super::*;

    fn object(name: &str, version: u64) -> ConfigMap {
        let metadata = json!({"name": name, "namespace": "farm", "resourceVersion": version.to_string()});
        serde_json::from_value(json!({"metadata": metadata})).unwrap()
    }

    /// A mirror, and what is asked of the server.
    struct Mirror {
        writer: Writer<ConfigMap>,
        caution: Caution<ConfigMap>,
    }

    impl Mirror {
        fn new(known: &[(&str, u64)]) -> Self {
            let mut writer = Writer::new(());
            let caution = Caution::new(writer.as_reader(), ());
            writer.apply_watcher_event(&Event::InitDone);
            let mut mirror = Self { writer, caution };
            mirror.list(known, &[], true);
            mirror
        }

        fn take(&mut self, event: Event<ConfigMap>, there: &[(&str, u64)], answers: bool) {
            let ask = |asked: &ConfigMap| {
                let name = asked.name_any();
                let found = there.iter().find(|(known, _)| *known == name);
                match found {
                    _ if !answers => Asked::Unknown,
                    Some((name, version)) => Asked::There(object(name, *version)),
                    None => Asked::Gone,
                }
            };
            let believed = match self.caution.judge(event) {
                Verdict::Believed(events) => events,
                Verdict::Ask(missing) => {
                    let answers: Vec<_> = missing
                        .into_iter()
                        .map(|known| (known.clone(), ask(&known)))
                        .collect();
                    self.caution.told(answers)
                }
            };
            for event in believed {
                self.writer.apply_watcher_event(&event);
            }
        }

        fn list(&mut self, listed: &[(&str, u64)], there: &[(&str, u64)], answers: bool) {
            self.take(Event::Init, there, answers);
            for (name, version) in listed {
                self.take(Event::InitApply(object(name, *version)), there, answers);
            }
            self.take(Event::InitDone, there, answers);
        }

        fn state(&self) -> Vec<(String, String)> {
            let state = self.writer.as_reader().state().into_iter();
            let mut state: Vec<_> = state
                .map(|object| (object.name_any(), object.resource_version().unwrap()))
                .collect();
            state.sort();
            state
        }
    }

    fn expected(state: &[(&str, u64)]) -> Vec<(String, String)> {
        let text = |(name, version): &(&str, u64)| ((*name).to_owned(), version.to_string());
        state.iter().map(text).collect()
    }

    #[test]
    fn a_list_of_what_was_takes_nothing_away() {
        let mut mirror = Mirror::new(&[("a", 10), ("b", 20)]);
        mirror.list(&[("a", 5)], &[("a", 10), ("b", 20)], true);
        assert_eq!(mirror.state(), expected(&[("a", 10), ("b", 20)]));
    }

    #[test]
    fn what_is_gone_and_what_is_new_is_seen_in_a_list() {
        let mut mirror = Mirror::new(&[("a", 10), ("b", 20)]);
        mirror.list(&[("a", 30), ("c", 40)], &[], true);
        assert_eq!(mirror.state(), expected(&[("a", 30), ("c", 40)]));
    }

    #[test]
    fn what_has_gone_is_not_back_because_it_is_told_of_again() {
        let mut mirror = Mirror::new(&[("a", 10), ("b", 20)]);
        mirror.take(Event::Delete(object("b", 25)), &[], true);
        mirror.list(&[("a", 10), ("b", 20)], &[], true);
        mirror.take(Event::Apply(object("b", 22)), &[], true);
        mirror.take(Event::Delete(object("b", 25)), &[], true);
        assert_eq!(mirror.state(), expected(&[("a", 10)]));
        mirror.take(Event::Apply(object("b", 26)), &[], true);
        assert_eq!(mirror.state(), expected(&[("a", 10), ("b", 26)]));
    }

    #[test]
    fn what_nobody_says_is_gone_stays() {
        let mut mirror = Mirror::new(&[("a", 10)]);
        mirror.list(&[], &[], false);
        assert_eq!(mirror.state(), expected(&[("a", 10)]));
    }

    #[test]
    fn what_is_told_again_changes_nothing() {
        let mut mirror = Mirror::new(&[("a", 10)]);
        mirror.take(Event::Apply(object("a", 7)), &[], true);
        mirror.take(Event::Delete(object("a", 8)), &[], true);
        mirror.take(Event::Apply(object("a", 10)), &[], true);
        assert_eq!(mirror.state(), expected(&[("a", 10)]));
        mirror.take(Event::Delete(object("a", 11)), &[], true);
        assert_eq!(mirror.state(), expected(&[]));
    }
}
