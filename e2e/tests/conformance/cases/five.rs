//! What only 5.0 has, and no other file.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;

use crate::case::{Case, Play, Why};
use crate::client::Client;
use crate::packet::{Message, Properties, Version};
use crate::scene::{Scene, list, payloads};

pub(crate) fn cases() -> Vec<Case> {
    let case = |name, behaviour, one, play: fn(Scene) -> Play| {
        Case::new(name, behaviour, one, play).only(Version::Five)
    };
    vec![
        case(
            "user-properties",
            "user properties",
            "unit=celsius, unit=kelvin",
            |scene| Box::pin(user_properties(scene)),
        )
        .federation("nothing", Why::Bridges),
        case(
            "descriptions",
            "content type and payload format indicator",
            "text/plain, 1",
            |scene| Box::pin(descriptions(scene)),
        )
        .federation("nothing", Why::Bridges),
        case(
            "request",
            "response topic and correlation data",
            "answer/here, 7",
            |scene| Box::pin(request(scene)),
        )
        .federation("nothing", Why::Bridges),
        case(
            "alias",
            "two messages, the second by topic alias alone",
            "1, 2",
            |scene| Box::pin(alias(scene)),
        ),
        case(
            "expiry-told",
            "message expiry of 600 s, to a subscriber that is there",
            "at most 600 s left",
            |scene| Box::pin(expiry_told(scene)),
        )
        .federation("no expiry", Why::Bridges),
        case(
            "expired",
            "a message with an expiry of 1 s for a durable subscriber that returns after 2.5 s",
            "nothing",
            |scene| Box::pin(expired(scene)),
        )
        .federation("late", Why::ExpiryStops),
        case("no-local", "*no local*, and an own message", "nothing", |scene| {
            Box::pin(no_local(scene.below("both")))
        }),
        case(
            "no-local-apart",
            "*no local*, and an own message from an earlier connection at the other end",
            "nothing",
            |scene| Box::pin(no_local_apart(scene)),
        )
        .federation("own", Why::NoLocal),
    ]
}

/// What arrives of a message with these properties.
async fn properties(scene: &Scene, properties: Properties) -> Result<Properties> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let mut message = scene.message("a", "1");
    message.properties = properties;
    publisher.publish(&message).await?;
    Ok(subscriber.receive().await?.properties.clone())
}

async fn user_properties(scene: Scene) -> Result<String> {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let sent = Properties {
        user_properties: vec![pair("unit", "celsius"), pair("unit", "kelvin")],
        ..Properties::default()
    };
    let got = properties(&scene, sent).await?;
    let pairs = got.user_properties.iter();
    Ok(list(pairs.map(|(key, value)| format!("{key}={value}"))))
}

async fn descriptions(scene: Scene) -> Result<String> {
    let sent = Properties {
        content_type: Some("text/plain".to_owned()),
        payload_format_indicator: Some(1),
        ..Properties::default()
    };
    let got = properties(&scene, sent).await?;
    let format = got.payload_format_indicator.map(|one| one.to_string());
    Ok(list(got.content_type.into_iter().chain(format)))
}

async fn request(scene: Scene) -> Result<String> {
    let sent = Properties {
        response_topic: Some("answer/here".to_owned()),
        correlation_data: Some(Bytes::from_static(b"7")),
        ..Properties::default()
    };
    let got = properties(&scene, sent).await?;
    let data = got
        .correlation_data
        .map(|data| String::from_utf8_lossy(&data).into_owned());
    Ok(list(got.response_topic.into_iter().chain(data)))
}

async fn alias(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let mut messages = [scene.message("a", "1"), Message::new("", "2")];
    for message in &mut messages {
        message.properties.topic_alias = Some(1);
    }
    let got = scene.pass(&messages, &mut publisher, &mut subscriber).await?;
    Ok(payloads(&got))
}

async fn expiry_told(scene: Scene) -> Result<String> {
    let sent = Properties {
        message_expiry_interval: Some(600),
        ..Properties::default()
    };
    Ok(match properties(&scene, sent).await?.message_expiry_interval {
        None => "no expiry".to_owned(),
        Some(left) if (500..=600).contains(&left) => "at most 600 s left".to_owned(),
        Some(left) => format!("{left} s left"),
    })
}

async fn expired(scene: Scene) -> Result<String> {
    let hello = scene.hello("subscriber").durable();
    let mut subscriber = Client::connect(&scene.there, &hello).await?;
    scene.await_with(&mut subscriber, &[scene.wish("a")]).await?;
    subscriber.disconnect().await?;
    let mut witness = scene.join("witness", &[]).await?;
    let mut publisher = scene.publisher().await?;
    let mut message = scene.message("a", "late");
    message.properties.message_expiry_interval = Some(1);
    scene.pass(&[message], &mut publisher, &mut witness).await?;
    // Time is what makes it expire, and brokers count in whole seconds.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let mut again = Client::connect(&scene.there, &hello).await?;
    Ok(payloads(&scene.collect(&mut publisher, &mut again).await?))
}

async fn no_local(scene: Scene) -> Result<String> {
    let mut client = Client::connect(&scene.here, &scene.hello("client")).await?;
    scene
        .await_with(&mut client, &[scene.wish("a").no_local()])
        .await?;
    // It has been at the other end when somebody there has it.
    let mut witness = scene.join("witness", &[scene.wish("a")]).await?;
    client.publish(&scene.message("a", "own")).await?;
    witness.receive().await?;
    // An echo would be back before what comes from there now.
    let end = scene.end(&mut witness).await?;
    Ok(payloads(&client.until(&end).await?))
}

async fn no_local_apart(scene: Scene) -> Result<String> {
    let hello = scene.hello("client").durable();
    let mut client = Client::connect(&scene.there, &hello).await?;
    scene
        .await_with(&mut client, &[scene.wish("a").no_local()])
        .await?;
    client.disconnect().await?;
    let mut elsewhere = Client::connect(&scene.here, &hello).await?;
    elsewhere.publish(&scene.message("a", "own")).await?;
    elsewhere.disconnect().await?;
    let mut publisher = scene.publisher().await?;
    let mut again = Client::connect(&scene.there, &hello).await?;
    Ok(payloads(&scene.collect(&mut publisher, &mut again).await?))
}
