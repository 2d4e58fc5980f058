//! Which classes have filters that overlap a given one.
//!
//! Classes of one plan never overlap each other. What a broker still runs from before may overlap any of them.

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::ClassName;
use skein_filters::{FilterTrie, TopicFilter};

/// The filters of each class.
#[derive(Debug, Default)]
pub(crate) struct Overlaps {
    by_class: BTreeMap<ClassName, BTreeSet<TopicFilter>>,
    trie: FilterTrie<ClassName>,
}

impl Overlaps {
    /// A class has these filters from here on; without any it is gone.
    pub(crate) fn set(&mut self, class: &ClassName, filters: BTreeSet<TopicFilter>) {
        let before = self.by_class.remove(class).unwrap_or_default();
        for gone in before.difference(&filters) {
            self.trie.remove(gone, class);
        }
        for new in filters.difference(&before) {
            self.trie.insert(new, class.clone());
        }
        if !filters.is_empty() {
            self.by_class.insert(class.clone(), filters);
        }
    }

    /// The filters of a class.
    pub(crate) fn of(&self, class: &ClassName) -> impl Iterator<Item = &TopicFilter> {
        self.by_class.get(class).into_iter().flatten()
    }

    pub(crate) fn has(&self, class: &ClassName, filter: &TopicFilter) -> bool {
        self.by_class
            .get(class)
            .is_some_and(|filters| filters.contains(filter))
    }

    /// The classes with a filter that overlaps this one; some of them more than once.
    pub(crate) fn with(&self, filter: &TopicFilter) -> Vec<&ClassName> {
        let mut found = Vec::new();
        self.trie.overlapping(filter, |class| found.push(class));
        found
    }
}
