//! The count of a trial: what was sent, what arrived, what did not. Pure: it is told the time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What publishers sent, shared by all publishers and subscribers of one trial. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, Sent>>>);

#[derive(Debug, Default)]
struct Sent {
    count: u64,
    acknowledged: BTreeSet<u64>,
}

impl Ledger {
    /// An empty ledger.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn books(&self) -> MutexGuard<'_, BTreeMap<String, Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a publisher's page.
    pub(crate) fn open(&self, publisher: &str) {
        self.books().entry(publisher.to_owned()).or_default();
    }

    /// A publisher makes its next message; numbers start at 0.
    pub(crate) fn send(&self, publisher: &str) -> u64 {
        let mut books = self.books();
        let sent = books.entry(publisher.to_owned()).or_default();
        sent.count += 1;
        sent.count - 1
    }

    /// A broker took responsibility for a message.
    pub(crate) fn acknowledge(&self, publisher: &str, number: u64) {
        self.books()
            .entry(publisher.to_owned())
            .or_default()
            .acknowledged
            .insert(number);
    }

    /// What a publisher sent is accounted for, and not asked for any more.
    pub fn close(&self, publisher: &str) {
        self.books().remove(publisher);
    }

    /// Messages made so far, all publishers together.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.books().values().map(|sent| sent.count).sum()
    }

    /// Messages acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.books()
            .values()
            .map(|sent| sent.acknowledged.len() as u64)
            .sum()
    }
}

/// What one subscriber received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    by_publisher: BTreeMap<String, Arrivals>,
    unexpected: u64,
    last: Option<Instant>,
    longest_pause: Duration,
}

#[derive(Debug, Default)]
struct Arrivals {
    copies: BTreeMap<u64, u32>,
    highest: Option<u64>,
    out_of_order: u64,
}

impl Received {
    /// A numbered message arrived. Only first deliveries count for order and pauses.
    pub(crate) fn receive(&mut self, publisher: &str, number: u64, at: Instant) {
        let arrivals = self.by_publisher.entry(publisher.to_owned()).or_default();
        let copies = arrivals.copies.entry(number).or_default();
        *copies += 1;
        if *copies > 1 {
            return;
        }
        if arrivals.highest.is_some_and(|highest| number < highest) {
            arrivals.out_of_order += 1;
        }
        arrivals.highest = arrivals.highest.max(Some(number));
        if let Some(last) = self.last {
            self.longest_pause = self.longest_pause.max(at.saturating_duration_since(last));
        }
        self.last = Some(at);
    }

    /// A message arrived that no publisher of this kind sends.
    pub(crate) fn receive_unexpected(&mut self) {
        self.unexpected += 1;
    }

    /// The longest time between two first deliveries since the last call; the count starts anew.
    pub(crate) fn take_longest_pause(&mut self) -> Duration {
        std::mem::take(&mut self.longest_pause)
    }

    /// How many acknowledged messages have not arrived.
    pub(crate) fn missing(&self, ledger: &Ledger) -> u64 {
        let mut missing = 0;
        self.each_missing(ledger, |_, _| missing += 1);
        missing
    }

    /// Which acknowledged messages have not arrived, as `PUBLISHER FIRST-LAST`, comma separated.
    pub(crate) fn name_missing(&self, ledger: &Ledger) -> String {
        let mut runs: Vec<(String, u64, u64)> = Vec::new();
        self.each_missing(ledger, |publisher, number| match runs.last_mut() {
            Some((last, _, end)) if last == publisher && *end + 1 == number => *end = number,
            _ => runs.push((publisher.to_owned(), number, number)),
        });
        let runs = runs.iter().map(|(publisher, first, last)| {
            if first == last {
                format!("{publisher} {first}")
            } else {
                format!("{publisher} {first}-{last}")
            }
        });
        runs.collect::<Vec<_>>().join(", ")
    }

    fn each_missing(&self, ledger: &Ledger, mut missing: impl FnMut(&str, u64)) {
        for (publisher, sent) in ledger.books().iter() {
            let arrived = self.by_publisher.get(publisher);
            let here = |number: &u64| arrived.is_some_and(|arrived| arrived.copies.contains_key(number));
            for number in sent.acknowledged.iter().filter(|number| !here(number)) {
                missing(publisher, *number);
            }
        }
    }

    pub(crate) fn summary(&self, ledger: &Ledger) -> Summary {
        let arrivals = || self.by_publisher.values();
        let copies = || arrivals().flat_map(|arrivals| arrivals.copies.values());
        let books = ledger.books();
        let never_sent = self.by_publisher.iter().map(|(publisher, arrivals)| {
            let count = books.get(publisher).map_or(0, |sent| sent.count);
            arrivals.copies.range(count..).count() as u64
        });
        let unexpected = self.unexpected + never_sent.sum::<u64>();
        drop(books);
        Summary {
            sent: ledger.sent(),
            acknowledged: ledger.acknowledged(),
            received: copies().count() as u64,
            lost: self.missing(ledger),
            duplicated: copies().map(|copies| u64::from(copies - 1)).sum(),
            out_of_order: arrivals().map(|arrivals| arrivals.out_of_order).sum(),
            unexpected,
            longest_pause: self.longest_pause,
        }
    }
}

/// The result of a trial for one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Messages that publishers made.
    pub sent: u64,
    /// Of these, messages that a broker acknowledged.
    pub acknowledged: u64,
    /// Different messages that arrived.
    pub received: u64,
    /// Acknowledged messages that did not arrive.
    pub lost: u64,
    /// Copies beyond the first.
    pub duplicated: u64,
    /// First deliveries that came after a later message of the same publisher.
    pub out_of_order: u64,
    /// Messages that no publisher of this ledger made.
    pub unexpected: u64,
    /// Longest time between two first deliveries (since it was last taken, see `Subscriber::take_longest_pause`).
    pub longest_pause: Duration,
}

impl Summary {
    /// Every acknowledged message arrived exactly once, in order, and nothing else did.
    #[must_use]
    pub fn is_perfect(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.out_of_order == 0 && self.unexpected == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sent {}, acknowledged {}, received {}, lost {}, duplicated {}, out of order {}, longest pause {:.2} s",
            self.sent,
            self.acknowledged,
            self.received,
            self.lost,
            self.duplicated,
            self.out_of_order,
            self.longest_pause.as_secs_f64()
        )?;
        if self.unexpected > 0 {
            write!(f, ", unexpected {}", self.unexpected)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> Ledger {
        let ledger = Ledger::new();
        for _ in 0..count {
            let number = ledger.send("sensor");
            ledger.acknowledge("sensor", number);
        }
        ledger
    }

    #[test]
    fn a_message_that_never_arrives_is_lost_only_if_it_was_acknowledged() {
        let ledger = sent(3);
        ledger.send("sensor");
        let mut received = Received::default();
        received.receive("sensor", 0, Instant::now());
        received.receive("sensor", 2, Instant::now());
        let summary = received.summary(&ledger);
        assert_eq!(
            (summary.sent, summary.acknowledged, summary.received, summary.lost),
            (4, 3, 2, 1)
        );
    }

    #[test]
    fn lost_messages_are_named_in_runs() {
        let mut received = Received::default();
        for number in [0, 4, 6] {
            received.receive("sensor", number, Instant::now());
        }
        assert_eq!(received.name_missing(&sent(7)), "sensor 1-3, sensor 5");
    }

    #[test]
    fn a_second_copy_is_a_duplicate_and_no_disorder() {
        let mut received = Received::default();
        for number in [0, 1, 2, 1] {
            received.receive("sensor", number, Instant::now());
        }
        let summary = received.summary(&sent(3));
        assert_eq!(
            (summary.duplicated, summary.out_of_order, summary.lost),
            (1, 0, 0)
        );
    }

    #[test]
    fn order_is_judged_per_publisher() {
        let ledger = sent(2);
        for _ in 0..2 {
            ledger.send("other");
        }
        let mut received = Received::default();
        for (publisher, number) in [("sensor", 1), ("other", 0), ("sensor", 0), ("other", 1)] {
            received.receive(publisher, number, Instant::now());
        }
        assert_eq!(received.summary(&ledger).out_of_order, 1);
    }

    #[test]
    fn a_number_nobody_sent_is_unexpected() {
        let mut received = Received::default();
        received.receive("sensor", 7, Instant::now());
        assert_eq!(received.summary(&sent(3)).unexpected, 1);
    }

    #[test]
    fn the_longest_pause_is_between_first_deliveries() {
        let start = Instant::now();
        let mut received = Received::default();
        for (number, after) in [(0, 0), (1, 10), (1, 200), (2, 310), (3, 320)] {
            received.receive("sensor", number, start + Duration::from_millis(after));
        }
        assert_eq!(received.take_longest_pause(), Duration::from_millis(300));
        assert_eq!(received.take_longest_pause(), Duration::ZERO);
    }
}
