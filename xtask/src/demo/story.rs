//! What happens in the demo.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use skein_e2e::Fleet;

use super::cast::Cast;
use super::stage::{Stage, span};

/// No single step takes nearly so long on a machine that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// The whole story, on a fleet that is just starting.
pub(super) async fn tell(fleet: &Fleet, stage: &Stage) -> Result<()> {
    stage.title("Ten brokers, twelve routes, one topic");
    stage.say("skein up -f deploy/samples/farm");
    let status = fleet.wait_ready(PATIENCE).await?;
    let brokers = status["brokers"].as_array().map_or(0, Vec::len);
    stage.say(&format!(
        "{brokers} Mosquitto processes run, and every path has passed its probe"
    ));
    follow(fleet, stage, "a b c i").await?;

    let cast = Cast::enter(fleet, stage).await?;
    cast.flow(1).await?;

    stage.title("A broker on the way dies");
    accident(fleet, stage, &cast, &["break", "c"], "a e f g i").await?;
    stage.title("It comes back");
    accident(fleet, stage, &cast, &["mend", "c"], "a b c i").await?;
    stage.title("The producer's own broker dies");
    accident(fleet, stage, &cast, &["break", "i"], "a b c i2").await?;
    let at = server(&fleet.status().await?, "i");
    Stage::more(&format!(
        "i's clients are at {at} now; they still connect to the same address"
    ));
    stage.title("And comes back, too");
    accident(fleet, stage, &cast, &["mend", "i"], "a b c i").await?;

    stage.title("The subscribers' broker hangs, while one of them is away");
    hang(fleet, stage, &cast).await?;
    stage.title("It wakes up");
    let act = cast.act();
    run(fleet, stage, &["mend", "a"]).await?;
    let home = |status: &Value| server(status, "a") == "a";
    fleet
        .wait_status("a to serve its clients", PATIENCE, home)
        .await?;
    let lasted = act.lasted();
    stage.say("a serves its clients again");
    cast.flow(1).await?;
    Stage::more(&format!("that took {}; {}", span(lasted), cast.seen_since(&act)));

    stage.title("It is to be replaced: everybody out");
    command(fleet, stage, &cast, &["drain", "a"]).await?;
    stage.title("And in again");
    command(fleet, stage, &cast, &["undrain", "a"]).await?;

    cast.settle(stage).await
}

/// Runs a `skein` command and waits until the path reads as it should and messages arrive again.
async fn accident(fleet: &Fleet, stage: &Stage, cast: &Cast, command: &[&str], path: &str) -> Result<()> {
    let act = cast.act();
    run(fleet, stage, command).await?;
    fleet.wait_path("soil", "i", "a", path, PATIENCE).await?;
    let rerouted = act.lasted();
    follow(fleet, stage, path).await?;
    cast.flow(1).await?;
    Stage::more(&format!(
        "the status showed the new path after {}; {}",
        span(rerouted),
        cast.seen_since(&act)
    ));
    Ok(())
}

/// The inspector leaves, a hangs, and the inspector comes back to whoever serves then.
async fn hang(fleet: &Fleet, stage: &Stage, cast: &Cast) -> Result<()> {
    cast.inspector.go_offline();
    stage.say("the inspector disconnects");
    let act = cast.act();
    run(fleet, stage, &["break", "a", "--hang"]).await?;
    let moved = |status: &Value| server(status, "a") != "a";
    let status = fleet.wait_status("somebody to serve a's clients", PATIENCE, moved);
    let at = server(&status.await?, "a");
    let moved = act.lasted();
    stage.say(&format!("{at} serves a's clients now"));
    cast.flow(1).await?;
    Stage::more(&format!(
        "their address led there after {}; {}",
        span(moved),
        cast.seen_since(&act)
    ));
    let (came, missing) = cast.inspector_returns().await?;
    let there = if cast.inspector.fresh_sessions() == 1 {
        "finds its session"
    } else {
        "finds no session"
    };
    stage.say(&format!(
        "the inspector connects again, {there}, and gets {came} of the {missing} messages that it missed"
    ));
    if came < missing {
        Stage::more("the others were in a itself when it hung; they come when it is back");
    }
    Ok(())
}

/// Runs a `skein` command that waits until it is done, and shows what it says.
async fn command(fleet: &Fleet, stage: &Stage, cast: &Cast, command: &[&str]) -> Result<()> {
    let act = cast.act();
    stage.say(&format!("skein {}", command.join(" ")));
    let said = fleet.skein(command).await?;
    let lasted = act.lasted();
    stage.say(&said.trim_end().replace('\n', "; "));
    cast.flow(1).await?;
    Stage::more(&format!("that took {}; {}", span(lasted), cast.seen_since(&act)));
    Ok(())
}

/// Runs a `skein` command that returns at once.
async fn run(fleet: &Fleet, stage: &Stage, command: &[&str]) -> Result<()> {
    fleet.skein(command).await?;
    stage.say(&format!("skein {}", command.join(" ")));
    Ok(())
}

/// Who serves the clients of a broker.
fn server(status: &Value, home: &str) -> String {
    let brokers = status["brokers"].as_array();
    let entry = brokers.and_then(|brokers| brokers.iter().find(|broker| broker["name"] == home));
    let by = entry.and_then(|entry| entry["servedBy"].as_str());
    by.unwrap_or("nobody").to_owned()
}

/// Shows the path from i to a as the status has it, with its probe's travel time.
async fn follow(fleet: &Fleet, stage: &Stage, expected: &str) -> Result<()> {
    let status = fleet.wait_path("soil", "i", "a", expected, PATIENCE).await?;
    let paths = status["paths"].as_array().into_iter().flatten();
    let path = paths
        .into_iter()
        .find(|path| path["topic"] == "soil" && path["producer"] == "i" && path["consumer"] == "a")
        .context("the status has no path of soil from i to a")?;
    let names: Vec<&str> = path["path"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let probe = path["probeMs"]
        .as_f64()
        .map(|time| format!("   (a probe takes {time:.1} ms)"));
    stage.say(&format!(
        "soil  {}{}",
        names.join(" ← "),
        probe.unwrap_or_default()
    ));
    Ok(())
}
