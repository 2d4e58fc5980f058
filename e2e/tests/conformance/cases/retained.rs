//! Retained messages: what a late subscriber gets.

use anyhow::Result;

use crate::case::{Case, Why};
use crate::client::Client;
use crate::packet::{Message, Received, Version, Wish};
use crate::scene::{Scene, list};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "late",
            "a late subscriber",
            "QoS 0, 1, 2, each with the retain flag",
            |scene| Box::pin(late(scene)),
        ),
        Case::new(
            "live",
            "a retained message, to who subscribed before",
            "without the retain flag",
            |scene| Box::pin(live(scene, None)),
        ),
        Case::new(
            "as-published",
            "a retained message, to who subscribed before with *retain as published*",
            "with the retain flag",
            |scene| {
                let wish = scene.wish("a").retain_as_published();
                Box::pin(live(scene, Some(wish)))
            },
        )
        .only(Version::Five),
        Case::new(
            "replaced",
            "a value that was replaced, to a late subscriber",
            "new",
            |scene| Box::pin(kept(scene, &["old", "new"])),
        ),
        Case::new(
            "cleared",
            "a value that was cleared, to a late subscriber",
            "nothing",
            |scene| Box::pin(kept(scene, &["old", ""])),
        ),
        Case::new(
            "cleared-live",
            "a value that is cleared, to who subscribed before",
            "an empty message without the retain flag",
            |scene| Box::pin(cleared_live(scene)),
        ),
        Case::new(
            "not-retained",
            "a message without the retain flag after a value, to a late subscriber",
            "the value",
            |scene| Box::pin(not_retained(scene)),
        ),
        Case::new(
            "retained-outwards",
            "on a Topic that flows both ways, a value from the smaller broker name, to a late subscriber at the greater",
            "kept",
            |scene| Box::pin(kept(scene.below("both"), &["kept"])),
        )
        .federation("nothing", Why::BothWays),
        Case::new(
            "retained-inwards",
            "on a Topic that flows both ways, a value from the greater broker name, to a late subscriber at the smaller",
            "kept",
            |scene| Box::pin(kept(scene.backwards(), &["kept"])),
        ),
        Case::new(
            "newer-outwards",
            "the same after an earlier value from the greater name",
            "newer",
            |scene| Box::pin(newer(scene.below("both"), "newer")),
        )
        .federation("older", Why::BothWays),
        Case::new(
            "newer-inwards",
            "the same after an earlier value from the smaller name",
            "newer",
            |scene| Box::pin(newer(scene.backwards(), "newer")),
        ),
        Case::new(
            "cleared-outwards",
            "the same where the smaller name clears that earlier value",
            "nothing",
            |scene| Box::pin(newer(scene.below("both"), "")),
        )
        .federation("older", Why::BothWays),
        Case::new(
            "handling",
            "*retain handling* 0, 1 and 2, each subscribed twice",
            "2, 1 and 0 copies of a value",
            |scene| Box::pin(handling(scene)),
        )
        .only(Version::Five),
        Case::new(
            "retained-expires",
            "a value with a message expiry of 1 s, to a subscriber 2.5 s later",
            "nothing",
            |scene| Box::pin(expires(scene)),
        )
        .only(Version::Five)
        .federation("the value", Why::RetainedExpiry),
    ]
}

fn flags(got: &[Received]) -> String {
    match got.iter().map(|one| one.retain).collect::<Vec<_>>().as_slice() {
        [] => "nothing".to_owned(),
        flags if flags.iter().all(|flag| *flag) => "with the retain flag".to_owned(),
        flags if flags.iter().all(|flag| !flag) => "without the retain flag".to_owned(),
        flags => format!("{flags:?}"),
    }
}

/// Publishes retained messages, and waits until they are at the other end.
async fn set(scene: &Scene, messages: &[Message]) -> Result<()> {
    let mut witness = scene.join("witness", &[]).await?;
    let mut publisher = scene.publisher().await?;
    scene.pass(messages, &mut publisher, &mut witness).await?;
    publisher.disconnect().await
}

/// What somebody who subscribes now gets of retained messages: a broker sends them before anything later.
async fn come_late(scene: &Scene, wish: &Wish) -> Result<Vec<Received>> {
    let mut subscriber = scene.subscriber(std::slice::from_ref(wish)).await?;
    let mut publisher = scene.publisher().await?;
    scene.collect(&mut publisher, &mut subscriber).await
}

async fn late(scene: Scene) -> Result<String> {
    let messages = [0, 1, 2].map(|qos| {
        let payload = qos.to_string();
        scene
            .message(&format!("kept/{qos}"), &payload)
            .qos(qos)
            .retained()
    });
    set(&scene, &messages).await?;
    let mut got = come_late(&scene, &scene.wish("kept/#")).await?;
    got.sort_by(|one, other| one.topic.cmp(&other.topic));
    let qualities = list(got.iter().map(|one| one.qos.to_string()));
    Ok(match flags(&got).as_str() {
        "with the retain flag" => format!("QoS {qualities}, each with the retain flag"),
        other => format!("QoS {qualities}, {other}"),
    })
}

async fn live(scene: Scene, wish: Option<Wish>) -> Result<String> {
    let wish = wish.unwrap_or_else(|| scene.wish("a"));
    let mut subscriber = scene.subscriber(&[wish]).await?;
    let mut publisher = scene.publisher().await?;
    let message = scene.message("a", "1").retained();
    let got = scene.pass(&[message], &mut publisher, &mut subscriber).await?;
    Ok(flags(&got))
}

async fn kept(scene: Scene, values: &[&str]) -> Result<String> {
    let messages: Vec<Message> = values
        .iter()
        .map(|value| scene.message("a", value).retained())
        .collect();
    set(&scene, &messages).await?;
    let got = come_late(&scene, &scene.wish("a")).await?;
    Ok(list(got.iter().map(|one| one.text())))
}

/// A value that was set there, then anew here, to a late subscriber there.
async fn newer(scene: Scene, value: &str) -> Result<String> {
    let mut here = Client::connect(&scene.here, &scene.hello("here")).await?;
    here.subscribe(&scene.wish("a")).await?;
    let mut there = Client::connect(&scene.there, &scene.hello("there")).await?;
    there.publish(&scene.message("a", "older").retained()).await?;
    // Only once it is here may it be followed: else both are under way at once.
    here.receive().await?;
    set(&scene, &[scene.message("a", value).retained()]).await?;
    let got = come_late(&scene, &scene.wish("a")).await?;
    Ok(list(got.iter().map(|one| one.text())))
}

async fn cleared_live(scene: Scene) -> Result<String> {
    set(&scene, &[scene.message("a", "old").retained()]).await?;
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let message = scene.message("a", "").retained();
    let got = scene.pass(&[message], &mut publisher, &mut subscriber).await?;
    Ok(match got.as_slice() {
        [old, cleared] if old.retain && cleared.payload.is_empty() => {
            format!("an empty message {}", flags(std::slice::from_ref(cleared)))
        }
        other => format!("{other:?}"),
    })
}

async fn not_retained(scene: Scene) -> Result<String> {
    let messages = [
        scene.message("a", "the value").retained(),
        scene.message("a", "something"),
    ];
    set(&scene, &messages).await?;
    let got = come_late(&scene, &scene.wish("a")).await?;
    Ok(list(got.iter().map(|one| one.text())))
}

async fn handling(scene: Scene) -> Result<String> {
    set(&scene, &[scene.message("a", "1").retained()]).await?;
    let wish = || scene.wish("a");
    let mut counts = Vec::new();
    for (role, wish) in [
        ("every", wish()),
        ("new", wish().retained_if_new()),
        ("none", wish().none_retained()),
    ] {
        let mut subscriber = scene.join(role, &[wish.clone(), wish]).await?;
        let mut publisher = scene.publisher().await?;
        let got = scene.collect(&mut publisher, &mut subscriber).await?;
        publisher.disconnect().await?;
        counts.push(got.len());
    }
    Ok(format!(
        "{}, {} and {} copies of a value",
        counts[0], counts[1], counts[2]
    ))
}

async fn expires(scene: Scene) -> Result<String> {
    let mut message = scene.message("a", "the value").retained();
    message.properties.message_expiry_interval = Some(1);
    set(&scene, &[message]).await?;
    // Time is what makes it expire, and brokers count in whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    let got = come_late(&scene, &scene.wish("a")).await?;
    Ok(list(got.iter().map(|one| one.text())))
}
