//! Durable clients that give no user name and are away while their broker, which holds a link, dies: whatever it then takes
//! them for, they get what is sent meanwhile and nothing of Skein's.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use skein_agent::BrokerDirectory;
use skein_api::name::BrokerName;
use skein_e2e::{Fleet, PATIENCE, RawClient, Series, broker_processes, publish_once, wait_until};
use skein_mosquitto::security::{FleetSecret, Login, read};

/// The session that has a subscription to Skein's own topics, as from before its broker knew any users.
const SPY: &str = "spy";

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

async fn process_of_a(fleet: &Fleet) -> Result<Pid> {
    Ok(broker_processes(&fleet.status().await?)?["a"])
}

/// Kills a, and waits until its supervisor has started it again and all is well.
async fn kill(fleet: &Fleet) -> Result<()> {
    let before = process_of_a(fleet).await?;
    kill_process(before, Signal::KILL)?;
    wait_until("a to be started again", PATIENCE, async || {
        process_of_a(fleet).await.is_ok_and(|now| now != before)
    })
    .await?;
    fleet.wait_way("soil", "i", "a", "a b i").await?;
    Ok(())
}

/// A client of a that is Skein.
async fn skein_at_a(fleet: &Fleet, client_id: &str, clean_session: bool) -> Result<RawClient> {
    let secret = FleetSecret::parse(&fs::read_to_string(fleet.state().join("secret"))?)?;
    let Login { user, password } = secret.administrator(&name("a"));
    let at_a = fleet.client_address("a").await?;
    RawClient::connect(&at_a, client_id, clean_session, Some((&user, password.expose()))).await
}

/// Durable sessions at a, left at once. Each has a topic of its own to end with.
async fn leave(fleet: &Fleet, sessions: &[&str]) -> Result<()> {
    let at_a = fleet.client_address("a").await?;
    for session in sessions {
        if *session == SPY {
            let mut client = skein_at_a(fleet, session, false).await?;
            ensure!(client.subscribe("$skein/#", 1).await?);
            client.disconnect().await?;
        }
        let mut client = RawClient::connect(&at_a, session, false, None).await?;
        for filter in ["farm/+/soil", &format!("end/{session}")] {
            ensure!(client.subscribe(filter, 1).await?, "{session} may not {filter}");
        }
        client.disconnect().await?;
    }
    // Saved, once the broker has done something else.
    publish_once(&at_a, "end/nobody", "", 1, false).await
}

/// What came for a session while its client was away, as `topic text`.
async fn fetch(at_a: &str, session: &str) -> Result<Vec<String>> {
    let mut client = RawClient::connect(at_a, session, false, None).await?;
    ensure!(client.session_present(), "{session} has no session any more");
    let end = format!("end/{session}");
    publish_once(at_a, &end, "", 1, false).await?;
    let mut taken = Vec::new();
    loop {
        let publish = client.receive(PATIENCE).await?;
        let publish = publish.with_context(|| format!("nothing comes to {session} after {taken:?}"))?;
        client.acknowledge(&publish).await?;
        if publish.topic == end {
            break;
        }
        let text = String::from_utf8(publish.payload.to_vec())?;
        taken.push(format!("{} {text}", publish.topic));
    }
    // Another round trip, so that the broker knows what was acknowledged.
    client.subscribe(&end, 1).await?;
    client.disconnect().await?;
    Ok(taken)
}

/// Kills a, sends on soil from i to a, and asks for what these got of it.
async fn get_what_came_meanwhile(fleet: &Fleet, sessions: &[&str], text: &str) -> Result<()> {
    kill(fleet).await?;
    let at_a = fleet.client_address("a").await?;
    // It sees that all has come to a.
    let mut witness = skein_at_a(fleet, "witness", true).await?;
    ensure!(witness.subscribe("farm/+/soil", 1).await?);
    witness.publish("$skein/probe/spied", text, 1, false).await?;
    publish_once(&fleet.client_address("i").await?, "farm/7/soil", text, 1, false).await?;
    ensure!(witness.receive(PATIENCE).await?.is_some(), "nothing comes to a");
    for session in sessions {
        let taken = fetch(&at_a, session).await?;
        ensure!(
            taken == [format!("farm/7/soil {text}")],
            "{session} got {taken:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn who_is_away_while_a_broker_dies_gets_what_comes_and_nothing_of_skeins() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::square(series)?;
        let up = fleet.up()?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        // Every other session is saved with more than the user's name.
        let sessions = ["first", "second", SPY];
        leave(&fleet, &sessions).await?;
        for text in ["once", "twice"] {
            let got = get_what_came_meanwhile(&fleet, &sessions, text).await;
            got.with_context(|| format!("{series:?} {text}"))?;
        }
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_fleet_of_an_earlier_version_comes_to_that_without_a_restart() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::square(series)?;
        let up = fleet.up()?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        up.kill().await?;
        // No broker knew itself.
        let a = BrokerDirectory::new(fleet.state().join("brokers/a"));
        let mut users = a.users()?.context("nobody said who may connect to a")?;
        users.bridges.remove(&name("a"));
        a.set_users(&users)?;
        let process = || anyhow::Ok(a.broker()?.context("a does not run")?);
        let knows_itself = || -> Result<bool> {
            let left = read(&fs::read_to_string(a.security_file())?)?;
            Ok(left.bridges.contains_key(&name("a")))
        };
        let before = process()?;
        let pid = i32::try_from(before.pid).ok().and_then(Pid::from_raw);
        kill_process(pid.context("no process")?, Signal::KILL)?;
        wait_until("a as it was", PATIENCE, async || {
            process().is_ok_and(|now| now != before) && knows_itself().is_ok_and(|knows| !knows)
        })
        .await?;

        let as_it_was = process()?;
        let up = fleet.up()?;
        wait_until("a to know itself", PATIENCE, async || {
            knows_itself().unwrap_or(false)
        })
        .await?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        ensure!(process()? == as_it_was, "{series:?}: a was restarted");
        leave(&fleet, &["first", "second"]).await?;
        let got = get_what_came_meanwhile(&fleet, &["first", "second"], "once").await;
        got.with_context(|| format!("{series:?}"))?;
        up.stop().await?;
    }
    Ok(())
}
