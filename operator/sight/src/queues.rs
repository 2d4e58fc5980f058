//! What waits in a broker's sessions, reading by reading: how much, how full the fullest is, and how soon one will be.
//!
//! Limits hold for each session by itself, so it is the one that is full first that counts. Time is an argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use skein_store::{Inventory, Session};

/// Growth is measured over so long at least, and up to twice that: of a moment it would say little.
const WINDOW: Duration = Duration::from_secs(30);

/// What one session may take: 0 is any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// Whose sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Clients.
    Client,
    /// Links: the broker's own, and those of others that pull from it.
    Link,
}

/// What waits in several sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many sessions there are.
    pub sessions: u64,
    /// Messages.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// What waits in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Depth {
    owner: Owner,
    messages: u64,
    bytes: u64,
}

impl Depth {
    fn of(session: &Session) -> Self {
        let owner = if session.is_ours() {
            Owner::Link
        } else {
            Owner::Client
        };
        Self {
            owner,
            messages: session.waiting.messages,
            bytes: session.waiting.bytes,
        }
    }
}

/// By client id.
type Depths = Arc<BTreeMap<String, Depth>>;

#[derive(Clone, Debug)]
struct Reading {
    at: Instant,
    depths: Depths,
}

/// What waits in a broker's sessions.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    /// When it was read last.
    read: Option<SystemTime>,
    /// What growth is measured from, what it will be measured from next, and now.
    base: Option<Reading>,
    next: Option<Reading>,
    newest: Option<Reading>,
}

impl Queues {
    /// This was read.
    pub(crate) fn read(&mut self, inventory: &Inventory, at: Instant) {
        let sessions = inventory.sessions.iter();
        let depths = sessions.map(|session| (session.client_id.clone(), Depth::of(session)));
        self.note(Arc::new(depths.collect()), at);
    }

    /// It is as it was when it was read.
    pub(crate) fn unchanged(&mut self, at: Instant) {
        if let Some(newest) = &self.newest {
            self.note(newest.depths.clone(), at);
        }
    }

    /// It cannot be read, or there is nothing.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    fn note(&mut self, depths: Depths, at: Instant) {
        self.read = Some(SystemTime::now());
        let reading = Reading { at, depths };
        let is_due = self.next.as_ref().is_none_or(|next| at >= next.at + WINDOW);
        if is_due {
            self.base = self.next.replace(reading.clone());
        }
        self.newest = Some(reading);
    }

    /// When it was read last, if it was.
    #[must_use]
    pub fn read_at(&self) -> Option<SystemTime> {
        self.read
    }

    /// What waits for these.
    #[must_use]
    pub fn total(&self, owner: Owner) -> Total {
        let depths = self.newest.iter().flat_map(|reading| reading.depths.values());
        depths
            .filter(|depth| depth.owner == owner)
            .fold(Total::default(), |total, depth| Total {
                sessions: total.sessions + 1,
                messages: total.messages + depth.messages,
                bytes: total.bytes + depth.bytes,
            })
    }

    /// How full the fullest is, from 0; more than 1 if it was filled under other limits.
    #[must_use]
    pub fn fill(&self, limits: Limits) -> f64 {
        let depths = self.newest.iter().flat_map(|reading| reading.depths.values());
        let ratio = |depth: &Depth| {
            let [messages, bytes] = limits.of(depth);
            messages.max(bytes)
        };
        depths.map(ratio).fold(0.0, f64::max)
    }

    /// How many seconds from the last reading until the first is full, if each goes on as it has; infinite if none grows.
    #[must_use]
    pub fn full_after(&self, limits: Limits) -> f64 {
        let base = self.base.as_ref().or(self.next.as_ref());
        let (Some(base), Some(newest)) = (base, &self.newest) else {
            return f64::INFINITY;
        };
        let elapsed = newest.at.saturating_duration_since(base.at).as_secs_f64();
        let soonest = newest.depths.iter().map(|(client_id, now)| {
            let now = limits.of(now);
            // One that is new was empty.
            let before = base
                .depths
                .get(client_id)
                .map_or([0.0; 2], |depth| limits.of(depth));
            let after = |now: f64, before: f64| {
                if now > before && elapsed > 0.0 {
                    (1.0 - now).max(0.0) * elapsed / (now - before)
                } else {
                    f64::INFINITY
                }
            };
            after(now[0], before[0]).min(after(now[1], before[1]))
        });
        soonest.fold(f64::INFINITY, f64::min)
    }
}

impl Limits {
    /// Which part of either something takes.
    fn of(self, depth: &Depth) -> [f64; 2] {
        [(depth.messages, self.messages), (depth.bytes, self.bytes)]
            .map(|(is, may)| if may == 0 { 0.0 } else { number(is) / number(may) })
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "nobody counts that many messages one by one"
)]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        messages: 100,
        bytes: 1000,
    };

    fn depths(all: &[(&str, Owner, u64, u64)]) -> Depths {
        let depth = |&(client_id, owner, messages, bytes): &(&str, Owner, u64, u64)| {
            let depth = Depth {
                owner,
                messages,
                bytes,
            };
            (client_id.to_owned(), depth)
        };
        Arc::new(all.iter().map(depth).collect())
    }

    #[test]
    fn what_waits_adds_up_and_the_fullest_counts() {
        let mut queues = Queues::default();
        assert_eq!((queues.fill(LIMITS), queues.read_at()), (0.0, None));
        queues.note(
            depths(&[
                ("valve", Owner::Client, 10, 20),
                ("office", Owner::Client, 5, 700),
                ("skein:a:b:pull:soil", Owner::Link, 40, 90),
            ]),
            Instant::now(),
        );
        let clients = Total {
            sessions: 2,
            messages: 15,
            bytes: 720,
        };
        assert_eq!(queues.total(Owner::Client), clients);
        assert_eq!(queues.total(Owner::Link).messages, 40);
        assert!((queues.fill(LIMITS) - 0.7).abs() < 1e-9, "by bytes");
        let any = Limits {
            messages: 0,
            bytes: 0,
        };
        assert!(queues.fill(any) <= 0.0, "nothing is full that has no limit");
    }

    #[test]
    fn the_first_to_be_full_says_when() {
        let begin = Instant::now();
        let after = |seconds| begin + Duration::from_secs(seconds);
        let mut queues = Queues::default();
        let read = |queues: &mut Queues, at, valve: u64, office: u64| {
            let valve = ("valve", Owner::Client, valve, 0);
            queues.note(depths(&[valve, ("office", Owner::Client, 90, office)]), at);
        };
        read(&mut queues, begin, 0, 500);
        assert!(
            queues.full_after(LIMITS).is_infinite(),
            "of one reading nothing follows"
        );
        read(&mut queues, after(10), 20, 510);
        assert!(
            (queues.full_after(LIMITS) - 40.0).abs() < 1e-9,
            "2 a second, of 80 left"
        );
        // It stands still: first that shows in the mean, and then there is no growth left.
        read(&mut queues, after(40), 20, 510);
        assert!((queues.full_after(LIMITS) - 160.0).abs() < 1e-9);
        queues.unchanged(after(80));
        assert!(queues.full_after(LIMITS).is_infinite());
        read(&mut queues, after(90), 100, 510);
        assert!(queues.full_after(LIMITS) <= 0.0, "it is full");
    }
}
