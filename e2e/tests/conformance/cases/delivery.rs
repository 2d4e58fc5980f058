//! Messages from one client to another: quality and order.

use anyhow::Result;

use crate::case::{Case, Why};
use crate::client::{Client, reason_name};
use crate::packet::{Message, Received, Version};
use crate::scene::{Scene, list, payloads};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "qualities",
            "QoS 0, 1 and 2 published, subscribed with QoS 2",
            "QoS 0, 1, 2, once each",
            |scene| Box::pin(qualities(scene)),
        ),
        Case::new(
            "downgrade",
            "QoS 2 published, subscribed with QoS 0, 1 and 2",
            "QoS 0, 1, 2",
            |scene| Box::pin(downgrade(scene)),
        ),
        Case::new(
            "topic-qos-1",
            "QoS 0, 1 and 2 published on a Topic with `qos: 1`, subscribed with QoS 2",
            "QoS 0, 1, 2, once each",
            |scene| Box::pin(qualities(scene.below("one"))),
        )
        .federation("QoS 0, 1, 1, once each", Why::Quality),
        Case::new(
            "topic-qos-0",
            "QoS 0, 1 and 2 published on a Topic with `qos: 0`, subscribed with QoS 2",
            "QoS 0, 1, 2, once each",
            |scene| Box::pin(qualities(scene.below("zero"))),
        )
        .federation("QoS 0, 0, 0, once each", Why::Quality),
        Case::new(
            "order",
            "200 messages of one publisher, 20 at a time, each QoS by itself",
            "in order, once each",
            |scene| Box::pin(order(scene)),
        ),
        Case::new(
            "order-mixed",
            "200 messages of one publisher, 20 at a time, QoS 0, 1 and 2 in turn",
            "in order within each QoS, once each",
            |scene| Box::pin(order_mixed(scene)),
        ),
        Case::new(
            "order-topics",
            "600 messages of one publisher on three Topics in turn",
            "in order",
            |scene| Box::pin(order_topics(scene)),
        )
        .federation("in order within each Topic", Why::OwnLinks),
        Case::new(
            "in-flight",
            "200 messages with QoS 2 of one publisher without waiting for any answer",
            "acknowledged, some lost",
            |scene| Box::pin(in_flight(scene)),
        )
        .only(Version::Three)
        .federation("acknowledged, in order, once each", Why::InFlight),
        Case::new(
            "unsubscribe",
            "a message after UNSUBSCRIBE",
            "does not arrive",
            |scene| Box::pin(unsubscribe(scene)),
        ),
        Case::new(
            "nobody-3",
            "a message that nobody subscribes",
            "acknowledged",
            |scene| Box::pin(nobody(scene)),
        )
        .only(Version::Three),
        Case::new(
            "nobody-5",
            "a message that nobody subscribes",
            "acknowledged: no matching subscribers",
            |scene| Box::pin(nobody(scene)),
        )
        .only(Version::Five)
        .federation("acknowledged: success", Why::BridgeSubscribes),
    ]
}

async fn qualities(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let messages = [0, 1, 2].map(|qos| scene.message("a", &qos.to_string()).qos(qos));
    let mut got = scene.pass(&messages, &mut publisher, &mut subscriber).await?;
    // By what they were published with: QoS 1 may overtake QoS 2.
    got.sort_by_key(|one| one.text());
    let complete = payloads(&got) == "0, 1, 2";
    let seen = list(got.iter().map(|one| one.qos.to_string()));
    Ok(if complete {
        format!("QoS {seen}, once each")
    } else {
        format!("{}: QoS {seen}", payloads(&got))
    })
}

async fn downgrade(scene: Scene) -> Result<String> {
    let mut subscribers = Vec::new();
    for qos in [0, 1, 2] {
        let wish = scene.wish("a").qos(qos);
        subscribers.push(scene.join(&format!("subscriber-{qos}"), &[wish]).await?);
    }
    let mut publisher = scene.publisher().await?;
    publisher.publish(&scene.message("a", "1")).await?;
    let end = scene.end(&mut publisher).await?;
    let mut seen = Vec::new();
    for subscriber in &mut subscribers {
        let got = subscriber.until(&end).await?;
        seen.push(list(got.iter().map(|one| one.qos.to_string())));
    }
    Ok(format!("QoS {}", seen.join(", ")))
}

/// Publishes so many before it waits for the answers.
async fn publish_by(publisher: &mut Client, many: usize, messages: &[Message]) -> Result<()> {
    for messages in messages.chunks(many) {
        publisher.publish_all(messages).await?;
    }
    Ok(())
}

async fn in_flight(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let messages: Vec<Message> = (0..200)
        .map(|number| scene.message("a", &number.to_string()))
        .collect();
    publisher.publish_all(&messages).await?;
    let got = scene.collect(&mut publisher, &mut subscriber).await?;
    Ok(
        if got
            .iter()
            .map(|one| one.text())
            .eq(messages.iter().map(Message::text))
        {
            "acknowledged, in order, once each".to_owned()
        } else if got.len() < messages.len() {
            "acknowledged, some lost".to_owned()
        } else {
            payloads(&got)
        },
    )
}

async fn order(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    for qos in [0, 1, 2] {
        let messages: Vec<Message> = (0..200)
            .map(|number| scene.message("a", &number.to_string()).qos(qos))
            .collect();
        publish_by(&mut publisher, 20, &messages).await?;
        let got = scene.collect(&mut publisher, &mut subscriber).await?;
        if !got
            .iter()
            .map(|one| one.text())
            .eq((0..200).map(|number| number.to_string()))
        {
            return Ok(format!("QoS {qos}: {}", payloads(&got)));
        }
    }
    Ok("in order, once each".to_owned())
}

async fn order_mixed(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let mut messages = Vec::new();
    for (number, qos) in (0..200).zip([2, 1, 0].into_iter().cycle()) {
        messages.push(scene.message("a", &number.to_string()).qos(qos));
    }
    publish_by(&mut publisher, 20, &messages).await?;
    let got = scene.collect(&mut publisher, &mut subscriber).await?;
    for qos in [0, 1, 2] {
        let of_quality = |qos: u8| messages.iter().filter(move |one| one.qos == qos);
        let got: Vec<&Received> = got.iter().filter(|one| one.qos == qos).collect();
        if !got
            .iter()
            .map(|one| one.text())
            .eq(of_quality(qos).map(Message::text))
        {
            let seen = list(got.iter().map(|one| one.text()));
            return Ok(format!("QoS {qos}: {seen}"));
        }
    }
    Ok("in order within each QoS, once each".to_owned())
}

async fn order_topics(scene: Scene) -> Result<String> {
    let branches = ["two", "one", "both"].map(|branch| scene.clone().below(branch));
    let mut subscriber = scene.join("subscriber", &[]).await?;
    for branch in &branches {
        branch
            .await_with(&mut subscriber, &[branch.wish("a").qos(1)])
            .await?;
    }
    let mut publisher = scene.publisher().await?;
    let messages: Vec<Message> = (0..600)
        .zip(branches.iter().cycle())
        .map(|(number, branch)| branch.message("a", &number.to_string()).qos(1))
        .collect();
    publisher.publish_all(&messages).await?;
    let mut got = Vec::new();
    while got.len() < messages.len() {
        got.push(subscriber.receive().await?);
    }
    if got
        .iter()
        .map(|one| one.text())
        .eq(messages.iter().map(Message::text))
    {
        return Ok("in order".to_owned());
    }
    for branch in &branches {
        let topic = branch.topic("a");
        let arrived = got.iter().filter(|one| one.topic == topic).map(|one| one.text());
        let sent = messages
            .iter()
            .filter(|one| one.topic == topic)
            .map(Message::text);
        if !arrived.eq(sent) {
            return Ok(format!("{topic} is out of order"));
        }
    }
    Ok("in order within each Topic".to_owned())
}

async fn unsubscribe(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let before = scene
        .pass(&[scene.message("a", "1")], &mut publisher, &mut subscriber)
        .await?;
    subscriber.unsubscribe(&scene.topic("a")).await?;
    let after = scene
        .pass(&[scene.message("a", "2")], &mut publisher, &mut subscriber)
        .await?;
    Ok(match (before.len(), after.len()) {
        (1, 0) => "does not arrive".to_owned(),
        (before, after) => format!("{before} before, {after} after"),
    })
}

async fn nobody(scene: Scene) -> Result<String> {
    let mut publisher = scene.publisher().await?;
    let reason = publisher.publish(&scene.message("nobody", "1").qos(1)).await?;
    Ok(match scene.version {
        Version::Three => "acknowledged".to_owned(),
        Version::Five => format!("acknowledged: {}", reason_name(reason)),
    })
}
