//! Sessions: what a broker keeps of a client that is away, and who may use it.

use std::time::Duration;

use anyhow::Result;

use crate::case::{Case, Why};
use crate::client::{Client, End, reason_name};
use crate::packet::{Message, Version};
use crate::scene::{Scene, list, payloads};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "clean",
            "a client with a clean session returns",
            "no session, and no subscription",
            |scene| Box::pin(clean(scene)),
        ),
        Case::new(
            "durable",
            "a client with a durable session returns",
            "a session, and its subscription",
            |scene| Box::pin(durable(scene)),
        ),
        Case::new(
            "discarded",
            "a durable client returns with a clean session",
            "no session",
            |scene| Box::pin(discarded(scene)),
        ),
        Case::new(
            "offline",
            "messages with QoS 1 and 2 for a durable subscriber that is away",
            "100 wait, in order, once each",
            |scene| Box::pin(offline(scene)),
        ),
        Case::new(
            "offline-qos-0",
            "a message with QoS 0 for a durable subscriber that is away",
            "nothing waits",
            |scene| Box::pin(offline_qos_0(scene)),
        )
        .federation("0 waits", Why::Waiting),
        Case::new(
            "roaming",
            "a durable client returns where messages are published",
            "a session",
            |scene| Box::pin(roaming(scene)),
        )
        .federation("no session", Why::OwnSessions),
        Case::new(
            "redelivery",
            "QoS 1 and 2 that a durable subscriber has not acknowledged when its connection breaks",
            "again with DUP, once each",
            |scene| Box::pin(redelivery(scene)),
        ),
        Case::new(
            "takeover-3",
            "a client id connects a second time",
            "the first is closed, the second has its session",
            |scene| Box::pin(takeover(scene)),
        )
        .only(Version::Three),
        Case::new(
            "takeover-5",
            "a client id connects a second time",
            "the first is closed (session taken over), the second has its session",
            |scene| Box::pin(takeover(scene)),
        )
        .only(Version::Five)
        .oldest("the first is closed, the second has its session"),
        Case::new(
            "takeover-apart",
            "a client id connects at both ends",
            "the first is closed",
            |scene| Box::pin(takeover_apart(scene)),
        )
        .federation("both stay", Why::OwnSessions),
        Case::new(
            "session-expired",
            "a client with a session expiry of 1 s returns after 3 s",
            "no session",
            |scene| Box::pin(session_expiry(scene, 1, 3)),
        )
        .only(Version::Five),
        Case::new(
            "session-not-expired",
            "a client with a session expiry of 60 s returns after 3 s",
            "a session",
            |scene| Box::pin(session_expiry(scene, 60, 3)),
        )
        .only(Version::Five),
    ]
}

fn presence(client: &Client) -> &'static str {
    if client.session_present {
        "a session"
    } else {
        "no session"
    }
}

/// Leaves, and waits until somebody else there has seen messages that were published meanwhile.
async fn away(scene: &Scene, subscriber: Client, messages: &[Message]) -> Result<()> {
    subscriber.disconnect().await?;
    let mut witness = scene.join("witness", &[]).await?;
    let mut publisher = scene.publisher().await?;
    scene.pass(messages, &mut publisher, &mut witness).await?;
    publisher.disconnect().await
}

async fn clean(scene: Scene) -> Result<String> {
    scene.subscriber(&[scene.wish("a")]).await?.disconnect().await?;
    let mut again = scene.subscriber(&[]).await?;
    let present = presence(&again);
    let mut publisher = scene.publisher().await?;
    let got = scene
        .pass(&[scene.message("a", "1")], &mut publisher, &mut again)
        .await?;
    let subscription = if got.is_empty() {
        "no subscription"
    } else {
        "its subscription"
    };
    Ok(format!("{present}, and {subscription}"))
}

async fn durable(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    let mut subscriber = Client::connect(&scene.there, &hello).await?;
    scene.await_with(&mut subscriber, &[scene.wish("a")]).await?;
    subscriber.disconnect().await?;
    let mut again = Client::connect(&scene.there, &hello).await?;
    let present = presence(&again);
    let mut publisher = scene.publisher().await?;
    let got = scene
        .pass(&[scene.message("a", "1")], &mut publisher, &mut again)
        .await?;
    let subscription = if got.len() == 1 {
        "its subscription"
    } else {
        "no subscription"
    };
    Ok(format!("{present}, and {subscription}"))
}

async fn discarded(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber");
    let mut subscriber = Client::connect(&scene.there, &hello.clone().durable()).await?;
    subscriber.subscribe(&scene.wish("a")).await?;
    subscriber.disconnect().await?;
    Client::connect(&scene.there, &hello).await?.disconnect().await?;
    // Nor is there one for who asks for it afterwards.
    Ok(presence(&Client::connect(&scene.there, &hello.durable()).await?).to_owned())
}

async fn offline(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    for qos in [1, 2] {
        let mut subscriber = Client::connect(&scene.there, &hello).await?;
        scene.await_with(&mut subscriber, &[scene.wish("a")]).await?;
        let messages: Vec<Message> = (0..100)
            .map(|number| scene.message("a", &number.to_string()).qos(qos))
            .collect();
        away(&scene, subscriber, &messages).await?;
        let mut again = Client::connect(&scene.there, &hello).await?;
        let mut publisher = scene.publisher().await?;
        let got = scene.collect(&mut publisher, &mut again).await?;
        publisher.disconnect().await?;
        let fresh = got.iter().all(|one| !one.dup && one.qos == qos);
        if !fresh
            || !got
                .iter()
                .map(|one| one.text())
                .eq((0..100).map(|number| number.to_string()))
        {
            return Ok(format!("QoS {qos}: {}", payloads(&got)));
        }
        again.disconnect().await?;
    }
    Ok("100 wait, in order, once each".to_owned())
}

async fn offline_qos_0(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    let mut subscriber = Client::connect(&scene.there, &hello).await?;
    scene.await_with(&mut subscriber, &[scene.wish("a")]).await?;
    away(&scene, subscriber, &[scene.message("a", "0").qos(0)]).await?;
    let mut again = Client::connect(&scene.there, &hello).await?;
    let mut publisher = scene.publisher().await?;
    let got = scene.collect(&mut publisher, &mut again).await?;
    let waiting = got.iter().map(|one| one.text());
    Ok(format!("{} waits", list(waiting)))
}

async fn roaming(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    let mut subscriber = Client::connect(&scene.there, &hello).await?;
    subscriber.subscribe(&scene.wish("a")).await?;
    subscriber.disconnect().await?;
    Ok(presence(&Client::connect(&scene.here, &hello).await?).to_owned())
}

async fn redelivery(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    let mut subscriber = Client::connect(&scene.there, &hello).await?;
    scene.await_with(&mut subscriber, &[scene.wish("a")]).await?;
    subscriber.withhold();
    let mut publisher = scene.publisher().await?;
    for qos in [1, 2] {
        publisher
            .publish(&scene.message("a", &qos.to_string()).qos(qos))
            .await?;
        subscriber.receive().await?;
    }
    subscriber.break_off();
    let mut again = Client::connect(&scene.there, &hello).await?;
    let got = scene.collect(&mut publisher, &mut again).await?;
    Ok(if payloads(&got) == "1, 2" && got.iter().all(|one| one.dup) {
        "again with DUP, once each".to_owned()
    } else {
        format!("{got:?}")
    })
}

async fn takeover(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    let mut first = Client::connect(&scene.there, &hello).await?;
    let second = Client::connect(&scene.there, &hello).await?;
    let end = match first.ended().await? {
        End::Closed => String::new(),
        End::Reason(reason) => format!(" ({})", reason_name(reason)),
    };
    let has = if second.session_present { "its" } else { "no" };
    Ok(format!("the first is closed{end}, the second has {has} session"))
}

async fn takeover_apart(scene: Scene) -> Result<String> {
    let hello = scene.hello("client");
    let mut first = Client::connect(&scene.there, &hello).await?;
    let mut second = Client::connect(&scene.here, &hello).await?;
    second.ping().await?;
    // One that was closed hears no answer.
    Ok(if first.ping().await.is_ok() {
        "both stay"
    } else {
        "the first is closed"
    }
    .to_owned())
}

async fn session_expiry(scene: Scene, expiry: u32, pause: u64) -> Result<String> {
    let hello = scene.hello("subscriber").expiry(expiry);
    let mut subscriber = Client::connect(&scene.there, &hello).await?;
    subscriber.subscribe(&scene.wish("a")).await?;
    subscriber.disconnect().await?;
    // Time is what makes it expire; asking whether it has would resume it.
    tokio::time::sleep(Duration::from_secs(pause)).await;
    Ok(presence(&Client::connect(&scene.there, &hello).await?).to_owned())
}
