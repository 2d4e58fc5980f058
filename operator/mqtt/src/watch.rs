//! [`Watch`]: which brokers are watched and which paths are probed, and what came of it.
//!
//! One task holds the rounds of probing; each broker has one task with one connection for its heartbeats, the probes it
//! publishes and the probes it awaits. Roughly 50 KB per broker.
//!
//! They have a thread of their own, ahead of others where the system allows that: a heartbeat is to measure the broker, and
//! not what else this process, or this machine, has to do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::line::{Duties, Heard, Line, Publication};
use crate::session::Qos;
use crate::{Address, RumqttSession};

/// How to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Distinguishes this watcher from any other of the same brokers; a word without spaces.
    pub instance: String,
    /// Time between two probes of a path; a probe not back by the next one is lost.
    pub probe_interval: Duration,
}

impl Settings {
    /// A probe per second.
    #[must_use]
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            instance: instance.into(),
            probe_interval: Duration::from_secs(1),
        }
    }
}

/// A broker to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Where it is.
    pub address: Address,
    /// User name and password, if it asks for them.
    pub credentials: Option<(String, String)>,
    /// Time between two heartbeats; from 50 ms.
    pub interval: Duration,
}

/// A message to be published at one broker and awaited at others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its topic, such as `$skein/probe/<class>/<producer>`.
    pub topic: String,
    /// The watched broker at which it is published.
    pub at: String,
    /// How: what is to overtake no other message must be at QoS 2.
    pub qos: Qos,
    /// Where it is awaited.
    pub consumers: Vec<ProbeEnd>,
}

/// Where a probe is awaited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProbeEnd {
    /// The consumer, as it is to be called in outcomes.
    pub consumer: String,
    /// The watched broker at which the probe is awaited.
    pub at: String,
}

/// What a [`Watch`] tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A heartbeat came back (perhaps late: the round trip may exceed the interval).
    Answered {
        /// From which broker.
        broker: Arc<str>,
        /// From publish to receive.
        round_trip: Duration,
    },
    /// No heartbeat came back in an interval; or the connection is refused: told at once the first time.
    Missed {
        /// From which broker.
        broker: Arc<str>,
        /// Nobody listens at its address.
        refused: bool,
        /// What happened, in words.
        why: String,
    },
    /// A probe arrived, or did not before the next one was due.
    Probed {
        /// On which topic.
        topic: Arc<str>,
        /// At which consumer.
        consumer: Arc<str>,
        /// End to end time (possibly longer than the probe interval), if it arrived.
        took: Option<Duration>,
    },
    /// A probe arrived that had arrived before.
    Doubled {
        /// On which topic.
        topic: Arc<str>,
        /// At which consumer.
        consumer: Arc<str>,
    },
}

enum Command {
    Brokers(BTreeMap<String, Watched>),
    Probes(Vec<Probe>),
    Hurry,
}

/// Rounds per probe interval while there is hurry.
const QUICK: u32 = 10;
/// How many of them.
const QUICK_ROUNDS: u32 = 50;
/// Probes that are sent in a second at most, of all together: they pass through brokers that have other things to do, and a
/// fleet may have ten thousand paths. Of more, each is sent less often.
const MOST_A_SECOND: u32 = 1000;

/// How much earlier than others the thread gets its turn (nice(2)). It needs little, and that at once.
const AHEAD: i32 = -15;
/// How long connections may take to be closed in good order at the end.
const FAREWELL: Duration = Duration::from_millis(200);

/// Watches brokers and paths until dropped. Needs a tokio runtime if it cannot have a thread.
pub struct Watch {
    commands: mpsc::UnboundedSender<Command>,
}

impl Watch {
    /// Starts with nothing to watch. Outcomes go to `outcomes`; when its receiver is dropped they are thrown away.
    #[must_use]
    pub fn start(settings: Settings, outcomes: mpsc::UnboundedSender<Outcome>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                // Should there be no thread to be had, nothing is watched, no broker is ever moved, and every path is
                // shown as down: as good as any other system that is out of everything.
                let _ = std::thread::Builder::new()
                    .name("heartbeats".to_owned())
                    .spawn(move || {
                        // Not granted: then it takes its turn like everybody.
                        let _ = rustix::process::nice(AHEAD);
                        runtime.block_on(run(settings, receiver, outcomes));
                    });
            }
            Err(_) => drop(tokio::spawn(run(settings, receiver, outcomes))),
        }
        Self { commands }
    }

    /// Watches exactly these brokers from now on, by name. Those that stay keep their connection, unless their address
    /// or credentials changed.
    pub fn set_brokers(&self, brokers: BTreeMap<String, Watched>) {
        // The task ends only when this sender is dropped.
        let _ = self.commands.send(Command::Brokers(brokers));
    }

    /// Probes exactly these paths from now on. Those that stay go on undisturbed. An end at a broker that is not
    /// watched counts as not reached.
    pub fn set_probes(&self, probes: Vec<Probe>) {
        let _ = self.commands.send(Command::Probes(probes));
    }

    /// Probes ten times as often, as far as they are not too many, for the next five intervals: something changed, and it is of interest how soon messages
    /// pass. What is not back within an interval is missed as ever.
    pub fn hurry(&self) {
        let _ = self.commands.send(Command::Hurry);
    }
}

struct Held {
    duties: watch::Sender<Duties>,
    publications: mpsc::Sender<Publication>,
}

/// A probe that is sent again and again.
struct Sending {
    probe: Probe,
    /// Where it is awaited.
    ends: Vec<AwaitedKey>,
    /// In which round it was sent last.
    round: u64,
}

/// One path from a producer to a consumer, between two probes.
struct Awaited {
    topic: Arc<str>,
    consumer: Arc<str>,
    /// The newest round in which a probe was sent.
    sent: u64,
    /// The newest round that arrived.
    newest: u64,
    /// Which of that and the 63 rounds before it arrived: the lowest bit is the newest.
    arrived: u64,
    /// When its last arrival was told.
    told: Option<Instant>,
    /// Since when no probe has arrived though one is under way; `None` while all sent have arrived. That a round
    /// begins late is no miss.
    unanswered_since: Option<Instant>,
}

impl Sending {
    /// What it is, and in which round it was sent last.
    fn last(&self) -> ((&str, &str), u64) {
        ((&self.probe.topic, &self.probe.at), self.round)
    }
}

impl Awaited {
    /// Notes that a round arrived; whether it had before, as far as that is known.
    fn notes(&mut self, round: u64) -> bool {
        let shift = |by: u64| u32::try_from(by).unwrap_or(u32::MAX);
        if let Some(newer) = round.checked_sub(self.newest).filter(|newer| *newer > 0) {
            self.arrived = self.arrived.checked_shl(shift(newer)).unwrap_or(0) | 1;
            self.newest = round;
            return false;
        }
        let bit = 1_u64.checked_shl(shift(self.newest - round)).unwrap_or(0);
        let had = self.arrived & bit != 0;
        self.arrived |= bit;
        had
    }
}

/// At which broker, on which topic, and as which consumer a probe is awaited.
type AwaitedKey = (Arc<str>, Arc<str>, Arc<str>);

struct State {
    instance: Arc<str>,
    origin: Instant,
    outcomes: mpsc::UnboundedSender<Outcome>,
    heard: mpsc::UnboundedSender<(Arc<str>, Heard)>,
    brokers: BTreeMap<String, Watched>,
    probes: Vec<Sending>,
    lines: HashMap<Arc<str>, Held>,
    tasks: JoinSet<()>,
    awaited: BTreeMap<AwaitedKey, Awaited>,
    round: u64,
    interval: Duration,
    next_round: Instant,
    /// How many rounds follow quickly.
    quick: u32,
}

async fn run(
    settings: Settings,
    mut commands: mpsc::UnboundedReceiver<Command>,
    outcomes: mpsc::UnboundedSender<Outcome>,
) {
    let (heard, mut heard_receiver) = mpsc::unbounded_channel();
    let mut state = State {
        instance: settings.instance.as_str().into(),
        origin: Instant::now(),
        outcomes,
        heard,
        brokers: BTreeMap::new(),
        probes: Vec::new(),
        lines: HashMap::new(),
        tasks: JoinSet::new(),
        awaited: BTreeMap::new(),
        round: 0,
        interval: settings.probe_interval,
        next_round: Instant::now(),
        quick: 0,
    };
    loop {
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                None => break,
                Some(Command::Brokers(brokers)) => state.set_brokers(brokers),
                Some(Command::Probes(probes)) => state.set_probes(probes),
                Some(Command::Hurry) => {
                    state.quick = QUICK_ROUNDS;
                    state.next_round = state.next_round.min(Instant::now() + state.interval / QUICK);
                }
            },
            Some((broker, heard)) = heard_receiver.recv() => state.hear(broker, heard),
            Some(_) = state.tasks.join_next() => {}
            () = sleep_until(state.next_round) => state.next_round(),
        }
    }
    // Their duties end, and they say good-bye.
    state.lines.clear();
    let ended = async { while state.tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(FAREWELL, ended).await;
}

impl State {
    fn tell(&self, outcome: Outcome) {
        let _ = self.outcomes.send(outcome);
    }

    fn set_brokers(&mut self, brokers: BTreeMap<String, Watched>) {
        self.lines.retain(|name, _| brokers.contains_key(&**name));
        self.brokers = brokers;
        self.assign();
    }

    fn set_probes(&mut self, probes: Vec<Probe>) {
        let rounds: HashMap<(&str, &str), u64> = self.probes.iter().map(Sending::last).collect();
        let mut awaited = BTreeMap::new();
        let mut sendings = Vec::with_capacity(probes.len());
        for probe in probes {
            let topic: Arc<str> = probe.topic.as_str().into();
            let mut ends = Vec::with_capacity(probe.consumers.len());
            for end in &probe.consumers {
                let key = (
                    end.at.as_str().into(),
                    topic.clone(),
                    end.consumer.as_str().into(),
                );
                let fresh = || Awaited {
                    topic: topic.clone(),
                    consumer: end.consumer.as_str().into(),
                    sent: self.round,
                    newest: self.round,
                    arrived: 0,
                    told: None,
                    // The subscription takes its time: the next round may miss it without fault of the path.
                    unanswered_since: Some(Instant::now() + self.interval),
                };
                let known = self.awaited.remove(&key);
                awaited.insert(key.clone(), known.unwrap_or_else(fresh));
                ends.push(key);
            }
            let round = rounds.get(&(probe.topic.as_str(), probe.at.as_str()));
            let round = round.copied().unwrap_or_default();
            sendings.push(Sending { probe, ends, round });
        }
        self.awaited = awaited;
        self.probes = sendings;
        self.assign();
    }

    /// Tells every line its duties, starting lines for new brokers.
    fn assign(&mut self) {
        let mut subscriptions: HashMap<Arc<str>, BTreeSet<Arc<str>>> = HashMap::new();
        for (at, topic, _) in self.awaited.keys() {
            subscriptions.entry(at.clone()).or_default().insert(topic.clone());
        }
        let mut fresh = Vec::new();
        for (name, watched) in &self.brokers {
            let duties = Duties {
                address: watched.address.clone(),
                credentials: watched.credentials.clone(),
                interval: watched.interval.max(Duration::from_millis(50)),
                subscriptions: subscriptions.remove(name.as_str()).unwrap_or_default(),
            };
            if let Some(held) = self.lines.get(name.as_str()) {
                held.duties.send_if_modified(|old| {
                    let changed = *old != duties;
                    *old = duties;
                    changed
                });
            } else {
                fresh.push((Arc::from(name.as_str()), duties));
            }
        }
        for (name, duties) in fresh {
            let held = self.start_line(&name, duties);
            self.lines.insert(name, held);
        }
    }

    fn start_line(&mut self, broker: &Arc<str>, duties: Duties) -> Held {
        let (duties, duties_receiver) = watch::channel(duties);
        let (publications, publications_receiver) = mpsc::channel(1024);
        let heard = self.heard.clone();
        let name = broker.clone();
        let line = Line {
            broker: broker.clone(),
            instance: self.instance.clone(),
            duties: duties_receiver,
            publications: publications_receiver,
            tell: move |what| {
                let _ = heard.send((name.clone(), what));
            },
            origin: self.origin,
        };
        self.tasks.spawn(line.run::<RumqttSession>());
        Held { duties, publications }
    }

    fn hear(&mut self, broker: Arc<str>, heard: Heard) {
        if !self.lines.contains_key(&broker) {
            return;
        }
        match heard {
            Heard::Answered(round_trip) => self.tell(Outcome::Answered { broker, round_trip }),
            Heard::Missed { refused, why } => self.tell(Outcome::Missed { broker, refused, why }),
            Heard::Message { topic, payload, at } => self.arrived(&broker, &topic, &payload, at),
        }
    }

    fn arrived(&mut self, broker: &Arc<str>, topic: &str, payload: &[u8], at: Instant) {
        let Some((round, sent)) = read_payload(payload, &self.instance) else {
            return;
        };
        let took = at.duration_since(self.origin).saturating_sub(sent);
        let topic: Arc<str> = topic.into();
        let first = (broker.clone(), topic.clone(), "".into());
        let ends = self
            .awaited
            .range_mut(first..)
            .take_while(|(key, _)| key.0 == *broker && key.1 == topic);
        for (_, awaited) in ends {
            // As with heartbeats: an old probe is not the newest, but the path passed it now. Copies count for nothing.
            let fresh = round > awaited.newest;
            if awaited.notes(round) {
                let _ = self.outcomes.send(Outcome::Doubled {
                    topic: awaited.topic.clone(),
                    consumer: awaited.consumer.clone(),
                });
            }
            let quiet = awaited.told.is_none_or(|told| at >= told + self.interval / QUICK);
            if fresh && (round == awaited.sent || quiet) {
                awaited.told = Some(at);
                awaited.unanswered_since = (round < awaited.sent).then_some(at);
                let _ = self.outcomes.send(Outcome::Probed {
                    topic: awaited.topic.clone(),
                    consumer: awaited.consumer.clone(),
                    took: Some(took),
                });
            }
        }
    }

    fn next_round(&mut self) {
        let now = Instant::now();
        self.round += 1;
        let at_once = most_in(self.interval);
        let is_quick = std::mem::take(&mut self.quick);
        self.quick = is_quick.saturating_sub(1);
        // Many are spread over the interval.
        let pace = if is_quick > 0 || self.probes.len() > at_once {
            self.interval / QUICK
        } else {
            self.interval
        };
        self.next_round = now + pace;
        let sent = self.origin.elapsed();
        for number in self.turns(most_in(pace)) {
            self.send(number, now, sent);
        }
    }

    /// Whose turn it is: all, if they are not too many; else first what somebody waits for, then what has not come through, then
    /// what was sent the longest ago.
    fn turns(&self, most: usize) -> Vec<usize> {
        let mut turns: Vec<usize> = (0..self.probes.len()).collect();
        if turns.len() <= most {
            return turns;
        }
        let is_unanswered = |sending: &Sending| {
            let mut ends = sending.ends.iter().filter_map(|end| self.awaited.get(end));
            ends.any(|awaited| awaited.unanswered_since.is_some())
        };
        let rank = |number: &usize| {
            let sending = &self.probes[*number];
            let rank = match sending.probe.qos {
                Qos::ExactlyOnce => 0,
                _ if is_unanswered(sending) => 1,
                _ => 2,
            };
            (rank, sending.round)
        };
        turns.sort_by_cached_key(rank);
        turns.truncate(most);
        turns
    }

    fn send(&mut self, number: usize, now: Instant, sent: Duration) {
        let Some(sending) = self.probes.get_mut(number) else {
            return;
        };
        sending.round = self.round;
        for end in &sending.ends {
            let Some(awaited) = self.awaited.get_mut(end) else {
                continue;
            };
            awaited.sent = self.round;
            // A little less than the interval: the next one must not come just too early to tell.
            let since = *awaited.unanswered_since.get_or_insert(now);
            if now >= since + self.interval * 7 / 8 {
                awaited.unanswered_since = Some(now);
                let _ = self.outcomes.send(Outcome::Probed {
                    topic: awaited.topic.clone(),
                    consumer: awaited.consumer.clone(),
                    took: None,
                });
            }
        }
        if let Some(held) = self.lines.get(sending.probe.at.as_str()) {
            let payload = payload(&self.instance, self.round, sent);
            // A full queue means that the broker hangs: the probe is lost, as it is with the broker.
            let _ = held.publications.try_send(Publication {
                topic: sending.probe.topic.as_str().into(),
                qos: sending.probe.qos,
                payload,
            });
        }
    }
}

/// How many probes may be sent in such a time.
fn most_in(time: Duration) -> usize {
    let most = u128::from(MOST_A_SECOND) * time.as_millis() / 1000;
    usize::try_from(most).unwrap_or(usize::MAX).max(1)
}

/// Text, so that a person who subscribes `$skein/#` can read it: instance, round, nanoseconds since the watch began.
fn payload(instance: &str, round: u64, sent: Duration) -> Vec<u8> {
    format!("{instance} {round} {}", sent.as_nanos()).into_bytes()
}

fn read_payload(payload: &[u8], instance: &str) -> Option<(u64, Duration)> {
    let mut words = std::str::from_utf8(payload).ok()?.split(' ');
    if words.next()? != instance {
        return None;
    }
    let round = words.next()?.parse().ok()?;
    Some((round, Duration::from_nanos(words.next()?.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_arrives_again_is_known_in_whatever_order() {
        let mut awaited = Awaited {
            topic: "t".into(),
            consumer: "a".into(),
            sent: 7,
            newest: 7,
            arrived: 0,
            told: None,
            unanswered_since: None,
        };
        // What was before it began to await is no copy.
        assert_eq!([7, 7].map(|round| awaited.notes(round)), [false, true]);
        assert_eq!(
            [9, 8, 9, 8].map(|round| awaited.notes(round)),
            [false, false, true, true]
        );
        assert_eq!(
            [200, 9, 137].map(|round| awaited.notes(round)),
            [false, false, false]
        );
        assert_eq!([137, 200].map(|round| awaited.notes(round)), [true, true]);
    }

    /// One that watches nothing yet, and is told by the test what happens.
    fn watching(interval: Duration) -> (State, mpsc::UnboundedReceiver<Outcome>) {
        let (outcomes, told) = mpsc::unbounded_channel();
        let state = State {
            instance: "me".into(),
            origin: Instant::now(),
            outcomes,
            heard: mpsc::unbounded_channel().0,
            brokers: BTreeMap::new(),
            probes: Vec::new(),
            lines: HashMap::new(),
            tasks: JoinSet::new(),
            awaited: BTreeMap::new(),
            round: 0,
            interval,
            next_round: Instant::now(),
            quick: 0,
        };
        (state, told)
    }

    #[tokio::test]
    async fn too_many_probes_take_turns() {
        let (mut state, _told) = watching(Duration::from_millis(100));
        let probe = |topic: &str, qos| Probe {
            topic: topic.to_owned(),
            at: "i".to_owned(),
            qos,
            consumers: vec![ProbeEnd {
                consumer: "a".to_owned(),
                at: "a".to_owned(),
            }],
        };
        let path = |number: usize| probe(&format!("p{number}"), Qos::AtLeastOnce);
        let mut probes: Vec<Probe> = (0..250).map(path).collect();
        state.set_probes(probes.clone());
        let rounds =
            |state: &State| -> Vec<u64> { state.probes.iter().map(|sending| sending.round).collect() };
        let begin = Instant::now();
        for _ in 0..25 {
            state.next_round();
            assert!(state.next_round <= Instant::now() + Duration::from_millis(10));
        }
        let sent = rounds(&state);
        assert!(sent.iter().all(|round| *round > 0), "each had its turn: {sent:?}");
        for round in 1..=25 {
            assert_eq!(sent.iter().filter(|sent| **sent == round).count(), 10, "{sent:?}");
        }
        // What has come through is no longer urgent; a marker always is.
        for (number, round) in sent.iter().enumerate().filter(|(number, _)| *number != 77) {
            let back = payload("me", *round, begin.duration_since(state.origin));
            state.arrived(&"a".into(), &format!("p{number}"), &back, Instant::now());
        }
        probes.push(probe("marker", Qos::ExactlyOnce));
        state.set_probes(probes);
        state.next_round();
        let again: Vec<usize> = (0..251).filter(|number| rounds(&state)[*number] == 26).collect();
        assert_eq!(again.len(), 10);
        assert!(again.contains(&250) && again.contains(&77), "{again:?}");
    }

    #[tokio::test]
    async fn a_round_that_begins_late_misses_nothing_that_arrived() {
        let interval = Duration::from_millis(20);
        let (mut state, mut told) = watching(interval);
        state.set_probes(vec![Probe {
            topic: "$skein/probe/soil/i".to_owned(),
            at: "i".to_owned(),
            qos: Qos::AtLeastOnce,
            consumers: vec![ProbeEnd {
                consumer: "a".to_owned(),
                at: "a".to_owned(),
            }],
        }]);
        let mut outcome = || match told.try_recv() {
            Ok(Outcome::Probed { took, .. }) => Some(took.is_some()),
            _ => None,
        };
        for round in 1..=3 {
            state.next_round();
            assert_eq!(outcome(), None, "round {round} only begins");
            let back = payload("me", round, state.origin.elapsed());
            state.arrived(&"a".into(), "$skein/probe/soil/i", &back, Instant::now());
            assert_eq!(outcome(), Some(true));
            // Far later than a busy machine's timers.
            tokio::time::sleep(interval * 3 / 2).await;
        }
        state.next_round();
        assert_eq!(outcome(), None);
        tokio::time::sleep(interval).await;
        state.next_round();
        assert_eq!(outcome(), Some(false), "the one before is lost");
    }
}
