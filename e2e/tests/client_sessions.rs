//! Sessions of clients that somebody opened for them, over 5.0: whether the client itself finds what it would have found had
//! it been there, on the oldest and the newest version, without dynamic security and under it, as `skein up` sets it up.

#![allow(clippy::unwrap_used, reason = "test code")]

mod five;
mod kept;

use std::time::Duration;

use anyhow::{Context as _, Result};
use five::Five;
use kept::Kept;
use rumqttc::mqttbytes::QoS;
use skein_api::name::BrokerName;
use skein_e2e::{PlainBroker, RawClient, Secured, Series, mosquitto};
use skein_mosquitto::security::{FleetSecret, Security, render};
use skein_mqtt::session::Qos;
use skein_mqtt::{
    Address, ClientSession, ClientSubscription, LeftSession, end_subscriptions, open_client_session,
};
use skein_store::{Session, Store};

const QUIET: Duration = Duration::from_millis(200);

/// A durable broker of either kind.
enum Broker {
    Open(Kept),
    Secured(Secured),
}

impl Broker {
    async fn start(series: Series, secure: bool) -> Result<Self> {
        if !secure {
            return Ok(Self::Open(Kept::start(series, "").await?));
        }
        let secret = FleetSecret::new([7; 32]);
        let [this, other] = ["b", "a"].map(|name| BrokerName::new(name).unwrap());
        let file = render(&Security::derived(&secret, &this, [&other], true));
        Ok(Self::Secured(
            Secured::start(series, &serde_json::from_str(&file)?, "allow_anonymous true").await?,
        ))
    }

    async fn all() -> Result<Vec<(Series, bool, Self)>> {
        let mut all = Vec::new();
        for series in Series::ALL {
            for secure in [false, true] {
                all.push((series, secure, Self::start(series, secure).await?));
            }
        }
        Ok(all)
    }

    fn plain(&mut self) -> &mut PlainBroker {
        match self {
            Self::Open(kept) => &mut kept.broker,
            Self::Secured(secured) => &mut secured.broker,
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Open(kept) => kept.broker.address(),
            Self::Secured(secured) => secured.address(),
        }
    }

    /// Stopped and started again, which both versions save everything for.
    async fn restart(&mut self, series: Series) -> Result<()> {
        self.plain().stop().await?;
        self.plain().restart(&mosquitto(series)).await
    }

    /// Its session of a client, when it is stopped.
    fn left(&self, client_id: &str) -> Result<Option<Session>> {
        let folder = match self {
            Self::Open(kept) => kept.folder.path(),
            Self::Secured(secured) => secured.files(),
        };
        let mut store = Store::open(folder)?.context("no store")?;
        Ok(store.inventory()?.session(client_id).cloned())
    }

    async fn client(&self, client_id: &str, clean: bool) -> Result<RawClient> {
        RawClient::connect(&self.address(), client_id, clean, None).await
    }

    async fn publish(&self, messages: &[(&str, u8, bool)]) -> Result<()> {
        let mut publisher = self.client("publisher", true).await?;
        for (topic, qos, retain) in messages {
            publisher.publish(topic, topic, *qos, *retain).await?;
        }
        publisher.disconnect().await
    }

    fn session(&self, subscriptions: &[ClientSubscription]) -> ClientSession {
        let address = self.address();
        let (host, port) = address.rsplit_once(':').unwrap();
        ClientSession {
            address: Address {
                host: host.to_owned(),
                port: port.parse().unwrap(),
            },
            credentials: None,
            client_id: "valve".to_owned(),
            expiry: None,
            subscriptions: subscriptions.to_vec(),
            unwanted: Vec::new(),
        }
    }
}

fn plain(filter: &str, qos: Qos) -> ClientSubscription {
    ClientSubscription {
        filter: filter.to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        identifier: None,
    }
}

/// Topic, QoS, whether it is a retained one.
fn told(publish: &rumqttc::Publish) -> (&str, u8, bool) {
    let qos = match publish.qos {
        QoS::AtMostOnce => 0,
        QoS::AtLeastOnce => 1,
        QoS::ExactlyOnce => 2,
    };
    (&publish.topic, qos, publish.retain)
}

#[tokio::test]
async fn a_client_of_3_1_1_goes_on_as_if_it_had_been_there() -> Result<()> {
    for (series, secure, mut broker) in Broker::all().await? {
        let what = format!("{series:?}, secure {secure}");
        broker.publish(&[("t/kept", 1, true)]).await?;
        let session = broker.session(&[plain("t/#", Qos::ExactlyOnce), plain("u/+", Qos::AtLeastOnce)]);
        open_client_session(&session).await?;
        let published = [("t/1", 1, false), ("u/2", 2, false), ("t/2", 2, false)];
        broker.publish(&published).await?;
        // Over a restart; and opened once more while all of it waits, of which nothing may be taken.
        broker.restart(series).await?;
        open_client_session(&session).await?;
        let mut client = broker.client("valve", false).await?;
        assert!(client.session_present(), "{what}");
        let taken = client.take(QUIET, true).await?;
        let taken: Vec<_> = taken.iter().map(told).collect();
        let expected = [("t/1", 1, false), ("u/2", 1, false), ("t/2", 2, false)];
        assert_eq!(taken, expected, "{what}");
        // It is connected now, and gets the rest as it always does.
        broker.publish(&[("t/3", 2, false)]).await?;
        let taken = client.take(QUIET, true).await?;
        assert_eq!(taken.iter().map(told).collect::<Vec<_>>(), [("t/3", 2, false)]);
        // As ever, to subscribe again brings the retained message.
        assert!(client.subscribe("t/#", 2).await?);
        let taken = client.take(QUIET, true).await?;
        assert_eq!(
            taken.iter().map(told).collect::<Vec<_>>(),
            [("t/kept", 1, true)],
            "{what}"
        );
        client.disconnect().await?;
        broker.plain().stop().await?;
        let left = broker.left("valve")?.context("no session")?;
        assert_eq!(
            (left.username, left.expiry.after, left.waiting.messages),
            (None, None, 0),
            "{what}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_3_1_1_gets_what_two_of_its_filters_match_once() -> Result<()> {
    for (series, secure, broker) in Broker::all().await? {
        let session = broker.session(&[plain("t/#", Qos::AtLeastOnce), plain("t/+", Qos::AtLeastOnce)]);
        open_client_session(&session).await?;
        broker.publish(&[("t/1", 1, false)]).await?;
        let mut client = broker.client("valve", false).await?;
        assert_eq!(
            client.take(QUIET, true).await?.len(),
            1,
            "{series:?}, secure {secure}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_client_of_5_0_finds_its_options_identifiers_and_expiry() -> Result<()> {
    for (series, secure, mut broker) in Broker::all().await? {
        let what = format!("{series:?}, secure {secure}");
        broker
            .publish(&[("t/kept", 1, true), ("v/kept", 1, true)])
            .await?;
        let mut session = broker.session(&[
            ClientSubscription {
                no_local: true,
                identifier: Some(300),
                ..plain("t/#", Qos::ExactlyOnce)
            },
            ClientSubscription {
                retain_as_published: true,
                ..plain("v/#", Qos::AtLeastOnce)
            },
            plain("$share/pumps/s/#", Qos::AtLeastOnce),
        ]);
        session.expiry = Some(3600);
        open_client_session(&session).await?;
        broker
            .publish(&[("t/1", 1, false), ("v/1", 1, true), ("s/1", 1, false)])
            .await?;
        // A classic store keeps no shared subscription, but what it brought.
        broker.plain().stop().await?;
        let left = broker.left("valve")?.context("no session")?;
        assert_eq!(
            (left.expiry.after, left.waiting.messages),
            (Some(3600), 3),
            "{what}"
        );
        broker.plain().restart(&mosquitto(series)).await?;
        broker.publish(&[("t/2", 2, false)]).await?;
        open_client_session(&session).await?;
        let mut client = Five::connect(&broker.address(), "valve", 3600).await?;
        assert!(client.session_present, "{what}");
        let taken = client.take().await?;
        let taken: Vec<(&[u8], u8, bool, Vec<usize>)> = taken
            .iter()
            .map(|publish| {
                let identifiers = publish
                    .properties
                    .as_ref()
                    .map(|properties| properties.subscription_identifiers.clone());
                (
                    &*publish.topic,
                    publish.qos as u8,
                    publish.retain,
                    identifiers.unwrap_or_default(),
                )
            })
            .collect();
        let expected: [(&[u8], u8, bool, Vec<usize>); 4] = [
            (b"t/1", 1, false, vec![300]),
            (b"v/1", 1, true, vec![]),
            (b"s/1", 1, false, vec![]),
            (b"t/2", 2, false, vec![300]),
        ];
        assert_eq!(taken, expected, "{what}");
        let mut taken = client.publish("t/own").await?;
        taken.extend(client.publish("v/own").await?);
        taken.extend(client.take().await?);
        let topics: Vec<&[u8]> = taken.iter().map(|publish| &*publish.topic).collect();
        assert_eq!(topics, [b"v/own"], "{what}: what is its own and not local");
        client.leave().await?;
    }
    Ok(())
}

#[tokio::test]
async fn nothing_is_missed_or_doubled_after_a_session_was_opened_under_load() -> Result<()> {
    /// So many more once the session was opened for the last time.
    const MORE: u32 = 100;
    for (series, secure, broker) in Broker::all().await? {
        let what = format!("{series:?}, secure {secure}");
        let mut publisher = broker.client("sensor", true).await?;
        let (said, mut counted) = tokio::sync::watch::channel(0);
        let (end, ends) = tokio::sync::watch::channel(u32::MAX);
        let load = tokio::spawn(async move {
            let mut number = 0;
            while number < *ends.borrow() {
                number += 1;
                let qos = 1 + u8::try_from(number % 2)?;
                publisher.publish("t/1", &number.to_string(), qos, false).await?;
                said.send_replace(number);
            }
            anyhow::Ok(number)
        });
        let session = broker.session(&[plain("t/#", Qos::ExactlyOnce)]);
        let mut opened = 0;
        for _ in 0..3 {
            counted.wait_for(|number| *number >= opened + 50).await?;
            open_client_session(&session).await?;
            opened = *counted.borrow();
        }
        end.send_replace(opened + MORE);
        let last = load.await??;
        let mut client = broker.client("valve", false).await?;
        let taken = client.take(QUIET, true).await?;
        let numbers: Vec<u32> = taken
            .iter()
            .map(|publish| String::from_utf8_lossy(&publish.payload).parse().unwrap())
            .collect();
        let first = *numbers.first().context("nothing came")?;
        println!("{what}: from {first} on, opened for the last time by {opened}, {last} in all");
        assert!(first > 50 && first < opened, "{what}: {first}, {opened}");
        assert_eq!(numbers, (first..=last).collect::<Vec<_>>(), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_there_becomes_the_wanted_one_and_keeps_what_waits() -> Result<()> {
    for (series, secure, broker) in Broker::all().await? {
        let what = format!("{series:?}, secure {secure}");
        let mut client = broker.client("valve", false).await?;
        for filter in ["old/#", "both/#", "old/x"] {
            assert!(client.subscribe(filter, 1).await?);
        }
        client.disconnect().await?;
        broker
            .publish(&[("old/1", 1, false), ("both/1", 1, false)])
            .await?;
        let mut session = broker.session(&[
            plain("both/#", Qos::AtLeastOnce),
            plain("new/#", Qos::AtLeastOnce),
        ]);
        session.unwanted = ["old/#", "old/x", "never/there"].map(str::to_owned).to_vec();
        open_client_session(&session).await?;
        broker
            .publish(&[("old/x", 1, false), ("both/2", 1, false), ("new/1", 1, false)])
            .await?;
        let mut client = broker.client("valve", false).await?;
        let taken = client.take(QUIET, true).await?;
        let topics: Vec<&str> = taken.iter().map(|publish| publish.topic.as_str()).collect();
        assert_eq!(topics, ["old/1", "both/1", "both/2", "new/1"], "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_ended_is_gone_with_all_that_waits() -> Result<()> {
    for (series, secure, mut broker) in Broker::all().await? {
        let what = format!("{series:?}, secure {secure}");
        let mut session = broker.session(&[plain("t/#", Qos::AtLeastOnce)]);
        // Of a client of 5.0 that comes back to it, too.
        session.expiry = Some(3600);
        open_client_session(&session).await?;
        broker.publish(&[("t/1", 1, false)]).await?;
        end_subscriptions(&LeftSession {
            address: session.address.clone(),
            credentials: None,
            client_id: session.client_id.clone(),
            filters: Vec::new(),
            discard: true,
        })
        .await?;
        broker.publish(&[("t/2", 1, false)]).await?;
        broker.plain().stop().await?;
        assert_eq!(broker.left("valve")?, None, "{what}");
        broker.plain().restart(&mosquitto(series)).await?;
        let mut client = broker.client("valve", false).await?;
        assert!(!client.session_present(), "{what}");
        assert!(client.take(QUIET, true).await?.is_empty(), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_client_may_not_read_is_refused_with_the_filter_named() -> Result<()> {
    for series in Series::ALL {
        let broker = Broker::start(series, true).await?;
        let session = broker.session(&[
            plain("t/#", Qos::AtLeastOnce),
            plain("$skein/#", Qos::AtLeastOnce),
        ]);
        let error = open_client_session(&session).await.unwrap_err().to_string();
        assert!(error.contains("$skein/#"), "{series:?}: {error}");
    }
    Ok(())
}

/// A client that is led elsewhere goes without a word, as the broker sees it.
#[tokio::test]
async fn a_delayed_will_is_called_off_when_a_session_that_was_left_is_ended() -> Result<()> {
    for series in Series::ALL {
        let broker = Broker::start(series, false).await?;
        let address = broker.address();
        let mut heir = RawClient::connect(&address, "heir", true, None).await?;
        heir.subscribe("will/#", 1).await?;
        // The one whose session nobody ends says when the others would have come.
        let led = Five::mortal(&address, "led", "will/led", 2).await?;
        let prompt = Five::mortal(&address, "prompt", "will/prompt", 0).await?;
        let last = Five::mortal(&address, "last", "will/last", 4).await?;
        drop((led, prompt, last));
        for client_id in ["led", "prompt"] {
            let left = LeftSession {
                address: broker.session(&[]).address,
                credentials: None,
                client_id: client_id.to_owned(),
                filters: Vec::new(),
                discard: true,
            };
            end_subscriptions(&left).await?;
        }
        let mut published = Vec::new();
        while published.last().is_none_or(|it| it != "will/last") {
            let came = heir.receive(Duration::from_secs(10)).await?;
            published.push(came.context("no will came")?.topic);
        }
        assert_eq!(published, ["will/prompt", "will/last"], "{series:?}");
    }
    Ok(())
}
