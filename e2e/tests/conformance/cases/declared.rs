//! Which brokers a message reaches at all.

use anyhow::Result;

use crate::case::{Case, Why};
use crate::client::Client;
use crate::packet::{Message, Wish};
use crate::scene::{Scene, list, payloads};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "declared",
            "a message on a declared topic",
            "arrives once",
            |scene| Box::pin(declared(scene)),
        ),
        Case::new(
            "undeclared",
            "a message on a topic that nobody declared",
            "arrives",
            |scene| Box::pin(undeclared(scene)),
        )
        .quiet()
        .federation("stays at its broker", Why::Declared),
        Case::new(
            "against",
            "a message that is published where the Topic only has a consumer",
            "arrives at both ends",
            |scene| Box::pin(against(scene)),
        )
        .federation("stays at its broker", Why::Direction),
        Case::new(
            "both-ways",
            "messages on a topic that both ends produce and consume",
            "each end gets 1, 2, once each",
            |scene| Box::pin(both_ways(scene)),
        ),
        Case::new(
            "system-topics",
            "`$SYS` while 20,000 messages reach one broker",
            "counted at both ends",
            |scene| Box::pin(system_topics(scene)),
        )
        .quiet()
        .federation("counted at its broker only", Why::OwnCounters),
    ]
}

async fn declared(scene: Scene) -> Result<String> {
    let mut subscriber = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    let got = scene
        .pass(&[scene.message("a", "once")], &mut publisher, &mut subscriber)
        .await?;
    Ok(format!("arrives {}", payloads(&got)))
}

async fn undeclared(scene: Scene) -> Result<String> {
    // Whoever subscribes everything is sent it, too, if it is there.
    let mut subscriber = scene.subscriber(&[Wish::new("#")]).await?;
    let mut publisher = scene.publisher().await?;
    let topic = scene.clone().below("undeclared").topic("a");
    let message = Message::new(&topic, "1");
    let got = scene.pass(&[message], &mut publisher, &mut subscriber).await?;
    let arrives = got.iter().any(|one| one.topic == topic);
    Ok(if arrives { "arrives" } else { "stays at its broker" }.to_owned())
}

async fn against(scene: Scene) -> Result<String> {
    let mut producing = Client::connect(&scene.here, &scene.hello("here")).await?;
    scene.await_with(&mut producing, &[scene.wish("a")]).await?;
    let mut consuming = scene.subscriber(&[scene.wish("a")]).await?;
    let mut publisher = Client::connect(&scene.there, &scene.hello("against")).await?;
    publisher.publish(&scene.message("a", "1")).await?;
    let stays = consuming.receive().await?.text() == "1";
    // What goes that way at all says that the message would have been here by now. It is of another Topic, so of another
    // link; but the message was at its broker before.
    let other = scene.clone().below("both");
    producing.subscribe(&other.wish("end")).await?;
    let end = other.end(&mut publisher).await?;
    let goes = producing.until(&end).await?.iter().any(|one| one.text() == "1");
    Ok(match (stays, goes) {
        (true, true) => "arrives at both ends",
        (true, false) => "stays at its broker",
        _ => "is lost",
    }
    .to_owned())
}

async fn both_ways(scene: Scene) -> Result<String> {
    let scene = scene.below("both");
    let mut one = Client::connect(&scene.here, &scene.hello("one")).await?;
    let mut other = Client::connect(&scene.there, &scene.hello("other")).await?;
    scene.await_with(&mut one, &[scene.wish("a")]).await?;
    scene.await_with(&mut other, &[scene.wish("a")]).await?;
    one.publish(&scene.message("a", "1")).await?;
    other.publish(&scene.message("a", "2")).await?;
    let mut both = [Vec::new(), Vec::new()];
    for (client, got) in [&mut one, &mut other].into_iter().zip(&mut both) {
        got.extend([client.receive().await?, client.receive().await?]);
    }
    // An echo would be back before what comes from there now.
    let ends = [scene.end(&mut one).await?, scene.end(&mut other).await?];
    both[0].extend(one.until(&ends[1]).await?);
    both[1].extend(other.until(&ends[0]).await?);
    let seen = both.map(|mut got| {
        // Their order differs from end to end.
        got.retain(|message| message.topic == scene.topic("a"));
        got.sort_by_key(|message| message.text());
        payloads(&got)
    });
    Ok(if seen[0] == seen[1] {
        format!("each end gets {}, once each", seen[0])
    } else {
        format!("one end gets {}, the other {}", seen[0], seen[1])
    })
}

async fn system_topics(scene: Scene) -> Result<String> {
    const COUNT: u64 = 20_000;
    const COUNTER: &str = "$SYS/broker/publish/messages/received";
    let mut publisher = scene.publisher().await?;
    // Not matched by `#`: whoever subscribes that would not get anything else in time.
    let local = scene.clone().below("$local");
    let messages: Vec<Message> = (0..COUNT).map(|_| local.message("a", "1").qos(0)).collect();
    publisher.publish_all(&messages).await?;
    let mut here = Client::connect(&scene.here, &scene.hello("here")).await?;
    here.subscribe(&Wish::new(COUNTER)).await?;
    while here.receive().await?.text().parse::<u64>()? < COUNT {}
    let mut there = Client::connect(&scene.there, &scene.hello("there")).await?;
    there.subscribe(&Wish::new(COUNTER)).await?;
    // The first is what it last told. The next, for which something must change, is from after the other broker told. 2.0
    // does not count QoS 2 here.
    there.receive().await?;
    there.publish(&local.message("a", "1").qos(0)).await?;
    let counted = there.receive().await?.text().parse::<u64>()? >= COUNT;
    let wishes = [Wish::new("+/broker/version"), Wish::new("#")];
    let mut wildcard = scene.subscriber(&wishes).await?;
    let got = scene.collect(&mut publisher, &mut wildcard).await?;
    let strays = got
        .iter()
        .filter(|one| one.topic.starts_with('$'))
        .map(|one| one.topic.clone());
    let strays: Vec<String> = strays.collect();
    if !strays.is_empty() {
        return Ok(format!("wildcards match {}", list(strays)));
    }
    Ok(if counted {
        "counted at both ends"
    } else {
        "counted at its broker only"
    }
    .to_owned())
}
