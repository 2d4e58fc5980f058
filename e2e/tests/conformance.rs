//! What clients see of MQTT 3.1.1 and 5.0, through one plain broker and through fleets of 2, 4 and 6 in a chain, with who
//! publishes at one end and who subscribes at the other.
//!
//! What is expected is data (`conformance/cases`), and `docs/conformance.md` is made from it. One case alone:
//! `ONLY=name cargo test -p skein-e2e --test conformance`.

#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "conformance/case.rs"]
mod case;
#[path = "conformance/cases/mod.rs"]
mod cases;
#[path = "conformance/client.rs"]
mod client;
#[path = "conformance/codec.rs"]
mod codec;
#[path = "conformance/packet.rs"]
mod packet;
#[path = "conformance/scene.rs"]
mod scene;
#[path = "conformance/table.rs"]
mod table;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use skein_e2e::{Series, repository};
use tokio::task::JoinSet;

use crate::case::Case;
use crate::scene::{Brokers, Scene};

/// Brokers in a row.
const LENGTHS: [usize; 4] = [1, 2, 4, 6];

/// Set, the table is written instead of compared.
const REWRITE: &str = "SKEIN_REWRITE";

fn cases() -> Vec<Case> {
    let only = std::env::var("ONLY").ok();
    let all = cases::all().into_iter().flat_map(|(_, cases)| cases);
    all.filter(|case| only.as_ref().is_none_or(|only| case.name == only))
        .collect()
}

/// Plays many cases at once: they mostly wait, and each has topics and client ids of its own. Gives what was otherwise.
async fn play(ends: &(String, String), series: Series, brokers: usize, quiet: bool) -> Vec<String> {
    let mut plays = JoinSet::new();
    for case in cases().into_iter().filter(|case| case.quiet == quiet) {
        let expected = case.expected(series, brokers);
        for &version in case.versions {
            let playing = (case.play)(Scene::new(case.name, version, ends));
            plays.spawn(async move {
                let what = match playing.await {
                    Ok(seen) if seen == expected => return None,
                    Ok(seen) => format!("saw `{seen}` instead of `{expected}`"),
                    Err(error) => format!("{error:#}"),
                };
                let (name, version) = (case.name, version.name());
                Some(format!("{name}, {version}, {brokers} brokers: {what}"))
            });
        }
    }
    let mut failures: Vec<String> = plays.join_all().await.into_iter().flatten().collect();
    failures.sort();
    failures
}

async fn conform(series: Series) -> Result<()> {
    let mut places = Vec::new();
    for count in LENGTHS {
        places.push((count, Brokers::new(series, count).await?));
    }
    let mut running = Vec::new();
    for (count, brokers) in &places {
        running.push((*count, brokers, brokers.start()?));
    }
    let mut failures = Vec::new();
    for (count, brokers, _up) in &running {
        let ends = brokers.ends().await?;
        let mut failed = play(&ends, series, *count, false).await;
        failed.extend(play(&ends, series, *count, true).await);
        if !failed.is_empty() {
            failures.extend(failed);
            failures.extend(brokers.log());
        }
    }
    ensure!(
        failures.is_empty(),
        "Mosquitto {}:\n{}",
        series.name(),
        failures.join("\n")
    );
    Ok(())
}

#[tokio::test]
async fn clients_of_the_oldest_supported_mosquitto_see_what_is_written() -> Result<()> {
    conform(Series::Oldest).await
}

#[tokio::test]
async fn clients_of_the_newest_supported_mosquitto_see_what_is_written() -> Result<()> {
    conform(Series::Newest).await
}

#[test]
fn no_two_cases_share_a_name() {
    let names: Vec<&str> = cases::all()
        .iter()
        .flat_map(|(_, cases)| cases.iter().map(|case| case.name))
        .collect();
    assert_eq!(
        names.len(),
        names.iter().collect::<BTreeSet<_>>().len(),
        "{names:?}"
    );
}

#[test]
fn the_documentation_says_what_the_cases_say() -> Result<()> {
    let file = repository().join("docs/conformance.md");
    let text = table::text();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&file, &text)?;
    }
    let written = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    ensure!(
        written == text,
        "docs/conformance.md is not what the cases say; write it anew: \
         {REWRITE}=1 cargo test -p skein-e2e --test conformance documentation"
    );
    Ok(())
}
