//! A fleet with a topic, a publisher and a durable subscriber for each quality of service, and one fault after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use skein_e2e::{Fleet, Ledger, Manifest, PATIENCE, Publisher, Subscriber};

use super::results::Counts;
use super::story::{Leave, Story};
use crate::harm::{Fault, LATE, Means, Victim};

/// Messages a second, of each quality of service.
pub(super) const RATE: u32 = 100;
/// How long something that was struck is left so.
const PAUSE: Duration = Duration::from_millis(1500);
/// How long publishers go on once all is well.
const AFTER: Duration = Duration::from_millis(300);
/// Silence after which nothing more is expected where something is missing that may not be lost.
const LONG_SILENCE: Duration = Duration::from_secs(10);
/// The same where it may be.
const SILENCE: Duration = Duration::from_secs(2);
/// The same once everything is there: copies may come yet.
const COPIES: Duration = Duration::from_millis(300);

/// What came of a story.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) took: Duration,
    /// By quality of service.
    pub(super) counts: [Counts; 3],
    /// The fleet came to rest afterwards; an error has its last status and what `skein up` said.
    pub(super) rested: Result<()>,
    /// What did not go as it should, in words.
    pub(super) remarks: Vec<String>,
}

/// The fleet, and who uses it.
pub(super) struct Trial<'fleet> {
    fleet: &'fleet Fleet,
    victim: Victim<'fleet>,
    lanes: Vec<Lane>,
    rounds: u64,
}

/// What one quality of service has to itself.
struct Lane {
    qos: u8,
    topic: String,
    ledger: Ledger,
    subscriber: Subscriber,
}

impl Lane {
    async fn begin(home: &str, qos: u8) -> Result<Self> {
        let ledger = Ledger::new();
        let (client, filter) = (format!("office-{qos}"), format!("farm/+/q{qos}"));
        let subscriber = Subscriber::start(home, &client, &filter, qos, &ledger).await?;
        Ok(Self {
            qos,
            topic: format!("farm/7/q{qos}"),
            ledger,
            subscriber,
        })
    }

    fn counts(&self) -> Counts {
        let sum = self.subscriber.summary();
        Counts {
            sent: sum.sent,
            acknowledged: sum.acknowledged,
            received: sum.received,
            lost: sum.lost,
            duplicated: sum.duplicated,
            out_of_order: sum.out_of_order,
            during: 0,
        }
    }
}

impl<'fleet> Trial<'fleet> {
    /// A fleet that runs; the story says what it needs.
    pub(super) async fn begin(fleet: &'fleet Fleet, means: &'fleet Means, first: &Story) -> Result<Self> {
        let mut topics = Manifest::new();
        for qos in 0..3 {
            let (name, filter) = (format!("q{qos}"), format!("farm/+/q{qos}"));
            topics = topics.topic_with(&name, &filter, "i", "a", &format!("qos: {qos}"));
        }
        let victim = match first.small_disk() {
            Some(broker) => Victim::with_small_disk(fleet, &topics, means, broker).await?,
            None => Victim::begin(fleet, &topics, means).await?,
        };
        let home = fleet.client_address("a").await?;
        let mut lanes = Vec::new();
        for qos in 0..3 {
            lanes.push(Lane::begin(&home, qos).await?);
        }
        Ok(Self {
            fleet,
            victim,
            lanes,
            rounds: 0,
        })
    }

    /// Stops everything.
    pub(super) async fn end(self) -> Result<()> {
        self.victim.end().await
    }

    /// One story. `promised` says, by quality of service, of which messages none may be lost.
    pub(super) async fn tell(&mut self, story: &Story, promised: [bool; 3]) -> Result<Outcome> {
        self.rounds += 1;
        let begin = Instant::now();
        let address = self.fleet.client_address("i").await?;
        let name = |lane: &Lane, round: u64| format!("sensor-{round}-{}", lane.qos);
        let mut before = Vec::new();
        let mut publishers = Vec::new();
        for lane in &self.lanes {
            before.push(lane.counts());
            let id = name(lane, self.rounds);
            publishers
                .push(Publisher::start(&address, &id, &lane.topic, lane.qos, RATE, &lane.ledger).await?);
        }
        for lane in &self.lanes {
            lane.subscriber.wait_received(30, PATIENCE).await?;
            let _ = lane.subscriber.take_longest_pause();
        }
        let connections: Vec<u32> = self
            .lanes
            .iter()
            .map(|lane| lane.subscriber.connections())
            .collect();
        let struck: Vec<u64> = self.lanes.iter().map(|lane| lane.ledger.sent()).collect();
        let mut done = self.strike(story).await;
        if let (Ok(()), Some(fault)) = (&done, story.fault) {
            done = self.victim.is_back(fault).await;
        }
        let rested = self.fleet.wait_settled(PATIENCE).await.map(drop);
        // What comes after it is part of it.
        tokio::time::sleep(AFTER).await;
        let sent: Vec<u64> = self.lanes.iter().map(|lane| lane.ledger.sent()).collect();
        let mut finished = Ok(());
        for publisher in publishers {
            finished = finished.and(publisher.finish(LATE).await);
        }
        self.wait_silence(promised).await;
        let mut counts = [Counts::default(); 3];
        let mut remarks = Vec::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            counts[at] = lane.counts().since(&before[at]);
            counts[at].during = sent[at] - struck[at] + u64::from(RATE);
            if counts[at].lost > 0 {
                remarks.push(format!(
                    "QoS {}: {} missing; its subscriber connected {} times meanwhile",
                    lane.qos,
                    lane.subscriber.missing(),
                    lane.subscriber.connections() - connections[at]
                ));
            }
            if done.is_ok() {
                done = felt(story, lane.subscriber.take_longest_pause());
            }
            lane.ledger.close(&name(lane, self.rounds));
        }
        let mut whole = Ok(());
        if let Some(fault) = story.fault {
            whole = self.victim.make_whole(fault).await;
        }
        let rested = done.and(rested).and(finished).and(whole);
        remarks.extend(rested.as_ref().err().map(|error| error.root_cause().to_string()));
        Ok(Outcome {
            took: begin.elapsed(),
            counts,
            rested,
            remarks,
        })
    }

    async fn strike(&mut self, story: &Story) -> Result<()> {
        for lane in &self.lanes {
            match story.away {
                Some(Leave::Politely) => lane.subscriber.go_offline(),
                Some(Leave::Suddenly) => lane.subscriber.vanish(),
                None => {}
            }
        }
        let done = if let Some(fault) = story.fault {
            self.victim.strike(fault, PAUSE).await
        } else {
            tokio::time::sleep(PAUSE).await;
            Ok(())
        };
        self.lanes.iter().for_each(|lane| lane.subscriber.go_online());
        done
    }

    /// Waits until nothing more comes: soon, if all is there; long, if something is missing that was promised.
    async fn wait_silence(&self, promised: [bool; 3]) {
        let mut last = (Instant::now(), 0);
        loop {
            let counts: Vec<Counts> = self.lanes.iter().map(Lane::counts).collect();
            let arrived: u64 = counts.iter().map(|count| count.received + count.duplicated).sum();
            if arrived != last.1 {
                last = (Instant::now(), arrived);
            }
            let missing = |must: bool| {
                let mut lanes = counts.iter().zip(promised);
                lanes.any(|(count, promised)| count.lost > 0 && (promised || !must))
            };
            let patience = match (missing(true), missing(false)) {
                (true, _) => LONG_SILENCE,
                (false, true) => SILENCE,
                (false, false) => COPIES,
            };
            if last.0.elapsed() > patience {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// An error if messages went on that cannot have: a fault that nobody felt says nothing.
fn felt(story: &Story, pause: Duration) -> Result<()> {
    if let Some(silence) = story.fault.and_then(Fault::silence) {
        let longest = pause.as_secs_f64();
        ensure!(
            pause > silence / 2,
            "messages went on: the longest pause was {longest:.1} s"
        );
    }
    Ok(())
}
