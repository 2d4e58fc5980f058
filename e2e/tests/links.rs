//! What a rendered link carries between real brokers of both series: how many copies, for how long, and how soon again.
//!
//! Findings that others rely on, each kept by a test below:
//! - With `allow_duplicate_messages false` at both ends and a 3.1.1 bridge, overlapping and crossing lines give one copy, in
//!   every direction: `in` lines by the upstream's option, `out` lines by the holder's, `both` beside `in` by the
//!   upstream's. Without it 2.1 sends one copy per matching line.
//! - A removed line keeps its subscription upstream; [`Config::resume`] ends it, and the connection's marker proves it.
//! - `restart_timeout 1 1` brings a link back one to two seconds after its upstream listens again.

#![allow(clippy::unwrap_used, reason = "test code")]

mod rendered;

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use rendered::{Rendered, SOON, configuration, link, noisy, subscriptions, version};
use rustix::process::Signal;
use skein_e2e::{Listener, Series, publish_once, wait_until};
use skein_mosquitto::config::{Config, Session, render};
use skein_mosquitto::link::Link;
use skein_mosquitto::transition::{Action, transition};

impl Rendered {
    /// Goes over to other links, by what `transition` says, and tells what that was.
    async fn change(
        &mut self,
        series: Series,
        links: &[Link],
        upstream: u16,
        forget: bool,
    ) -> Result<Action> {
        let name = self.config.broker.to_string();
        let mut new = configuration(
            series,
            &name,
            links,
            Some(upstream),
            self.folder.path(),
            &noisy(&name),
        )?;
        new.listeners.clone_from(&self.config.listeners);
        new.epoch = self.config.epoch + 1;
        if forget {
            let held = self.config.connections.iter();
            let sessions: BTreeMap<String, Session> = held
                .map(|connection| (connection.remote_client_id.clone(), Session::of(connection)))
                .collect();
            new.resume(&sessions);
        }
        let action = transition(&self.config, &new, version(series)?).action;
        self.config = new;
        fs::write(self.folder.path().join("mosquitto.conf"), render(&self.config))?;
        match action {
            Action::None => {}
            Action::Reload => self.signal(Signal::HUP)?,
            Action::Restart => {
                self.end(true)?;
                self.start_again().await?;
            }
        }
        Ok(action)
    }
}

/// How often a message that is published at one end arrives at both, with the lines and the option given.
struct Copies {
    down: usize,
    up: usize,
}

async fn copies(
    series: Series,
    lines: &[&str],
    at_up: bool,
    topic: &str,
    duplicates: bool,
) -> Result<Copies> {
    // The last message takes the same way as those before it, so whatever is to come is there when it is.
    let pulls = lines.iter().all(|line| line.contains(" in "));
    let mut lines = lines.to_vec();
    lines.push(if pulls { "end in 1" } else { "end both 1" });
    let link = link(&lines);
    let allow = |config: &mut Config| config.limits.allow_duplicate_messages = duplicates;
    let up = Rendered::start_with(series, "up", &[], None, allow).await?;
    let down = Rendered::start_with(
        series,
        "down",
        std::slice::from_ref(&link),
        Some(up.port()),
        allow,
    )
    .await?;
    down.wait_subscribed(subscriptions(&link)).await?;
    let ears = (
        Listener::start(&down.address(), "ear-down", "#", 2).await?,
        Listener::start(&up.address(), "ear-up", "#", 2).await?,
    );
    let (near, far) = if at_up { (&up, &down) } else { (&down, &up) };
    publish_once(&near.address(), topic, "1", 1, false).await?;
    publish_once(&near.address(), "end", "there", 1, false).await?;
    let ends = |ear: &Listener, count: usize| {
        ear.messages()
            .iter()
            .filter(|message| message.topic == "end")
            .count()
            >= count
    };
    let arrived = async || ends(&ears.0, 1) && ends(&ears.1, 1);
    wait_until("the last message to arrive", SOON, arrived)
        .await
        .with_context(|| down.log())?;
    if !pulls {
        publish_once(&far.address(), "end", "and back", 1, false).await?;
        let returned = async || ends(&ears.0, 2) && ends(&ears.1, 2);
        wait_until("the last message to return", SOON, returned).await?;
    }
    let count = |ear: &Listener| {
        ear.messages()
            .iter()
            .filter(|message| message.topic == topic)
            .count()
    };
    Ok(Copies {
        down: count(&ears.0),
        up: count(&ears.1),
    })
}

/// Lines, whether the message is published upstream, its topic, and how many copies 2.1 sends without the option.
const OVERLAPS: [(&[&str], bool, &str, usize); 9] = [
    (&["t/# in 1", "t/a in 1", "t/+ in 1"], true, "t/a", 3),
    (&["a/+/c in 1", "a/b/# in 1"], true, "a/b/c", 2),
    (&["a/+/c in 0", "a/b/# in 2"], true, "a/b/c", 2),
    (&["t/# out 1", "t/a out 1", "t/+ out 1"], false, "t/a", 3),
    (&["a/+/c out 1", "a/b/# out 1"], false, "a/b/c", 2),
    (&["t/# both 1", "t/a in 1"], true, "t/a", 2),
    (&["t/# both 1", "t/a both 1"], false, "t/a", 2),
    (&["t/# in 1", "t/+/cmd out 1"], false, "t/a/cmd", 1),
    (&["t in 1", "t out 1"], true, "t", 1),
];

#[tokio::test]
async fn overlapping_and_crossing_lines_give_one_copy_in_every_direction() -> Result<()> {
    for series in Series::ALL {
        for (lines, at_up, topic, _) in OVERLAPS {
            let copies = copies(series, lines, at_up, topic, false).await?;
            assert_eq!((copies.down, copies.up), (1, 1), "{series:?} {lines:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn without_the_option_the_newest_version_sends_a_copy_per_line() -> Result<()> {
    for (lines, at_up, topic, expected) in OVERLAPS {
        let copies = copies(Series::Newest, lines, at_up, topic, true).await?;
        let (near, far) = if at_up {
            (copies.up, copies.down)
        } else {
            (copies.down, copies.up)
        };
        assert_eq!((near, far), (1, expected), "{lines:?}");
    }
    Ok(())
}

/// A message on this topic passes, sooner or later.
async fn comes_through(topic: &str, from: &Rendered, to: &Rendered) -> Result<()> {
    let ear = Listener::start(&to.address(), "ear-marker", topic, 1).await?;
    let heard = async || {
        let published = publish_once(&from.address(), topic, "", 1, false).await;
        published.is_ok() && !ear.messages().is_empty()
    };
    wait_until(&format!("{topic} to come through"), SOON, heard)
        .await
        .with_context(|| to.log())
}

#[tokio::test]
async fn a_removed_line_goes_on_flowing_unless_it_is_forgotten() -> Result<()> {
    for series in Series::ALL {
        for forget in [false, true] {
            let wide = link(&["old in 1", "new in 1"]);
            let narrow = link(&["new in 1"]);
            let up = Rendered::start(series, "up", &[], None).await?;
            let mut down =
                Rendered::start(series, "down", std::slice::from_ref(&wide), Some(up.port())).await?;
            down.wait_subscribed(subscriptions(&wide)).await?;
            let action = down
                .change(series, std::slice::from_ref(&narrow), up.port(), forget)
                .await?;
            assert_eq!(
                action,
                if series == Series::Oldest {
                    Action::Restart
                } else {
                    Action::Reload
                }
            );
            down.wait_subscribed(subscriptions(&wide) + subscriptions(&narrow))
                .await?;
            let held = &down.config.connections[0];
            let marker = held.marker(&down.config.broker);
            assert_eq!(marker.is_some(), forget);
            if let Some(marker) = marker {
                comes_through(&marker, &up, &down).await?;
            }
            let ear = Listener::start(&down.address(), "ear", "#", 1).await?;
            publish_once(&up.address(), "old", "1", 1, false).await?;
            publish_once(&up.address(), "new", "2", 1, false).await?;
            let last = async || ear.messages().iter().any(|message| message.topic == "new");
            wait_until("what is still carried", SOON, last).await?;
            let old = ear
                .messages()
                .iter()
                .filter(|message| message.topic == "old")
                .count();
            assert_eq!(old, usize::from(!forget), "{series:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_link_is_back_soon_after_its_upstream() -> Result<()> {
    for series in Series::ALL {
        let link = link(&["t in 1"]);
        let mut up = Rendered::start(series, "up", &[], None).await?;
        let down = Rendered::start(series, "down", std::slice::from_ref(&link), Some(up.port())).await?;
        for life in 1..=2 {
            down.wait_subscribed(life * subscriptions(&link)).await?;
            up.end(false)?;
            up.start_again().await?;
            let listening = Instant::now();
            down.wait_subscribed((life + 1) * subscriptions(&link)).await?;
            let took = listening.elapsed();
            // The form `restart_timeout 1` takes six seconds on the oldest version.
            println!("{series:?}: back after {took:.1?}");
        }
    }
    Ok(())
}
