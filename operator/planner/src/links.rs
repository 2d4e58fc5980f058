//! Gathers what the classes put on links, and makes the links of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::ClassName;
use skein_mosquitto::link::{Link, Mode};

use crate::parts::{Laid, Part};
use crate::topology::{Node, Topology};

/// Holder, other, mode: a link's identity.
type Key = (Node, Node, Mode);

/// All links, and which of them must be made anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    entries: BTreeMap<Key, Entry>,
    stale: BTreeSet<Key>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    /// What each class puts on it, by class.
    parts: Vec<(ClassName, Arc<Part>)>,
    link: Option<Arc<Link>>,
}

impl Links {
    /// A class puts `new` on links where it had put `old`.
    pub(crate) fn replace(&mut self, class: &ClassName, old: &Laid, new: &Laid) {
        let by_pair = |one: &(u32, Arc<Part>), other: &(u32, Arc<Part>)| one.0 == other.0;
        let mut old = old.parts.chunk_by(by_pair).peekable();
        let mut new = new.parts.chunk_by(by_pair).peekable();
        loop {
            let first = [old.peek(), new.peek()]
                .into_iter()
                .flatten()
                .map(|parts| parts[0].0)
                .min();
            let Some(pair) = first else { return };
            let gone = old.next_if(|parts| parts[0].0 == pair).unwrap_or_default();
            let come = new.next_if(|parts| parts[0].0 == pair).unwrap_or_default();
            let is_in = |part: &Arc<Part>, parts: &[(u32, Arc<Part>)]| {
                parts
                    .iter()
                    .any(|(_, other)| Arc::ptr_eq(part, other) || part == other)
            };
            for (_, part) in gone.iter().filter(|(_, part)| !is_in(part, come)) {
                self.remove(class, part);
            }
            for (_, part) in come.iter().filter(|(_, part)| !is_in(part, gone)) {
                self.insert(class, part);
            }
        }
    }

    fn remove(&mut self, class: &ClassName, part: &Part) {
        let key = (part.holder, part.other, part.mode);
        if let Some(entry) = self.entries.get_mut(&key)
            && let Ok(place) = entry.parts.binary_search_by(|(name, _)| name.cmp(class))
        {
            entry.parts.remove(place);
            self.stale.insert(key);
        }
    }

    fn insert(&mut self, class: &ClassName, part: &Arc<Part>) {
        let key = (part.holder, part.other, part.mode);
        let parts = &mut self.entries.entry(key).or_default().parts;
        match parts.binary_search_by(|(name, _)| name.cmp(class)) {
            Ok(place) => parts[place].1 = part.clone(),
            Err(place) => parts.insert(place, (class.clone(), part.clone())),
        }
        self.stale.insert(key);
    }

    /// The links, sorted; those that changed are made anew.
    pub(crate) fn list(&mut self, topology: &Topology) -> Vec<Arc<Link>> {
        for key in std::mem::take(&mut self.stale) {
            let Some(entry) = self.entries.get_mut(&key) else {
                continue;
            };
            if entry.parts.is_empty() {
                self.entries.remove(&key);
                continue;
            }
            let (holder, other, mode) = key;
            let mut lines: Vec<_> = entry
                .parts
                .iter()
                .flat_map(|(_, part)| &part.lines)
                .cloned()
                .collect();
            let mut control: Vec<_> = entry
                .parts
                .iter()
                .flat_map(|(_, part)| &part.control)
                .cloned()
                .collect();
            // Each part is sorted, and a stable sort makes use of sorted runs.
            lines.sort();
            control.sort();
            entry.link = Some(Arc::new(Link {
                downstream: topology.name(holder).clone(),
                upstream: topology.name(other).clone(),
                mode,
                lines,
                control,
                classes: entry.parts.iter().map(|(name, _)| name.clone()).collect(),
            }));
        }
        self.entries
            .values()
            .filter_map(|entry| entry.link.clone())
            .collect()
    }
}
