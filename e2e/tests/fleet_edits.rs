//! Edits of a running fleet's manifests: good ones take effect while traffic goes on, bad ones are reported with file and
//! line and change nothing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Fleet, Manifest, PATIENCE, Series, Traffic, wait_until};

#[tokio::test]
async fn good_edits_take_effect_on_the_oldest_mosquitto() -> Result<()> {
    good_edits(Series::Oldest).await
}

#[tokio::test]
async fn good_edits_take_effect_on_the_newest_mosquitto() -> Result<()> {
    good_edits(Series::Newest).await
}

async fn good_edits(series: Series) -> Result<()> {
    let fleet = Fleet::square(series)?;
    let up = fleet.up()?;
    up.wait_way("soil", "i", "a", "a b i").await?;
    let traffic = Traffic::start(&fleet).await?;
    traffic.flows(20).await?;

    // A topic is added, with commands.
    let air = Manifest::new()
        .soil()
        .topic_with("air", "farm/+/air", "i", "a", "commands: [farm/+/window]");
    fleet.write("topics.yaml", air.text())?;
    traffic.rests("air", "a b i").await?;
    up.check_once("farm/1/soil", "i", "a", PATIENCE).await?;
    up.check_once("farm/1/air", "i", "a", PATIENCE).await?;
    up.check_once("farm/1/window", "a", "i", PATIENCE).await?;

    // A cost is changed, and the other way is the shorter one.
    fleet.write("routes.yaml", Manifest::new().square(10).text())?;
    traffic.rests("air", "a c i").await?;
    traffic.rests("soil", "a c i").await?;
    up.check_once("farm/2/soil", "i", "a", PATIENCE).await?;
    up.check_once("farm/2/window", "a", "i", PATIENCE).await?;

    // A broker is added, with a route that is shorter still, and as a further consumer.
    fleet.write("brokers.yaml", Manifest::new().brokers("a b c d i").text())?;
    fleet.write("routes.yaml", Manifest::new().square(10).routes("a-d d-i").text())?;
    let wider = Manifest::new()
        .topic("soil", "farm/+/soil", "i", "a d")
        .topic_with("air", "farm/+/air", "i", "a", "commands: [farm/+/window]");
    fleet.write("topics.yaml", wider.text())?;
    up.wait_path("soil", "i", "d", "d i", PATIENCE).await?;
    traffic.rests("soil", "a d i").await?;
    up.check_once("farm/3/soil", "i", "a d", PATIENCE).await?;
    up.check_once("farm/3/window", "a", "i", PATIENCE).await?;

    // One is removed, and with it its processes.
    fleet.write("routes.yaml", Manifest::new().routes("a-b:10 b-i a-d d-i").text())?;
    fleet.write("brokers.yaml", Manifest::new().brokers("a b d i").text())?;
    up.wait_status("c to be gone", PATIENCE, |status| {
        brokers(status).is_ok_and(|brokers| brokers.keys().eq(["a", "b", "d", "i"]))
    })
    .await?;
    // skein up itself, and for each broker its process, its supervisor and its forwarder.
    let count = 1 + 4 * 3;
    wait_until("the processes of c to end", PATIENCE, async || {
        fleet.processes().len() == count
    })
    .await?;
    traffic.rests("soil", "a d i").await?;
    up.check_once("farm/4/soil", "i", "a d", PATIENCE).await?;

    // A whole topic goes, and its clients' messages stay where they are published.
    fleet.write("topics.yaml", Manifest::new().soil().text())?;
    up.wait_status("air to be gone", PATIENCE, |status| {
        let paths = status["paths"].as_array();
        paths.is_some_and(|paths| paths.len() == 1)
    })
    .await?;
    traffic.rests("soil", "a d i").await?;
    up.check_once("farm/5/soil", "i", "a", PATIENCE).await?;
    up.stop().await
}

/// What is wrong, the file to edit, what to replace in it, and what is said.
type Mistake = (
    &'static str,
    &'static str,
    fn(&str) -> String,
    &'static [&'static str],
);

const MISTAKES: &[Mistake] = &[
    (
        "a word that means nothing, and a broker that nobody declared",
        "topics.yaml",
        |text| {
            text.replace("producers: [{broker: i}]", "producer: [{broker: i}]")
                .replace("broker: a}", "broker: aa}")
        },
        &["topics.yaml:5", "producer", "aa"],
    ),
    (
        "no YAML",
        "topics.yaml",
        |text| text.replace("{filter", "{{filter"),
        &["topics.yaml:5"],
    ),
    (
        "a bad filter",
        "topics.yaml",
        |text| text.replace("farm/+/soil", "farm/#/soil"),
        &["topics.yaml:5", "Topic/soil spec.filter"],
    ),
    (
        "a cost that is none",
        "routes.yaml",
        |text| text.replace("cost: 2", "cost: 0"),
        &["routes.yaml:15", "routes.yaml:20", "cost"],
    ),
    (
        "a broker gone that a route needs",
        "brokers.yaml",
        |_| Manifest::new().brokers("a b i").text().to_owned(),
        &["routes.yaml:15", "routes.yaml:20"],
    ),
    (
        "a file emptied by mistake",
        "brokers.yaml",
        |_| String::new(),
        &["routes.yaml:5", "topics.yaml:5"],
    ),
];

#[tokio::test]
async fn bad_edits_are_reported_with_their_place_and_change_nothing() -> Result<()> {
    // What Mosquitto does plays no part: one series.
    let fleet = Fleet::square(Series::Newest)?;
    let up = fleet.up()?;
    let before = brokers(&up.wait_settled(PATIENCE).await?)?;
    let plan = up.plan().await?;
    let traffic = Traffic::start(&fleet).await?;
    for (what, file, mistake, said) in MISTAKES {
        let right = fleet.read(file)?;
        let wrong = mistake(&right);
        ensure!(wrong != right, "{what} is no mistake: {right}");
        let told = fleet.log().len();
        fleet.write(file, &wrong)?;
        let new = || fleet.log().split_off(told);
        wait_until("the edit to be refused", PATIENCE, async || {
            new().contains("the edit is not applied") && said.iter().all(|word| new().contains(word))
        })
        .await
        .with_context(|| format!("{what}, where {said:?} should be said; skein up said: {}", new()))?;
        let in_status = |status: &Value| {
            let problems = status["problems"].as_array().into_iter().flatten();
            let text: String = problems.filter_map(Value::as_str).collect();
            said.iter().all(|word| text.contains(word))
        };
        up.wait_status("the refusal to show in the status", PATIENCE, in_status)
            .await
            .context(*what)?;
        ensure!(up.plan().await? == plan, "{what} changed the plan");
        fleet.write(file, &right)?;
        let calm = |status: &Value| status["problems"] == Value::Array(Vec::new());
        let status = up
            .wait_status("the problem to be over", PATIENCE, calm)
            .await
            .context(*what)?;
        let after = brokers(&status)?;
        ensure!(after == before, "{what}: {before:?} became {after:?}");
    }
    let office = traffic.finish().await?;
    ensure!(office.summary().is_perfect(), "{}", office.summary());
    // It still listens.
    let air = Manifest::new().soil().topic("air", "farm/+/air", "i", "a");
    fleet.write("topics.yaml", air.text())?;
    up.wait_path("air", "i", "a", "a b i", PATIENCE).await?;
    up.stop().await
}

/// A broker's process and the configuration it was given.
type State = (Option<i64>, Option<u64>);

fn brokers(status: &Value) -> Result<BTreeMap<String, State>> {
    let brokers = status["brokers"].as_array().context("no brokers")?;
    let one = |broker: &Value| {
        let name = broker["name"].as_str()?.to_owned();
        Some((name, (broker["pid"].as_i64(), broker["epochGiven"].as_u64())))
    };
    Ok(brokers.iter().filter_map(one).collect())
}
