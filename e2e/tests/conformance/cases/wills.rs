//! Wills: when a broker publishes them, and how they travel.

use std::time::Instant;

use anyhow::Result;

use crate::case::{Case, Why};
use crate::client::{Client, End, reason_name};
use crate::packet::{Hello, Version};
use crate::scene::{Scene, list, payloads};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "broken",
            "a will with QoS 2 when the connection breaks",
            "published with QoS 2",
            |scene| Box::pin(broken(scene)),
        ),
        Case::new(
            "disconnect",
            "a will when the client sends DISCONNECT",
            "nothing",
            |scene| Box::pin(disconnect(scene, 0)),
        ),
        Case::new(
            "disconnect-with-will",
            "a will when the client sends DISCONNECT *with will message*",
            "published",
            |scene| Box::pin(disconnect(scene, 4)),
        )
        .only(Version::Five),
        Case::new(
            "retained-will",
            "a retained will, to a late subscriber",
            "with the retain flag",
            |scene| Box::pin(retained(scene)),
        ),
        Case::new(
            "keep-alive",
            "a client with a keep alive of 1 s says nothing",
            "closed, its will published",
            |scene| Box::pin(keep_alive(scene)),
        ),
        Case::new(
            "taken-over",
            "a will when its client id, with a clean session, connects a second time",
            "published",
            |scene| Box::pin(taken_over(scene, false)),
        ),
        Case::new(
            "taken-over-durable",
            "a will when its client id, with a durable session, connects a second time",
            "nothing",
            |scene| Box::pin(taken_over(scene, true)),
        ),
        Case::new(
            "delayed",
            "a will with a delay of 2 s",
            "published after its delay",
            |scene| Box::pin(delayed(scene)),
        )
        .only(Version::Five),
        Case::new(
            "returned",
            "a will with a delay of 2 s when the client returns at once",
            "nothing",
            |scene| Box::pin(returned(scene)),
        )
        .only(Version::Five),
        Case::new(
            "will-properties",
            "a user property of a will",
            "unit=celsius",
            |scene| Box::pin(properties(scene)),
        )
        .only(Version::Five)
        .federation("nothing", Why::Bridges),
    ]
}

/// A client with a will, where messages are published.
fn mortal(scene: &Scene) -> Hello {
    scene.hello("mortal").will(scene.message("will", "published"))
}

async fn broken(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    Client::connect(&scene.here, &mortal(&scene)).await?.break_off();
    let will = subscriber.receive().await?;
    Ok(format!("{} with QoS {}", will.text(), will.qos))
}

async fn disconnect(scene: Scene, reason: u8) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    let client = Client::connect(&scene.here, &mortal(&scene)).await?;
    client.disconnect_with(reason).await?;
    let mut publisher = scene.publisher().await?;
    Ok(payloads(&scene.collect(&mut publisher, &mut subscriber).await?))
}

async fn retained(scene: Scene) -> Result<String> {
    let mut witness = scene.join("witness", &[scene.wish("will")]).await?;
    let hello = scene.hello("mortal").will(scene.message("will", "1").retained());
    Client::connect(&scene.here, &hello).await?.break_off();
    witness.receive().await?;
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    let flag = subscriber.receive().await?.retain;
    Ok(if flag {
        "with the retain flag"
    } else {
        "without the retain flag"
    }
    .to_owned())
}

async fn keep_alive(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    let mut client = Client::connect(&scene.here, &mortal(&scene).keep_alive(1)).await?;
    let end = match client.ended().await? {
        End::Closed => String::new(),
        End::Reason(reason) => format!(" ({})", reason_name(reason)),
    };
    Ok(format!(
        "closed{end}, its will {}",
        subscriber.receive().await?.text()
    ))
}

async fn taken_over(scene: Scene, durable: bool) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    let hello = if durable {
        mortal(&scene).durable()
    } else {
        mortal(&scene)
    };
    let mut first = Client::connect(&scene.here, &hello).await?;
    let _second = Client::connect(&scene.here, &hello).await?;
    first.ended().await?;
    let mut publisher = scene.publisher().await?;
    Ok(payloads(&scene.collect(&mut publisher, &mut subscriber).await?))
}

async fn delayed(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    let hello = mortal(&scene).expiry(60).will_delay(2);
    let start = Instant::now();
    Client::connect(&scene.here, &hello).await?.break_off();
    let will = subscriber.receive().await?;
    // Brokers count in whole seconds: of two, 2.1 may leave out up to one.
    let waited = start.elapsed().as_millis() >= 500;
    Ok(format!(
        "{} {} its delay",
        will.text(),
        if waited { "after" } else { "before" }
    ))
}

async fn returned(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("#")]).await?;
    let hello = mortal(&scene).expiry(60).will_delay(2);
    Client::connect(&scene.here, &hello).await?.break_off();
    let _again = Client::connect(&scene.here, &hello).await?;
    // A will with a longer delay that comes says that the other would have come.
    let later = scene.hello("later").expiry(60).will_delay(3);
    let later = later.will(scene.message("later", "1"));
    Client::connect(&scene.here, &later).await?.break_off();
    let mut got = Vec::new();
    loop {
        let received = subscriber.receive().await?;
        if received.topic == scene.topic("later") {
            return Ok(payloads(&got));
        }
        got.push(received);
    }
}

async fn properties(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("will")]).await?;
    let mut will = scene.message("will", "published");
    will.properties.user_properties = vec![("unit".to_owned(), "celsius".to_owned())];
    let hello = scene.hello("mortal").will(will);
    Client::connect(&scene.here, &hello).await?.break_off();
    let will = subscriber.receive().await?;
    let pairs = will.properties.user_properties.iter();
    Ok(list(pairs.map(|(key, value)| format!("{key}={value}"))))
}
