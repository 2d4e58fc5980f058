//! What a queue's limits count, and what they leave out. `skein explain` reckons with it how soon a queue is full.
//!
//! Findings, each kept by a test below:
//! - `max_queued_messages` and `max_queued_bytes` both hold. Bytes are those of payloads, and the message that passes the limit
//!   is still taken.
//! - QoS 0 counts for neither: an absent session takes any number of such messages, until QoS 1 or 2 fill its queue.
//! - 2.1 delivers no more bytes of QoS 0 than `max_queued_bytes` when the session comes back; the rest, and what waits behind
//!   it with QoS 1, stays until further messages come.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use anyhow::Result;
use skein_e2e::{PlainBroker, RawClient, Series, mosquitto};

const QUIET: Duration = Duration::from_millis(500);

/// What waits for a session under some limits.
struct Queue {
    broker: PlainBroker,
    publisher: RawClient,
}

impl Queue {
    async fn start(series: Series, limits: &str) -> Result<Self> {
        let config = format!(
            "queue_qos0_messages true\nmax_inflight_messages 65534\nset_tcp_nodelay true\n{limits}\n"
        );
        let broker = PlainBroker::start(&mosquitto(series), &config).await?;
        let mut absent = RawClient::connect(&broker.address(), "absent", false, None).await?;
        absent.subscribe("t", 1).await?;
        absent.disconnect().await?;
        let publisher = RawClient::connect(&broker.address(), "publisher", true, None).await?;
        Ok(Self { broker, publisher })
    }

    async fn publish(&mut self, count: usize, qos: u8, bytes: usize) -> Result<()> {
        for _ in 0..count {
            self.publisher
                .publish("t", &"x".repeat(bytes), qos, false)
                .await?;
        }
        self.publisher.settle().await
    }

    async fn back(&self) -> Result<RawClient> {
        RawClient::connect(&self.broker.address(), "absent", false, None).await
    }
}

/// How many came with QoS 0, and with QoS 1.
async fn taken(client: &mut RawClient) -> Result<(usize, usize)> {
    let taken = client.take(QUIET, true).await?;
    let plain = taken.iter().filter(|publish| publish.pkid == 0).count();
    Ok((plain, taken.len() - plain))
}

#[tokio::test]
async fn the_first_limit_that_is_reached_counts_and_bytes_are_those_of_payloads() -> Result<()> {
    for series in Series::ALL {
        for (messages, bytes, payload, kept) in [
            (10, 0, 10, 10),
            (1000, 100, 10, 10),
            (5, 100, 10, 5),
            (1000, 100, 30, 4),
        ] {
            let limits = format!("max_queued_messages {messages}\nmax_queued_bytes {bytes}");
            let mut queue = Queue::start(series, &limits).await?;
            queue.publish(30, 1, payload).await?;
            let mut client = queue.back().await?;
            assert_eq!(taken(&mut client).await?, (0, kept), "{series:?} {limits}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn qos_0_is_not_counted_and_is_refused_once_the_queue_is_full() -> Result<()> {
    for series in Series::ALL {
        let mut queue = Queue::start(series, "max_queued_messages 10\nmax_queued_bytes 0").await?;
        queue.publish(500, 0, 10).await?;
        queue.publish(30, 1, 10).await?;
        queue.publish(500, 0, 10).await?;
        let mut client = queue.back().await?;
        assert_eq!(taken(&mut client).await?, (500, 10), "{series:?}");
    }
    Ok(())
}

#[tokio::test]
async fn the_newest_version_holds_up_what_waits_behind_much_qos_0() -> Result<()> {
    let mut queue = Queue::start(Series::Newest, "max_queued_messages 1000\nmax_queued_bytes 1000").await?;
    queue.publish(300, 0, 10).await?;
    queue.publish(5, 1, 10).await?;
    let mut client = queue.back().await?;
    assert_eq!(
        taken(&mut client).await?,
        (100, 0),
        "1,000 bytes of them, and no more"
    );
    // Each acknowledgement lets as much through again.
    for _ in 0..5 {
        queue.publish(1, 1, 10).await?;
    }
    assert_eq!(taken(&mut client).await?, (200, 10));
    Ok(())
}
