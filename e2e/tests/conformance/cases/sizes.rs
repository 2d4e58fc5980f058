//! What a message may be made of: any bytes, none, very many; long and strange topics.

use anyhow::Result;
use bytes::Bytes;

use crate::case::{Case, Why};
use crate::client::{End, reason_name};
use crate::packet::{Message, Received, Version};
use crate::scene::{Scene, list};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("bytes", "a payload of each byte there is", "unchanged", |scene| {
            Box::pin(bytes(scene))
        }),
        Case::new("empty", "a payload of no bytes", "0 bytes arrive", |scene| {
            Box::pin(empty(scene))
        }),
        Case::new(
            "large",
            "a payload of 1,900,000 bytes",
            "1900000 bytes arrive",
            |scene| Box::pin(large(scene, 1_900_000)),
        ),
        Case::new(
            "larger-3",
            "a payload of 5,000,000 bytes",
            "the publisher is disconnected",
            |scene| Box::pin(large(scene, 5_000_000)),
        )
        .only(Version::Three)
        .oldest("5000000 bytes arrive")
        .federation("5000000 bytes arrive", Why::Sizes),
        Case::new(
            "larger-5",
            "a payload of 5,000,000 bytes",
            "the publisher is disconnected: packet too large",
            |scene| Box::pin(large(scene, 5_000_000)),
        )
        .only(Version::Five)
        .oldest("5000000 bytes arrive")
        .federation("5000000 bytes arrive", Why::Sizes),
        Case::new(
            "long-topic",
            "a topic of 65,535 bytes",
            "arrives under 65535 bytes",
            |scene| Box::pin(long_topic(scene)),
        ),
        Case::new(
            "characters",
            "a topic with a space and characters of two to four bytes",
            "arrives unchanged",
            |scene| Box::pin(characters(scene)),
        ),
    ]
}

async fn bytes(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let message = Message::new(scene.topic("a"), all.clone());
    let got = scene.pass(&[message], &mut publisher, &mut subscriber).await?;
    Ok(if got.len() == 1 && got[0].payload == all {
        "unchanged".to_owned()
    } else {
        format!("{got:?}")
    })
}

async fn empty(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let got = scene
        .pass(&[scene.message("a", "")], &mut publisher, &mut subscriber)
        .await?;
    Ok(lengths(&got))
}

fn lengths(got: &[Received]) -> String {
    format!(
        "{} bytes arrive",
        list(got.iter().map(|one| one.payload.len().to_string()))
    )
}

async fn large(scene: Scene, length: usize) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let message = Message::new(scene.topic("a"), Bytes::from(vec![b'x'; length])).qos(1);
    match publisher.publish_or_end(&message).await? {
        Some(End::Closed) => return Ok("the publisher is disconnected".to_owned()),
        Some(End::Reason(reason)) => {
            return Ok(format!("the publisher is disconnected: {}", reason_name(reason)));
        }
        None => {}
    }
    Ok(lengths(&scene.collect(&mut publisher, &mut subscriber).await?))
}

async fn long_topic(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("long/#")]).await?;
    let mut publisher = scene.publisher().await?;
    let mut topic = scene.topic("long/");
    topic.push_str(&"x".repeat(65_535 - topic.len()));
    let message = Message::new(&topic, "1");
    let got = scene.pass(&[message], &mut publisher, &mut subscriber).await?;
    let same = got.iter().all(|one| one.topic == topic);
    let lengths = list(got.iter().map(|one| one.topic.len().to_string()));
    Ok(format!(
        "arrives under {}{lengths} bytes",
        if same { "" } else { "other " }
    ))
}

async fn characters(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("+/#")]).await?;
    let mut publisher = scene.publisher().await?;
    let message = scene.message("glass house/Öl/温度/🌱", "1");
    let got = scene
        .pass(std::slice::from_ref(&message), &mut publisher, &mut subscriber)
        .await?;
    let same = got.len() == 1 && got[0].topic == message.topic;
    Ok(if same {
        "arrives unchanged".to_owned()
    } else {
        format!("{got:?}")
    })
}
