//! The clients of the demo, and what arrived where.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use skein_e2e::{Fleet, Ledger, Publisher, Subscriber, Summary};

use super::stage::{Stage, span};
use super::story::PATIENCE;

/// Messages per second.
const RATE: u32 = 100;

/// A sensor at i, and two durable subscribers at a.
pub(super) struct Cast {
    sensor: Publisher,
    /// There all the time.
    pub(super) office: Subscriber,
    /// Away for a while.
    pub(super) inspector: Subscriber,
    ledger: Ledger,
}

/// When an act began, and what had arrived by then.
pub(super) struct Act {
    begin: Instant,
    received: u64,
}

impl Act {
    /// How long it has taken.
    pub(super) fn lasted(&self) -> Duration {
        self.begin.elapsed()
    }
}

impl Cast {
    /// Connects the subscribers, then the sensor.
    pub(super) async fn enter(fleet: &Fleet, stage: &Stage) -> Result<Self> {
        let (home, field) = (fleet.client_address("a").await?, fleet.client_address("i").await?);
        let ledger = Ledger::new();
        let office = Subscriber::start(&home, "office", "farm/+/soil", 1, &ledger).await?;
        let inspector = Subscriber::start(&home, "inspector", "farm/7/#", 1, &ledger).await?;
        let sensor = Publisher::start(&field, "sensor", "farm/7/soil", 1, RATE, &ledger).await?;
        stage.say(&format!(
            "a sensor publishes farm/7/soil at i ({field}): {RATE} numbered messages a second, QoS 1"
        ));
        stage.say(&format!(
            "an office and an inspector listen at a ({home}), both with durable sessions"
        ));
        Ok(Self {
            sensor,
            office,
            inspector,
            ledger,
        })
    }

    /// Waits until the office has so many seconds' worth of messages more.
    pub(super) async fn flow(&self, seconds: u32) -> Result<()> {
        self.office
            .wait_received(u64::from(seconds * RATE), PATIENCE)
            .await
    }

    /// An act begins.
    pub(super) fn act(&self) -> Act {
        let _ = self.office.take_longest_pause();
        Act {
            begin: Instant::now(),
            received: self.office.summary().received,
        }
    }

    /// What the office got since then, in a sentence.
    pub(super) fn seen_since(&self, act: &Act) -> String {
        format!(
            "the office got {} messages meanwhile, the longest pause between two was {}",
            self.office.summary().received - act.received,
            span(self.office.take_longest_pause())
        )
    }

    /// The inspector connects again. Of the messages that it missed, how many come at once, and how many it missed.
    pub(super) async fn inspector_returns(&self) -> Result<(u64, u64)> {
        let missed = self.inspector.summary().lost;
        let elsewhere = self.office.summary().lost;
        self.inspector.go_online();
        let soon = missed.saturating_sub(elsewhere) + u64::from(RATE / 4);
        self.inspector.wait_received(soon, PATIENCE).await?;
        // At most moments there is a message on its way, at some there is none.
        let mut missing = missed;
        for _ in 0..20 {
            missing = missing.min(self.inspector.summary().lost);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok((missed - missing, missed))
    }

    /// Ends the stream and adds up; an error if anything is lost.
    pub(super) async fn settle(self, stage: &Stage) -> Result<()> {
        self.sensor.finish(PATIENCE).await?;
        let subscribers = [("office", &self.office), ("inspector", &self.inspector)];
        let mut missed = Vec::new();
        for (name, subscriber) in subscribers {
            // What is lost never arrives, so waiting for it ends by itself.
            if let Err(error) = subscriber.wait_caught_up(Duration::from_secs(5)).await {
                missed.push(format!("{name}: {error:#}"));
            }
        }
        let sums = [self.office.summary(), self.inspector.summary()];
        stage.title("Ledger");
        println!("  sent by the sensor  {:>8}", self.ledger.sent());
        println!("  acknowledged        {:>8}", self.ledger.acknowledged());
        println!("                        office   inspector");
        let row = |what: &str, figure: fn(&Summary) -> u64| {
            let [office, inspector] = [&sums[0], &sums[1]].map(figure);
            println!("  {what:<20}{office:>8}{inspector:>12}");
        };
        row("received", |sum| sum.received);
        row("lost", |sum| sum.lost);
        row("duplicated", |sum| sum.duplicated);
        row("out of order", |sum| sum.out_of_order);
        ensure!(missed.is_empty(), "messages were lost: {}", missed.join("; "));
        if sums.iter().any(|sum| !sum.is_perfect()) {
            println!(
                "\n  What waited for a broker that died or hung was passed on to where its clients went, some of it twice; what"
            );
            println!("  that broker had itself came late, when it was back.");
        }
        Ok(())
    }
}
