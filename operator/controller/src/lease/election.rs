//! Who of several processes acts, judged by one Lease. No I/O and no clock: what was answered, and the time, are arguments.
//!
//! Why there are never two. A write names the version of the Lease that it replaces, so of two at the same version one is
//! refused. A leader counts from when it *sent* the last write that it knows was taken, and stops [`DEADLINE`] later. Another
//! replaces that version only [`DURATION`] after it saw it, which was after it was sent. All of this is measured by the
//! monotonic clock of whoever measures; what other machines' clocks say is in the Lease for people, and is not read here.

use std::time::{Duration, Instant};

/// How long a Lease must be seen unchanged until another takes it. With [`LOOK`] that makes four and a half seconds from a
/// leader's death to the next, and a request: a hand-over is to take no more than five.
pub(crate) const DURATION: Duration = Duration::from_secs(4);
/// How long a leader acts after it sent a renewal that was taken. The second that is left is for clocks that run at different
/// speed, and for the process to end in.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);
/// How often a leader renews: one that is lost or late may be made good twice before the deadline.
pub(crate) const RENEW: Duration = Duration::from_secs(1);
/// How often others look: a Lease that was given up is taken so soon.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// How soon something is tried again that got no answer, or an error.
const RETRY: Duration = Duration::from_millis(250);
/// How long an answer is waited for: a connection that is dead must not use up the deadline.
const PATIENCE: Duration = Duration::from_secs(1);

/// One version of one Lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Which of those that had its name.
    pub(crate) uid: String,
    /// Its resource version.
    pub(crate) number: String,
}

/// What a Lease says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// As of when.
    pub(crate) version: Version,
    /// Who leads; empty: nobody, it was given up.
    pub(crate) holder: String,
    /// How often the leader changed.
    pub(crate) transitions: i32,
    /// How long its holder wants it left alone.
    pub(crate) duration: Duration,
}

/// What is to be written: ourselves as the holder, or nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// In place of this version and no other; none: only if there is no Lease.
    pub(crate) replaces: Option<Version>,
    /// How often the leader has changed, with this.
    pub(crate) transitions: i32,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing until then.
    Wait(Instant),
    /// Read the Lease.
    Look,
    /// Write ourselves in, and lead if that is taken.
    Take(Claim),
    /// Write ourselves in again.
    Renew(Claim),
    /// Act no more: another may lead.
    Lost(Why),
}

/// Why a leader does not lead any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    /// It did not get through in time.
    #[error("the lease could not be renewed for {DEADLINE:?}")]
    NotRenewed,
    /// Somebody else is written there.
    #[error("the lease is held by {0:?} now")]
    Taken(String),
    /// It gave up itself.
    #[error("the lease was given up")]
    Resigned,
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It was taken, and this is there now.
    Written(Record),
    /// It was not: something else is there than what it was to replace.
    Refused,
    /// Nobody knows; it may even be taken later.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Following,
    Leading { until: Instant },
    Over(Why),
}

/// The Lease as it was seen last.
#[derive(Clone, Debug)]
struct Seen {
    /// None: there is none.
    record: Option<Record>,
    /// Since when it has been seen so.
    since: Instant,
    /// Nobody has to be waited for.
    is_free: bool,
    /// Nothing was tried since that may have changed it.
    is_current: bool,
}

impl Seen {
    fn free_from(&self) -> Instant {
        if self.is_free {
            return self.since;
        }
        // What a holder of another make asks for is granted, but less than our own deadline needs is not enough.
        let asked = self.record.as_ref().map_or(DURATION, |record| record.duration);
        self.since + asked.max(DURATION)
    }
}

/// One candidate's part, from its start until it has lost what it won.
#[derive(Debug)]
pub(crate) struct Election {
    me: String,
    standing: Standing,
    seen: Option<Seen>,
    again: Instant,
}

impl Election {
    /// A candidate, of a name that no other ever had: not even another life of the same pod.
    #[must_use]
    pub(crate) fn new(me: String, now: Instant) -> Self {
        Self {
            me,
            standing: Standing::Following,
            seen: None,
            again: now,
        }
    }

    /// What to do now. How it ended is to be told ([`Self::looked`], [`Self::wrote`]) before this is asked again.
    pub(crate) fn act(&mut self, now: Instant) -> Act {
        if let Standing::Leading { until } = self.standing
            && now >= until
        {
            self.standing = Standing::Over(Why::NotRenewed);
        }
        let current = self.seen.as_ref().filter(|seen| seen.is_current);
        match (&self.standing, current) {
            (Standing::Over(why), _) => Act::Lost(why.clone()),
            (Standing::Leading { until }, _) if now < self.again => Act::Wait(self.again.min(*until)),
            (Standing::Leading { .. }, Some(seen)) => Act::Renew(self.claim(seen)),
            (Standing::Following, Some(seen)) if seen.free_from() <= now => Act::Take(self.claim(seen)),
            (Standing::Following, Some(seen)) if now < self.again => {
                Act::Wait(self.again.min(seen.free_from()))
            }
            (Standing::Following, None) if now < self.again => Act::Wait(self.again),
            _ => Act::Look,
        }
    }

    /// How long an answer may take.
    #[must_use]
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        match self.standing {
            Standing::Leading { until } => PATIENCE.min(until.saturating_duration_since(now)),
            _ => PATIENCE,
        }
    }

    /// Until when we lead, unless it is renewed.
    #[must_use]
    pub(crate) fn leads_until(&self) -> Option<Instant> {
        match self.standing {
            Standing::Leading { until } => Some(until),
            _ => None,
        }
    }

    /// Who is written there, as far as is known.
    #[must_use]
    pub(crate) fn holder(&self) -> Option<&str> {
        let record = self.seen.as_ref()?.record.as_ref()?;
        Some(&record.holder)
            .filter(|holder| !holder.is_empty())
            .map(String::as_str)
    }

    /// The Lease was read, and the answer came now.
    pub(crate) fn looked(&mut self, found: Option<Record>, now: Instant) {
        let before = self.seen.take();
        let version = |record: &Option<Record>| record.as_ref().map(|record| record.version.clone());
        // Any change is a sign of life, whoever made it.
        let since = before
            .as_ref()
            .filter(|seen| version(&seen.record) == version(&found))
            .map_or(now, |seen| seen.since);
        let is_free = match &found {
            Some(record) => record.holder.is_empty() || record.holder == self.me,
            // One that was there and is gone was deleted by somebody, and its holder may not know yet.
            None => before.is_none_or(|seen| seen.is_free && seen.record.is_none()),
        };
        match self.standing {
            Standing::Leading { .. } => {
                if let Some(record) = found.as_ref().filter(|record| record.holder != self.me) {
                    self.standing = Standing::Over(Why::Taken(record.holder.clone()));
                }
            }
            _ => self.again = now + LOOK,
        }
        self.seen = Some(Seen {
            record: found,
            since,
            is_free,
            is_current: true,
        });
    }

    /// The Lease could not be read.
    pub(crate) fn did_not_look(&mut self, now: Instant) {
        self.again = now + RETRY;
    }

    /// A write that was sent then ended now.
    pub(crate) fn wrote(&mut self, answer: Answer, sent: Instant, now: Instant) {
        match answer {
            Answer::Written(record) => {
                self.seen = Some(Seen {
                    record: Some(record),
                    since: now,
                    is_free: true,
                    is_current: true,
                });
                let until = sent + DEADLINE;
                let was_over = match self.standing {
                    Standing::Following => false,
                    Standing::Leading { until } => now >= until,
                    Standing::Over(_) => true,
                };
                if was_over {
                    return;
                }
                if now < until {
                    self.standing = Standing::Leading { until };
                    self.again = sent + RENEW;
                } else {
                    // Too old to begin with; it is ours, and the next one may come in time.
                    self.again = now;
                }
            }
            Answer::Refused => self.must_look(now),
            Answer::Unknown => self.must_look(now + RETRY),
        }
    }

    /// We act no more. What to write so that others need not wait, if we led.
    pub(crate) fn resign(&mut self, now: Instant) -> Option<Claim> {
        let led = self.leads_until().is_some_and(|until| now < until);
        self.standing = Standing::Over(Why::Resigned);
        let seen = self.seen.as_ref().filter(|seen| led && seen.is_current)?;
        Some(self.claim(seen))
    }

    fn must_look(&mut self, from: Instant) {
        if let Some(seen) = &mut self.seen {
            seen.is_current = false;
        }
        self.again = from;
    }

    fn claim(&self, seen: &Seen) -> Claim {
        let transitions = match &seen.record {
            Some(record) if record.holder == self.me => record.transitions,
            Some(record) => record.transitions.saturating_add(1),
            None => 0,
        };
        Claim {
            replaces: seen.record.as_ref().map(|record| record.version.clone()),
            transitions,
        }
    }
}

#[cfg(test)]
mod tests;
