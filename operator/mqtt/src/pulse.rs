//! The bookkeeping of one broker's heartbeats: sequences, intervals, what counts as an answer. Knows no sockets; time
//! is an argument.
//!
//! One outcome is due per interval. The answer to the newest heartbeat always counts. The answer to an *older* one is
//! not an answer to the newest, but it came through the broker now, so the broker lives, only slowly: it counts, with
//! the long round trip it really took, if the interval has no answer yet. A broker that is slower than its interval is
//! therefore reported as slow and not as dead, and the burst of old answers from a process that was stopped for a while
//! is reported once, before the newest. Anything else that the broker sends proves its life as well: an interval in which
//! something came is no miss.
//!
//! Long intervals of all brokers end together, on a grid, so that one wakeup serves many. Short ones are left as they are: there a
//! few milliseconds count.
//!
//! An interval whose end was noticed late says nothing: whatever kept this process from running may have kept the
//! broker from it, too. Each heartbeat has its whole interval from when it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Heartbeats that may be unanswered at once; a hung broker's socket must not fill up with them.
const OUTSTANDING: usize = 16;

/// How far apart the ends of long intervals are, of whichever brokers.
const GRID: Duration = Duration::from_millis(100);
/// An interval is long if it has so many of those.
const LONG: u32 = 10;

/// The heartbeats of one broker.
#[derive(Debug)]
pub(crate) struct Pulse {
    interval: Duration,
    deadline: Instant,
    /// Where the grid begins.
    origin: Instant,
    next: u64,
    sent: BTreeMap<u64, Instant>,
    answered: bool,
    /// Something else came.
    heard: bool,
}

impl Pulse {
    /// Starts now; the first outcome is due one interval later. Several that have one origin turn together.
    pub(crate) fn new(interval: Duration, now: Instant, origin: Instant) -> Self {
        let mut pulse = Self {
            interval,
            deadline: now,
            origin,
            next: 1,
            sent: BTreeMap::new(),
            answered: false,
            heard: false,
        };
        pulse.deadline = pulse.end(now);
        pulse
    }

    /// When an interval ends that begins now.
    fn end(&self, now: Instant) -> Instant {
        let end = now + self.interval;
        if self.interval < GRID * LONG {
            return end;
        }
        let (since, step) = (end.duration_since(self.origin).as_millis(), GRID.as_millis());
        let nearest = (since + step / 2) / step * step;
        let nearest = u64::try_from(nearest).map(Duration::from_millis);
        nearest.map_or(end, |nearest| self.origin + nearest)
    }

    /// When the current interval ends.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The interval.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Changes the interval from now on.
    pub(crate) fn set_interval(&mut self, interval: Duration, now: Instant) {
        if interval != self.interval {
            self.interval = interval;
            self.deadline = self.deadline.min(self.end(now));
        }
    }

    /// A sequence to publish now; `None` if too many are unanswered.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<u64> {
        if self.sent.len() >= OUTSTANDING {
            return None;
        }
        let sequence = self.next;
        self.next += 1;
        self.sent.insert(sequence, now);
        Some(sequence)
    }

    /// A heartbeat came back; returns its round trip if it counts.
    pub(crate) fn answer(&mut self, sequence: u64, now: Instant) -> Option<Duration> {
        let sent = self.sent.get(&sequence).copied()?;
        // The broker keeps their order: what is older is answered too, or lost.
        self.sent = self.sent.split_off(&(sequence + 1));
        let newest = sequence + 1 == self.next;
        let counts = newest || !self.answered;
        self.answered = true;
        counts.then(|| now.duration_since(sent))
    }

    /// The broker sent something that is no heartbeat.
    pub(crate) fn hear(&mut self) {
        self.heard = true;
    }

    /// Ends the interval if it is over; returns whether it went by without a sign of life. Intervals that went by while
    /// this process did not run are not made up for, and neither is the one that it was late for.
    pub(crate) fn turn(&mut self, now: Instant) -> Option<bool> {
        let late = now.checked_duration_since(self.deadline)?;
        let lives = std::mem::take(&mut self.answered) | std::mem::take(&mut self.heard);
        self.deadline = self.end(now);
        Some(!lives && late <= self.interval / 2)
    }

    /// A miss is reported out of turn: the next outcome is due one interval from now.
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.answered, self.heard) = (false, false);
        self.deadline = self.end(now);
    }

    /// The connection is gone, and with it what was under way.
    pub(crate) fn disconnected(&mut self) {
        self.sent.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn an_answer_within_its_interval_counts_and_the_interval_is_not_missed() {
        let start = Instant::now();
        let mut pulse = Pulse::new(SECOND, start, start);
        let first = pulse.beat(start).unwrap();
        assert_eq!(pulse.answer(first, start + ms(3)), Some(ms(3)));
        assert_eq!(pulse.turn(start + ms(999)), None, "the interval is not over");
        assert_eq!(pulse.turn(start + SECOND), Some(false));
        assert_eq!(
            pulse.turn(start + 2 * SECOND),
            Some(true),
            "nothing was answered in the second"
        );
    }

    #[test]
    fn a_broker_slower_than_its_interval_is_slow_and_not_dead() {
        let start = Instant::now();
        let mut pulse = Pulse::new(SECOND, start, start);
        let first = pulse.beat(start).unwrap();
        assert_eq!(pulse.turn(start + SECOND), Some(true));
        let second = pulse.beat(start + SECOND).unwrap();
        assert_eq!(pulse.answer(first, start + ms(1500)), Some(ms(1500)));
        assert_eq!(pulse.turn(start + 2 * SECOND), Some(false));
        pulse.beat(start + 2 * SECOND).unwrap();
        assert_eq!(pulse.answer(second, start + ms(2500)), Some(ms(1500)));
        assert_eq!(pulse.turn(start + 3 * SECOND), Some(false));
    }

    #[test]
    fn a_burst_of_old_answers_is_reported_once_before_the_newest() {
        let start = Instant::now();
        let mut pulse = Pulse::new(SECOND, start, start);
        let mut sent = Vec::new();
        for second in 0..40 {
            sent.extend(pulse.beat(start + second * SECOND));
            pulse.turn(start + (second + 1) * SECOND);
        }
        assert_eq!(sent.len(), OUTSTANDING, "a hung broker is not filled up");
        let resumed = start + ms(40_500);
        let counted: Vec<_> = sent
            .iter()
            .filter_map(|&sequence| pulse.answer(sequence, resumed))
            .collect();
        assert_eq!(counted, [ms(40_500), ms(25_500)]);
    }

    #[test]
    fn an_answer_to_nothing_sent_on_this_connection_counts_for_nothing() {
        let start = Instant::now();
        let mut pulse = Pulse::new(SECOND, start, start);
        let first = pulse.beat(start).unwrap();
        pulse.disconnected();
        assert_eq!(pulse.answer(first, start + ms(3)), None);
        assert_eq!(pulse.turn(start + SECOND), Some(true));
    }

    #[test]
    fn a_stall_of_our_own_is_no_miss() {
        let start = Instant::now();
        let mut pulse = Pulse::new(SECOND, start, start);
        pulse.beat(start);
        assert_eq!(pulse.turn(start + 60 * SECOND), Some(false));
        assert_eq!(pulse.turn(start + 60 * SECOND), None);
        assert_eq!(pulse.deadline(), start + 61 * SECOND);
        assert_eq!(
            pulse.turn(start + ms(61_501)),
            Some(false),
            "late by more than half an interval"
        );
        assert_eq!(
            pulse.turn(start + ms(62_700)),
            Some(true),
            "a little late, and the heartbeat had its whole interval"
        );
        assert_eq!(pulse.deadline(), start + ms(63_700));
    }

    #[test]
    fn long_intervals_of_all_brokers_end_together_and_short_ones_when_they_are_over() {
        let origin = Instant::now();
        let mut deadlines = Vec::new();
        for begun in [0, 20, 49, 76] {
            let mut pulse = Pulse::new(SECOND, origin + ms(begun), origin);
            deadlines.push(pulse.deadline().duration_since(origin).as_millis());
            let late = pulse.deadline() + ms(3);
            assert_eq!(pulse.turn(late), Some(true));
            assert_eq!(pulse.deadline(), late + ms(997), "{begun} ms");
        }
        assert_eq!(deadlines, [1000, 1000, 1000, 1100]);
        let short = Pulse::new(ms(50), origin + ms(20), origin);
        assert_eq!(short.deadline(), origin + ms(70));
    }

    #[test]
    fn whatever_a_broker_sends_proves_its_life_for_an_interval() {
        let start = Instant::now();
        let mut pulse = Pulse::new(SECOND, start, start);
        pulse.beat(start);
        pulse.hear();
        assert_eq!(pulse.turn(start + SECOND), Some(false));
        assert_eq!(pulse.turn(start + 2 * SECOND), Some(true));
    }
}
