//! What is to happen, in order of time; what is due at the same time happens in the order in which it was asked for.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::packet::Time;

/// The events to come.
#[derive(Debug)]
pub(crate) struct Clock<E> {
    now: Time,
    sequence: u64,
    heap: BinaryHeap<Entry<E>>,
}

#[derive(Debug)]
struct Entry<E> {
    at: Time,
    sequence: u64,
    event: E,
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> Clock<E> {
    pub(crate) fn new() -> Self {
        Self {
            now: 0,
            sequence: 0,
            heap: BinaryHeap::new(),
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.now
    }

    pub(crate) fn at(&mut self, at: Time, event: E) {
        self.sequence += 1;
        self.heap.push(Entry {
            at: at.max(self.now),
            sequence: self.sequence,
            event,
        });
    }

    pub(crate) fn after(&mut self, delay: Time, event: E) {
        self.at(self.now + delay, event);
    }

    /// The next event up to a time, which it then is. Without one the time is `until`.
    pub(crate) fn next(&mut self, until: Time) -> Option<E> {
        if self.heap.peek().is_some_and(|entry| entry.at <= until) {
            let entry = self.heap.pop()?;
            self.now = entry.at;
            return Some(entry.event);
        }
        self.now = self.now.max(until);
        None
    }
}
