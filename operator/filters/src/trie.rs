//! Many filters at once, by level: which of them match, overlap, cover.
//!
//! A node stands for the first levels of the filters below it; its depth is bounded by `TopicFilter::MAX_LEVELS`. A query walks only the nodes that its levels allow, so
//! its cost does not depend on the filters that have nothing to do with it.

use std::collections::BTreeMap;

use crate::TopicFilter;
use crate::filter::plus_matches;

/// Filters with values (a number, say), to be asked which of them stand in a relation to a filter or a topic.
///
/// The queries call back once per value, in an order that depends on the filters and not on how the trie came about,
/// except that values of filters that match the same topics (`#` and `+/#`) come in the order of insertion.
#[derive(Clone, Debug)]
pub struct FilterTrie<V> {
    root: Node<V>,
    count: usize,
}

#[derive(Clone, Debug)]
struct Node<V> {
    /// Values of filters that end here.
    exact: Vec<V>,
    /// Values of filters that go on with `#` from here.
    open: Vec<V>,
    plus: Option<Box<Node<V>>>,
    literals: BTreeMap<Box<str>, Node<V>>,
}

impl<V> Default for FilterTrie<V> {
    fn default() -> Self {
        Self {
            root: Node::default(),
            count: 0,
        }
    }
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self {
            exact: Vec::new(),
            open: Vec::new(),
            plus: None,
            literals: BTreeMap::new(),
        }
    }
}

impl<V> FilterTrie<V> {
    /// No filters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many values it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a value under a filter; a filter may have several.
    pub fn insert(&mut self, filter: &TopicFilter, value: V) {
        let shape = filter.shape();
        self.root.insert(shape.levels(), shape.open, value);
        self.count += 1;
    }

    /// Takes out one value equal to `value` under `filter` (or one that matches the same topics); whether there was one.
    pub fn remove(&mut self, filter: &TopicFilter, value: &V) -> bool
    where
        V: PartialEq,
    {
        let shape = filter.shape();
        let removed = self.root.remove(shape.levels(), shape.open, value);
        self.count -= usize::from(removed);
        removed
    }

    /// Values of the filters that match `topic`.
    pub fn matching<'t>(&'t self, topic: &str, mut visit: impl FnMut(&'t V)) {
        if !topic.is_empty() {
            self.root.covering(0, topic.split('/'), false, &mut visit);
        }
    }

    /// Values of the filters that share a topic with `filter`.
    pub fn overlapping<'t>(&'t self, filter: &TopicFilter, mut visit: impl FnMut(&'t V)) {
        let shape = filter.shape();
        self.root.overlapping(0, shape.levels(), shape.open, &mut visit);
    }

    /// Values of the filters that cover `filter` (itself, if it is there, among them).
    pub fn covering<'t>(&'t self, filter: &TopicFilter, mut visit: impl FnMut(&'t V)) {
        let shape = filter.shape();
        self.root.covering(0, shape.levels(), shape.open, &mut visit);
    }

    /// Values of the filters that `filter` covers (itself, if it is there, among them).
    pub fn covered_by<'t>(&'t self, filter: &TopicFilter, mut visit: impl FnMut(&'t V)) {
        let shape = filter.shape();
        self.root.covered_by(0, shape.levels(), shape.open, &mut visit);
    }
}

/// The levels of a stem or a topic that are still to come.
type Levels<'a> = std::str::Split<'a, char>;

impl<V> Node<V> {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.open.is_empty() && self.plus.is_none() && self.literals.is_empty()
    }

    fn insert(&mut self, mut levels: Levels<'_>, open: bool, value: V) {
        match levels.next() {
            None if open => self.open.push(value),
            None => self.exact.push(value),
            Some("+") => self.plus.get_or_insert_default().insert(levels, open, value),
            Some(level) => match self.literals.get_mut(level) {
                Some(next) => next.insert(levels, open, value),
                None => self
                    .literals
                    .entry(level.into())
                    .or_default()
                    .insert(levels, open, value),
            },
        }
    }

    fn remove(&mut self, mut levels: Levels<'_>, open: bool, value: &V) -> bool
    where
        V: PartialEq,
    {
        match levels.next() {
            None => {
                let values = if open { &mut self.open } else { &mut self.exact };
                let place = values.iter().position(|held| held == value);
                place.is_some_and(|place| {
                    values.remove(place);
                    true
                })
            }
            Some("+") => {
                let removed = self
                    .plus
                    .as_mut()
                    .is_some_and(|plus| plus.remove(levels, open, value));
                if removed && self.plus.as_ref().is_some_and(|plus| plus.is_empty()) {
                    self.plus = None;
                }
                removed
            }
            Some(level) => {
                let Some(next) = self.literals.get_mut(level) else {
                    return false;
                };
                let removed = next.remove(levels, open, value);
                if removed && next.is_empty() {
                    self.literals.remove(level);
                }
                removed
            }
        }
    }

    /// The literal levels that `+` stands for at this depth.
    fn plus_literals(&self, depth: usize) -> impl Iterator<Item = &Self> {
        self.literals
            .iter()
            .filter(move |(level, _)| plus_matches(depth, level))
            .map(|(_, node)| node)
    }

    fn covering<'t>(
        &'t self,
        depth: usize,
        mut levels: Levels<'_>,
        open: bool,
        visit: &mut impl FnMut(&'t V),
    ) {
        self.open.iter().for_each(&mut *visit);
        let Some(level) = levels.next() else {
            if !open {
                self.exact.iter().for_each(visit);
            }
            return;
        };
        if let Some(plus) = &self.plus
            && plus_matches(depth, level)
        {
            plus.covering(depth + 1, levels.clone(), open, visit);
        }
        if let Some(next) = self.literals.get(level) {
            next.covering(depth + 1, levels, open, visit);
        }
    }

    fn overlapping<'t>(
        &'t self,
        depth: usize,
        mut levels: Levels<'_>,
        open: bool,
        visit: &mut impl FnMut(&'t V),
    ) {
        match levels.next() {
            None if open => return self.all(visit),
            None => self.exact.iter().for_each(&mut *visit),
            Some("+") => {
                if let Some(plus) = &self.plus {
                    plus.overlapping(depth + 1, levels.clone(), open, visit);
                }
                for next in self.plus_literals(depth) {
                    next.overlapping(depth + 1, levels.clone(), open, visit);
                }
            }
            Some(level) => {
                if let Some(plus) = &self.plus
                    && plus_matches(depth, level)
                {
                    plus.overlapping(depth + 1, levels.clone(), open, visit);
                }
                if let Some(next) = self.literals.get(level) {
                    next.overlapping(depth + 1, levels, open, visit);
                }
            }
        }
        self.open.iter().for_each(visit);
    }

    fn covered_by<'t>(
        &'t self,
        depth: usize,
        mut levels: Levels<'_>,
        open: bool,
        visit: &mut impl FnMut(&'t V),
    ) {
        match levels.next() {
            None if open => self.all(visit),
            None => self.exact.iter().for_each(visit),
            Some("+") => {
                if let Some(plus) = &self.plus {
                    plus.covered_by(depth + 1, levels.clone(), open, visit);
                }
                for next in self.plus_literals(depth) {
                    next.covered_by(depth + 1, levels.clone(), open, visit);
                }
            }
            Some(level) => {
                if let Some(next) = self.literals.get(level) {
                    next.covered_by(depth + 1, levels, open, visit);
                }
            }
        }
    }

    fn all<'t>(&'t self, visit: &mut impl FnMut(&'t V)) {
        self.exact.iter().chain(&self.open).for_each(&mut *visit);
        for next in self.plus.as_deref().into_iter().chain(self.literals.values()) {
            next.all(visit);
        }
    }
}
