//! One fleet, and one fault of it after the other.

use std::time::{Duration, Instant};

use anyhow::Result;
use skein_e2e::{Fleet, Ledger, Manifest, PATIENCE, Publisher, Subscriber};

use super::Dice;
use crate::harm::{Fault, LATE, Means, Victim};

/// Messages a second.
const RATE: u32 = 100;

/// What came of a fault.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) fault: Fault,
    pub(super) took: Duration,
    /// Of the round's messages.
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// By both subscribers together.
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) out_of_order: u64,
    /// The fleet came to rest afterwards.
    pub(super) rested: bool,
    /// What did not go as it should, in words.
    pub(super) remarks: Vec<String>,
}

/// The fleet, and who uses it.
pub(super) struct Patient<'fleet> {
    fleet: &'fleet Fleet,
    victim: Victim<'fleet>,
    ledger: Ledger,
    office: Subscriber,
    /// Away during some faults.
    inspector: Subscriber,
    rounds: u64,
}

impl<'fleet> Patient<'fleet> {
    /// A fleet that runs.
    pub(super) async fn begin(fleet: &'fleet Fleet, means: &'fleet Means) -> Result<Self> {
        let topic = Manifest::new().topic("soil", "farm/+/soil", "i", "a");
        let victim = Victim::begin(fleet, &topic, means).await?;
        let home = fleet.client_address("a").await?;
        let ledger = Ledger::new();
        let office = Subscriber::start(&home, "office", "farm/+/soil", 1, &ledger).await?;
        let inspector = Subscriber::start(&home, "inspector", "farm/7/#", 1, &ledger).await?;
        Ok(Self {
            fleet,
            victim,
            ledger,
            office,
            inspector,
            rounds: 0,
        })
    }

    /// Stops everything.
    pub(super) async fn end(self) -> Result<()> {
        self.victim.end().await
    }

    /// One round.
    pub(super) async fn suffer(&mut self, fault: Fault, dice: &mut Dice) -> Result<Round> {
        self.rounds += 1;
        let begin = Instant::now();
        let sensor_id = format!("sensor-{}", self.rounds);
        let before = self.counts();
        let address = self.fleet.client_address("i").await?;
        let sensor = Publisher::start(&address, &sensor_id, "farm/7/soil", 1, RATE, &self.ledger).await?;
        self.office.wait_received(20, PATIENCE).await?;
        // Who is drained is waited for.
        if dice.roll(2) == 0 && !matches!(fault, Fault::Drain(_)) {
            self.inspector.go_offline();
        }
        let mut remarks = Vec::new();
        let pause = Duration::from_millis(dice.roll(1500) as u64);
        let mut done = self.victim.strike(fault, pause).await;
        self.inspector.go_online();
        if done.is_ok() {
            done = self.victim.is_back(fault).await;
        }
        let rested = self.fleet.wait_settled(PATIENCE).await;
        let finished = sensor.finish(LATE).await;
        let (acknowledged, sent) = (self.ledger.acknowledged(), self.ledger.sent());
        for subscriber in [&self.office, &self.inspector] {
            remarks.extend(
                subscriber
                    .wait_caught_up(LATE)
                    .await
                    .err()
                    .map(|error| format!("{error:#}")),
            );
        }
        let after = self.counts();
        self.ledger.close(&sensor_id);
        let rested = done.and(rested.map(drop)).and(finished);
        remarks.extend(rested.as_ref().err().map(|error| format!("{error:#}")));
        Ok(Round {
            fault,
            took: begin.elapsed(),
            sent,
            acknowledged,
            lost: after.lost,
            duplicated: after.duplicated - before.duplicated,
            out_of_order: after.out_of_order - before.out_of_order,
            rested: rested.is_ok(),
            remarks,
        })
    }

    /// What both have so far; lost is what they miss now.
    fn counts(&self) -> Counts {
        let sums = [self.office.summary(), self.inspector.summary()];
        Counts {
            lost: sums.iter().map(|sum| sum.lost).sum(),
            duplicated: sums.iter().map(|sum| sum.duplicated).sum(),
            out_of_order: sums.iter().map(|sum| sum.out_of_order).sum(),
        }
    }
}

struct Counts {
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
}
