//! How clients without a name are sent off by a broker that goes on running, on the oldest and the newest version.
//!
//! Finding: naming the anonymous group anew, be it the same, ends the connections of all clients without a name and of nobody
//! else, in some milliseconds; their sessions stay and queue, and they are let in again at once.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;
use skein_e2e::{PASSWORD, PATIENCE, RawClient, Secured, Series, anonymous_rights, rights, security_file};
use skein_mqtt::administration::{Administrator, kick_nameless};
use skein_mqtt::{Address, RumqttSession};

async fn secured(series: Series, anonymous: &[Value]) -> Result<(Secured, Administrator)> {
    let users = [("a-b", rights(&[], &["t/#"]))];
    let broker = Secured::start(series, &security_file(&users, anonymous), "").await?;
    let (host, port) = broker
        .address()
        .rsplit_once(':')
        .map(|(host, port)| (host.to_owned(), port.to_owned()))
        .unwrap();
    let at = Administrator {
        address: Address {
            host,
            port: port.parse()?,
        },
        credentials: ("skein".to_owned(), PASSWORD.to_owned()),
        client_id: "skein:kick".to_owned(),
        patience: PATIENCE,
    };
    Ok((broker, at))
}

#[tokio::test]
async fn all_without_a_name_are_sent_off_and_nobody_else() -> Result<()> {
    for series in Series::ALL {
        let (broker, at) = secured(series, &anonymous_rights()).await?;
        // Given two clients without a name, one of whom has a session that lasts, and the bridge of another broker.
        let mut passing = broker.anonymous("passing", true).await?;
        let mut lasting = broker.anonymous("lasting", false).await?;
        lasting.subscribe("t/#", 1).await?;
        let mut bridge = broker.user("a-b", "skein:bridge", false).await?;
        bridge.subscribe("t/#", 1).await?;
        // When they are kicked,
        let begin = Instant::now();
        kick_nameless::<RumqttSession>(&at).await?;
        let took = begin.elapsed();
        // then both are off, at once,
        passing.wait_closed(Duration::from_secs(2)).await?;
        lasting.wait_closed(Duration::from_secs(2)).await?;
        println!("{series:?}: kicked in {took:.1?}");
        // what comes waits in the session that lasts, and the bridge has it already,
        let mut publisher = broker.anonymous("publisher", true).await?;
        publisher.publish("t/1", "", 1, false).await?;
        assert_eq!(
            bridge.take(Duration::from_millis(300), true).await?.len(),
            1,
            "{series:?}"
        );
        // and they are let in again.
        let mut lasting: RawClient = broker.anonymous("lasting", false).await?;
        assert!(lasting.session_present(), "{series:?}");
        assert_eq!(
            lasting.take(Duration::from_millis(300), true).await?.len(),
            1,
            "{series:?}"
        );
        // Again, with nobody new: it can be repeated.
        kick_nameless::<RumqttSession>(&at).await?;
        lasting.wait_closed(Duration::from_secs(2)).await?;
        bridge.settle().await?;
    }
    Ok(())
}
