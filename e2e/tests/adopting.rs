//! A lost broker's session, from which Skein itself passes on what waits (`skein_mqtt::adopt`), on every supported version
//! and as rendered: what comes, what stays for the lost one, and what a failure in the midst of it costs.
#![allow(clippy::unwrap_used, reason = "test code")]

mod adopted;
mod rendered;

use std::time::{Duration, Instant};

use adopted::{Account, Place, SESSION, SOIL, Scene, begun};
use anyhow::{Context as _, Result, ensure};
use rendered::SOON;
use rustix::process::Signal;
use skein_e2e::{Series, UNSAVED};
use skein_mosquitto::config::{Config, Persistence};
use skein_mqtt::adopt;
use skein_mqtt::session::SessionError;

/// Messages of a publisher.
const MANY: u32 = 2_500;

/// Without a store where that writes all it has at each message.
fn unsaved(series: Series) -> impl Fn(&mut Config) {
    move |config| {
        if series == Series::Oldest {
            config.persistence = Persistence::None;
        }
    }
}

/// What is adopted, in a task of its own.
fn adopting(scene: &Scene) -> tokio::task::JoinHandle<Result<u64, SessionError>> {
    let session = scene.adopted();
    tokio::spawn(async move { adopt(&session).await })
}

#[tokio::test]
async fn what_waits_comes_once_and_in_order_and_then_nothing_waits() -> Result<()> {
    for place in Place::all() {
        let mut scene = Scene::start_with(place, unsaved(place.down)).await?;
        scene.b.running.end(false)?;
        for numbers in [0..MANY / 2, MANY / 2..MANY] {
            scene.publish("zero", 0, numbers.clone()).await?;
            scene.publish("one", 1, numbers.clone()).await?;
            scene.publish("two", 2, numbers).await?;
        }
        scene.bar().await?;
        let start = Instant::now();
        assert_eq!(adopt(&scene.adopted()).await?, u64::from(3 * MANY), "{place:?}");
        let rate = f64::from(3 * MANY) / start.elapsed().as_secs_f64();
        println!("{place:?}: {rate:.0} messages/s");
        scene.publish("later", 1, 0..10).await?;
        assert_eq!(adopt(&scene.adopted()).await?, 0, "{place:?}");
        let office = scene.s.office().await?;
        for (publisher, count) in [("zero", MANY), ("one", MANY), ("two", MANY), ("later", 0)] {
            let account = Account::of(publisher, 0..count, &office);
            assert_eq!(account, Account::all(count as usize), "{place:?} {publisher}");
        }
        // The session is there, and nothing comes to it: no marker either.
        let mut session = scene.u.as_skein(SESSION, false).await?;
        assert!(session.session_present(), "{place:?}");
        assert_eq!(session.take(Duration::from_millis(100), false).await?, []);
    }
    Ok(())
}

#[tokio::test]
async fn a_session_that_is_not_there_is_not_made() -> Result<()> {
    for place in Place::alike() {
        let mut scene = Scene::start_with(place, unsaved(place.down)).await?;
        scene.b.running.end(false)?;
        scene.leave().await?;
        assert_eq!(adopt(&scene.adopted()).await?, 0, "{place:?}");
        let session = scene.u.as_skein(SESSION, false).await?;
        assert!(!session.session_present(), "{place:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_lost_broker_had_begun_at_qos_2_stays_to_be_released_by_it() -> Result<()> {
    let quiet = Duration::from_millis(200);
    for place in Place::alike() {
        let mut scene = Scene::start_with(place, unsaved(place.down)).await?;
        scene.b.running.end(false)?;
        scene.publish("two", 2, 0..60).await?;
        // b's bridge, in the test's hands: it has twenty of them when it is lost.
        let mut bridge = scene.u.as_skein(SESSION, false).await?;
        let received = bridge.take(quiet, false).await?;
        for message in &received[..20] {
            bridge.acknowledge(message).await?;
        }
        bridge.settle().await?;
        drop(bridge);
        scene.publish("one", 1, 0..40).await?;
        scene.bar().await?;
        let before = begun(&scene.u).await?;
        assert_eq!(before.len(), 20, "{place:?}");
        scene.end_subscriptions().await?;
        assert_eq!(adopt(&scene.adopted()).await?, 80, "{place:?}");
        assert_eq!(begun(&scene.u).await?, before, "{place:?}");
        assert_eq!(adopt(&scene.adopted()).await?, 0, "{place:?}");
        assert_eq!(begun(&scene.u).await?, before, "{place:?}");
        let office = scene.s.office().await?;
        let account = |publisher, numbers| Account::of(publisher, numbers, &office);
        assert_eq!(account("two", 20..60), Account::all(40), "{place:?}");
        assert_eq!(account("one", 0..40), Account::all(40), "{place:?}");
    }
    Ok(())
}

/// Waits until so many messages have come to s.
async fn come(scene: &Scene, count: usize) -> Result<impl Future<Output = Result<()>>> {
    let mut ear = scene.s.as_nobody("ear", true).await?;
    ensure!(ear.subscribe(SOIL, 0).await?);
    Ok(async move {
        for _ in 0..count {
            ear.receive(SOON).await?.context("nothing comes")?;
        }
        Ok(())
    })
}

#[tokio::test]
async fn when_the_source_is_killed_what_was_not_passed_on_still_waits() -> Result<()> {
    for place in Place::alike() {
        let mut scene = Scene::start_with(place, unsaved(place.down)).await?;
        scene.b.running.end(false)?;
        if place.up == Series::Oldest {
            let directory = scene.u.running.folder.path().display().to_string();
            scene.u.running.config.persistence = Persistence::Classic { directory };
            scene.u.running.further = UNSAVED;
            // Its sessions are not saved yet: b opens its own anew.
            scene.u.running.end(true)?;
            scene.u.running.start_again().await?;
            let mut bridge = scene.u.as_skein(SESSION, false).await?;
            ensure!(bridge.subscribe(SOIL, 2).await?);
            bridge.disconnect().await?;
        }
        scene.publish("one", 1, 0..MANY).await?;
        scene.publish("two", 2, 0..MANY).await?;
        scene.bar().await?;
        scene.end_subscriptions().await?;
        if place.up == Series::Oldest {
            // It saves all when it ends, and nothing from then on.
            scene.u.running.end(true)?;
            scene.u.running.start_again().await?;
        }
        let some = come(&scene, 50).await?;
        let adoption = adopting(&scene);
        some.await?;
        // So that it is not through before the kill.
        scene.s.running.signal(Signal::STOP)?;
        scene.u.running.end(false)?;
        scene.s.running.signal(Signal::CONT)?;
        let error = adoption.await?.unwrap_err();
        scene.u.running.start_again().await?;
        let further = adopt(&scene.adopted()).await?;
        assert_eq!(adopt(&scene.adopted()).await?, 0, "{place:?}");
        let office = scene.s.office().await?;
        for publisher in ["one", "two"] {
            let account = Account::of(publisher, 0..MANY, &office);
            println!("{place:?} {publisher}: {error}; then {further}; {account:?}");
            assert_eq!((account.lost, account.late), (0, 0), "{place:?} {publisher}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn when_the_target_is_killed_what_it_had_not_taken_still_waits() -> Result<()> {
    for place in Place::alike() {
        // 2.0 keeps what it saves, and saves all of it at each message.
        let many = if place.down == Series::Oldest { 500 } else { MANY };
        let mut scene = Scene::start(place).await?;
        scene.s.running.further = "";
        scene.b.running.end(false)?;
        scene.publish("one", 1, 0..many).await?;
        scene.publish("two", 2, 0..many).await?;
        scene.bar().await?;
        scene.end_subscriptions().await?;
        let some = come(&scene, 50).await?;
        let adoption = adopting(&scene);
        some.await?;
        scene.s.running.end(false)?;
        let error = adoption.await?.unwrap_err();
        scene.s.running.start_again().await?;
        let further = adopt(&scene.adopted()).await?;
        ensure!(further < u64::from(2 * many), "what s had taken waited again");
        assert_eq!(adopt(&scene.adopted()).await?, 0, "{place:?}");
        let office = scene.s.office().await?;
        for publisher in ["one", "two"] {
            let account = Account::of(publisher, 0..many, &office);
            println!("{place:?} {publisher}: {error}; then {further}; {account:?}");
            // At QoS 1 a broker acknowledges what it is about to save: the last one, and no other, may be lost with it.
            let unsaved = usize::from(publisher == "one");
            assert!(
                account.lost <= unsaved && account.late == 0,
                "{place:?} {account:?}"
            );
        }
    }
    Ok(())
}
