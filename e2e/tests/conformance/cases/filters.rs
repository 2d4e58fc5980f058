//! What filters match, and several subscriptions for one message.

use anyhow::Result;

use crate::case::{Case, Why};
use crate::client::Client;
use crate::packet::{Message, Received, Version, Wish};
use crate::scene::{Scene, list, payloads};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "plus",
            "`x/+/z` against `x/y/z`, `x//z`, `x/y/y/z` and `x/z`",
            "x/y/z, x//z",
            |scene| Box::pin(matching(scene, "x/+/z", &["x/y/z", "x//z", "x/y/y/z", "x/z"])),
        ),
        Case::new(
            "hash",
            "`x/#` against `x`, `x/`, `x/y/z`, `xy` and `y/x`",
            "x, x/, x/y/z",
            |scene| Box::pin(matching(scene, "x/#", &["x", "x/", "x/y/z", "xy", "y/x"])),
        ),
        Case::new(
            "empty-levels",
            "`+/+/` against `x//`, `x/y/`, `x/y` and `x/y//`",
            "x//, x/y/",
            |scene| Box::pin(matching(scene, "+/+/", &["x//", "x/y/", "x/y", "x/y//"])),
        ),
        Case::new(
            "leading-slash",
            "`finance`, `/finance`, `+`, `/+`, `+/finance` and `+/+` against `/finance` and `finance`",
            "finance: finance; /finance: /finance; +: finance; /+: /finance; +/finance: /finance; +/+: /finance",
            |scene| Box::pin(leading_slash(scene)),
        ),
        Case::new(
            "dollar",
            "`#`, `+/status` and `$unit/#` against `$unit/status`",
            "$unit/#",
            |scene| Box::pin(dollar(scene)),
        )
        .quiet()
        .federation("nothing", Why::Declared),
        Case::new(
            "overlapping-3",
            "overlapping subscriptions of one client, with QoS 0 and 1, to a message with QoS 2",
            "two copies, QoS 0, 1",
            |scene| Box::pin(overlapping(scene)),
        )
        .only(Version::Three)
        .oldest("one copy, QoS 1")
        .federation("one copy, QoS 1", Why::OneCopy),
        Case::new(
            "overlapping-5",
            "overlapping subscriptions of one client, with QoS 0 and 1, to a message with QoS 2",
            "two copies, QoS 0, 1",
            |scene| Box::pin(overlapping(scene)),
        )
        .only(Version::Five),
        Case::new(
            "clients",
            "a message for two subscribers of the same filter",
            "each gets one",
            |scene| Box::pin(clients(scene)),
        ),
        Case::new(
            "identifiers",
            "subscription identifiers 1 and 2 of overlapping subscriptions",
            "one copy with 1, one with 2",
            |scene| Box::pin(identifiers(scene)),
        )
        .only(Version::Five),
        Case::new(
            "shared",
            "30 messages for two members of a shared subscription at one end",
            "30 in all, each member has some",
            |scene| Box::pin(shared(scene, false)),
        ),
        Case::new(
            "shared-apart",
            "30 messages for two members of a shared subscription, one at each end",
            "30 in all, each member has some",
            |scene| Box::pin(shared(scene, true)),
        )
        .federation("60 in all, each member has some", Why::OwnGroups),
    ]
}

/// Which of some topics a filter matches; both are below a level of the case's own.
async fn matching(scene: Scene, filter: &str, topics: &[&str]) -> Result<String> {
    // What the filter does not match is dropped at the last broker and not before.
    let own = |tail: &str| format!("t/{tail}");
    let mut subscriber = scene.subscriber(&[scene.wish(&own(filter))]).await?;
    let mut publisher = scene.publisher().await?;
    let messages: Vec<Message> = topics
        .iter()
        .map(|topic| scene.message(&own(topic), topic))
        .collect();
    let got = scene.pass(&messages, &mut publisher, &mut subscriber).await?;
    Ok(payloads(&got))
}

async fn leading_slash(scene: Scene) -> Result<String> {
    // Cases of both versions use these two topics; the payload tells which is whose.
    const TOPICS: [&str; 2] = ["/finance", "finance"];
    let own = scene.topic("own");
    let mut witness = scene.join("witness", &TOPICS.map(Wish::new)).await?;
    let mut subscribers = Vec::new();
    for filter in ["finance", "/finance", "+", "/+", "+/finance", "+/+"] {
        let role = format!("subscriber-{}", filter.replace('/', "s").replace('+', "p"));
        subscribers.push((filter, scene.join(&role, &[Wish::new(filter)]).await?));
    }
    let mut publisher = scene.publisher().await?;
    for topic in TOPICS {
        publisher
            .publish(&Message::new(topic, own.clone()).qos(1))
            .await?;
    }
    // The two go by links of their own. When both are at the last broker, so is whatever they are sent on as.
    let mut arrived = 0;
    while arrived < TOPICS.len() {
        arrived += usize::from(witness.receive().await?.text() == own);
    }
    let end = scene.end(&mut publisher).await?;
    let mut seen = Vec::new();
    for (filter, subscriber) in &mut subscribers {
        let got = subscriber.until(&end).await?;
        let ours = got.iter().filter(|one| one.text() == own);
        seen.push(format!("{filter}: {}", list(ours.map(|one| one.topic.clone()))));
    }
    Ok(seen.join("; "))
}

async fn dollar(scene: Scene) -> Result<String> {
    let mut subscribers = Vec::new();
    for (filter, role) in [("#", "all"), ("+/status", "plus"), ("$unit/#", "direct")] {
        subscribers.push((filter, scene.join(role, &[Wish::new(filter)]).await?));
    }
    let mut publisher = scene.publisher().await?;
    publisher
        .publish(&Message::new("$unit/status", scene.topic("own")))
        .await?;
    let end = scene.end(&mut publisher).await?;
    let mut matching = Vec::new();
    for (filter, subscriber) in &mut subscribers {
        let got = subscriber.until(&end).await?;
        if got.iter().any(|one| one.text() == scene.topic("own")) {
            matching.push((*filter).to_owned());
        }
    }
    Ok(list(matching))
}

async fn overlapping(scene: Scene) -> Result<String> {
    let wishes = [scene.wish("t/#").qos(0), scene.wish("t/+").qos(1)];
    let mut subscriber = scene.subscriber(&wishes).await?;
    let mut publisher = scene.publisher().await?;
    let mut got = scene
        .pass(&[scene.message("t/a", "1")], &mut publisher, &mut subscriber)
        .await?;
    got.sort_by_key(|one| one.qos);
    let count = match got.len() {
        1 => "one copy".to_owned(),
        2 => "two copies".to_owned(),
        count => format!("{count} copies"),
    };
    Ok(format!(
        "{count}, QoS {}",
        list(got.iter().map(|one| one.qos.to_string()))
    ))
}

async fn clients(scene: Scene) -> Result<String> {
    let mut one = scene.join("one", &[scene.wish("a")]).await?;
    let mut other = scene.join("other", &[scene.wish("a")]).await?;
    let mut publisher = scene.publisher().await?;
    publisher.publish(&scene.message("a", "one")).await?;
    let end = scene.end(&mut publisher).await?;
    let (one, other) = (one.until(&end).await?, other.until(&end).await?);
    Ok(if payloads(&one) == payloads(&other) {
        format!("each gets {}", payloads(&one))
    } else {
        format!("{} and {}", payloads(&one), payloads(&other))
    })
}

async fn identifiers(scene: Scene) -> Result<String> {
    let wishes = [scene.wish("t/#").identifier(1), scene.wish("t/+").identifier(2)];
    let mut subscriber = scene.subscriber(&wishes).await?;
    let mut publisher = scene.publisher().await?;
    let got = scene
        .pass(&[scene.message("t/a", "1")], &mut publisher, &mut subscriber)
        .await?;
    let identifiers = |one: &Received| {
        let numbers = one.properties.subscription_identifiers.iter();
        list(numbers.map(ToString::to_string))
    };
    let mut seen: Vec<String> = got.iter().map(identifiers).collect();
    seen.sort();
    Ok(format!("one copy with {}", seen.join(", one with ")))
}

async fn shared(scene: Scene, apart: bool) -> Result<String> {
    const COUNT: usize = 30;
    let wish = Wish::new(format!("$share/group/{}", scene.topic("a")));
    let mut one = scene.join("one", std::slice::from_ref(&wish)).await?;
    let at = if apart { &scene.here } else { &scene.there };
    let mut other = Client::connect(at, &scene.hello("other")).await?;
    scene.await_with(&mut other, &[wish]).await?;
    let mut publisher = scene.publisher().await?;
    for number in 0..COUNT {
        publisher
            .publish(&scene.message("a", &number.to_string()))
            .await?;
    }
    let end = scene.end(&mut publisher).await?;
    let (one, other) = (one.until(&end).await?, other.until(&end).await?);
    let some = if one.is_empty() || other.is_empty() {
        "one"
    } else {
        "each"
    };
    Ok(format!(
        "{} in all, {some} member has some",
        one.len() + other.len()
    ))
}
