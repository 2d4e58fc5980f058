//! Whether messages of a fleet at rest reach everyone who should have them, and nobody twice. It knows clients only.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::client::{Listener, Message, publish_once};
use crate::fleet::Fleet;
use crate::wait::wait_for;

/// Messages per producer that are counted.
const COUNT: usize = 20;
/// A further copy would come within a few milliseconds of the first.
const QUIET: Duration = Duration::from_millis(300);
/// Between two attempts to get a first message through.
const RETRY: Duration = Duration::from_millis(200);

async fn each_exactly_once(
    fleet: &Fleet,
    topic: &str,
    from: &str,
    to: &str,
    timeout: Duration,
) -> Result<()> {
    let mut listeners = BTreeMap::new();
    for (index, place) in to.split_whitespace().enumerate() {
        let (broker, filter) = place.split_once('=').unwrap_or((place, topic));
        let address = fleet.client_address(broker).await?;
        let id = format!("ear-{index}-{}", topic.replace('/', "-"));
        listeners.insert(place, Listener::start(&address, &id, filter, 2).await?);
    }
    let mut producers = BTreeMap::new();
    for producer in from.split_whitespace() {
        producers.insert(producer, fleet.client_address(producer).await?);
    }
    let copies = |listener: &Listener, producer: &str, what: &str| {
        let payload = format!("{producer} {what}");
        let messages = listener.messages();
        let ours = |message: &&Message| message.topic == topic && message.payload == payload;
        messages.iter().filter(ours).count()
    };
    let arrived = |what: &str| {
        let at = |listener: &Listener| {
            producers
                .keys()
                .all(|producer| copies(listener, producer, what) > 0)
        };
        listeners.values().all(at).then_some(())
    };
    let what = format!("messages on {topic} from each of {from} to reach each of {to}");
    wait_for(&what, timeout, async || {
        for (producer, address) in &producers {
            // A refusal is one more reason to try again.
            let _ = publish_once(address, topic, &format!("{producer} first"), 1, false).await;
        }
        tokio::time::sleep(RETRY).await;
        arrived("first")
    })
    .await?;
    for number in 0..COUNT {
        for (producer, address) in &producers {
            let qos = if number % 2 == 0 { 1 } else { 2 };
            publish_once(address, topic, &format!("{producer} {number}"), qos, false).await?;
        }
    }
    let last = (COUNT - 1).to_string();
    let came = wait_for("the last messages", timeout, async || arrived(&last)).await;
    for (place, listener) in &listeners {
        listener.wait_quiet(QUIET, timeout).await?;
        for producer in producers.keys() {
            for number in 0..COUNT {
                let copies = copies(listener, producer, &number.to_string());
                ensure!(
                    copies == 1,
                    "{copies} copies of message {number} on {topic} from {producer} arrived at {place}"
                );
            }
        }
    }
    came
}

impl Fleet {
    /// Clients of `from` publish `topic`, clients of `to` (each with a filter: `"a=farm/#"`, or only `"a"` for the topic
    /// itself) await it, both at the brokers' client addresses. First messages are repeated until one is through
    /// everywhere, as nobody promises an instant at which a new path stands; after that every message must arrive
    /// everywhere, once.
    ///
    /// The topic must be one that no earlier message of this fleet had.
    pub async fn check_once(&self, topic: &str, from: &str, to: &str, timeout: Duration) -> Result<()> {
        let checked = each_exactly_once(self, topic, from, to, timeout).await;
        match checked {
            Ok(()) => Ok(()),
            Err(error) => {
                let status = self.status().await?;
                Err(error).with_context(|| format!("status {status:#}\nskein up said:\n{}", self.log()))
            }
        }
    }
}
