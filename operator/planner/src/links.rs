//! Gathers what the classes put on links, and makes the links of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::ClassName;
use skein_mosquitto::link::{Link, Mode};

use crate::grow::Part;
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
    /// A class puts `new` on links where it had put `old`; both sorted by link.
    pub(crate) fn replace(&mut self, class: &ClassName, old: &[Arc<Part>], new: &[Arc<Part>]) {
        let key = |part: &Part| (part.holder, part.other, part.mode);
        let place = |parts: &[(ClassName, Arc<Part>)]| parts.binary_search_by(|(name, _)| name.cmp(class));
        for part in old {
            let kept = new.binary_search_by_key(&key(part), |part| key(part)).is_ok();
            if !kept
                && let Some(entry) = self.entries.get_mut(&key(part))
                && let Ok(place) = place(&entry.parts)
            {
                entry.parts.remove(place);
                self.stale.insert(key(part));
            }
        }
        for part in new {
            let parts = &mut self.entries.entry(key(part)).or_default().parts;
            match place(parts) {
                Ok(place) if parts[place].1 == *part => continue,
                Ok(place) => parts[place].1 = part.clone(),
                Err(place) => parts.insert(place, (class.clone(), part.clone())),
            }
            self.stale.insert(key(part));
        }
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
            lines.sort_unstable();
            control.sort_unstable();
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
