//! Sets of strands, class by class. Of a thousand brokers a change touches a few, and of those a class or two: what a
//! broker has, may have and should have mostly is the very same set, which needs no look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::ClassName;
use skein_mosquitto::link::Link;

use crate::strand::Strand;

/// The strands of one class.
pub(crate) type OfClass = BTreeSet<Strand>;

/// The strands of a configuration. Clones share their classes, and what is shared is equal without a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strands {
    /// None of them is empty.
    by_class: BTreeMap<ClassName, Arc<OfClass>>,
}

impl Strands {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Every line of these links.
    pub(crate) fn of<'a>(links: impl IntoIterator<Item = &'a Link>) -> Self {
        links.into_iter().flat_map(Strand::of).collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Strand> {
        self.by_class.values().flat_map(|strands| strands.iter())
    }

    pub(crate) fn classes(&self) -> impl ExactSizeIterator<Item = (&ClassName, &Arc<OfClass>)> {
        self.by_class.iter()
    }

    pub(crate) fn of_class(&self, class: &ClassName) -> Option<&Arc<OfClass>> {
        self.by_class.get(class)
    }

    pub(crate) fn contains(&self, strand: &Strand) -> bool {
        self.of_class(&strand.class)
            .is_some_and(|strands| strands.contains(strand))
    }

    pub(crate) fn insert(&mut self, strand: Strand) {
        if let Some(strands) = self.by_class.get_mut(&strand.class) {
            Arc::make_mut(strands).insert(strand);
        } else {
            let class = strand.class.clone();
            self.by_class.insert(class, Arc::new(BTreeSet::from([strand])));
        }
    }

    pub(crate) fn remove(&mut self, strand: &Strand) {
        if let Some(strands) = self.by_class.get_mut(&strand.class) {
            Arc::make_mut(strands).remove(strand);
            if strands.is_empty() {
                self.by_class.remove(&strand.class);
            }
        }
    }

    /// Everything of one class instead of what there is of it.
    pub(crate) fn set_class(&mut self, class: &ClassName, strands: Arc<OfClass>) {
        if strands.is_empty() {
            self.by_class.remove(class);
        } else {
            self.by_class.insert(class.clone(), strands);
        }
    }

    /// The classes of which there is something that the other has not quite so: with what there is here, and there.
    pub(crate) fn differing<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = (&'a ClassName, &'a Arc<OfClass>, Option<&'a Arc<OfClass>>)> {
        // One set is the same as itself, and needs no look at its classes either.
        let classes = (!std::ptr::eq(self, other)).then_some(&self.by_class);
        let classes = classes.into_iter().flatten();
        classes
            .map(|(class, strands)| (class, strands, other.of_class(class)))
            .filter(|(_, strands, others)| *others != Some(*strands))
    }

    /// What the other has not.
    pub(crate) fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Strand> {
        self.differing(other).flat_map(|(_, strands, others)| {
            strands
                .iter()
                .filter(move |strand| others.is_none_or(|others| !others.contains(*strand)))
        })
    }

    /// The same, shared with another as far as that has it.
    pub(crate) fn shared_with(mut self, other: &Arc<Self>) -> Arc<Self> {
        for (class, strands) in &mut self.by_class {
            if let Some(known) = other.of_class(class).filter(|known| *known == strands) {
                *strands = Arc::clone(known);
            }
        }
        if self == **other {
            Arc::clone(other)
        } else {
            Arc::new(self)
        }
    }
}

impl Extend<Strand> for Strands {
    fn extend<I: IntoIterator<Item = Strand>>(&mut self, strands: I) {
        for strand in strands {
            self.insert(strand);
        }
    }
}

impl FromIterator<Strand> for Strands {
    fn from_iter<I: IntoIterator<Item = Strand>>(strands: I) -> Self {
        let mut all = Self::new();
        all.extend(strands);
        all
    }
}
