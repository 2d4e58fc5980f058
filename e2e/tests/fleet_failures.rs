//! A fleet whose brokers are killed, kept down and hung, one and two at a time, told as one story on the sample `farm`:
//! traffic finds the way round, clients go on at a substitute, and everything goes back once the broker does.

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use skein_e2e::{Fleet, PATIENCE, Series, Traffic, Up, process};

const SHORT: &str = "a b c i";
const AROUND: &str = "a e f g i";

#[tokio::test]
async fn brokers_die_and_return_on_the_oldest_mosquitto() -> Result<()> {
    story(Series::Oldest).await
}

#[tokio::test]
async fn brokers_die_and_return_on_the_newest_mosquitto() -> Result<()> {
    story(Series::Newest).await
}

/// The story's fleet and the traffic that goes on all the time: soil from i to a.
struct Scene<'fleet> {
    up: Up<'fleet>,
    traffic: Traffic<'fleet>,
}

async fn story(series: Series) -> Result<()> {
    let fleet = Fleet::sample("farm", series)?;
    let brokers = fleet.read("brokers.yaml")?;
    // Long enough that a restart in place is over in time even on a busy machine.
    fleet.write("brokers.yaml", &brokers.replace("after: 1s", "after: 2s"))?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let traffic = Traffic::start(&fleet).await?;
    let scene = Scene { up, traffic };
    scene.flows_by(SHORT, "start").await?;
    scene.a_killed_transit_broker_is_restarted_in_place().await?;
    scene
        .a_transit_broker_is_routed_around(&["break", "c"], "down")
        .await?;
    scene
        .a_transit_broker_is_routed_around(&["break", "c", "--hang"], "hung")
        .await?;
    scene.a_producers_broker_is_replaced().await?;
    scene.a_consumers_broker_is_replaced().await?;
    scene.two_at_once().await?;
    scene.up.stop().await
}

impl Scene<'_> {
    /// At rest, soil takes this way, the traffic goes on, and everyone gets everything once, commands included.
    async fn flows_by(&self, way: &str, act: &str) -> Result<Value> {
        let Self { up, traffic } = self;
        let status = traffic.rests("soil", way).await.with_context(|| act.to_owned())?;
        up.check_once(&format!("farm/{act}/soil"), "i i2", "a a2", PATIENCE)
            .await?;
        up.check_once(&format!("farm/{act}/valve"), "a a2", "i i2", PATIENCE)
            .await?;
        Ok(status)
    }

    async fn a_killed_transit_broker_is_restarted_in_place(&self) -> Result<()> {
        let pid = process(&self.up.broker("c").await?["pid"])?;
        kill_process(pid, Signal::KILL)?;
        let restarted = |status: &Value| {
            broker(status, "c")
                .is_some_and(|c| c["phase"] == "Ready" && process(&c["pid"]).is_ok_and(|now| now != pid))
        };
        self.up
            .wait_status("c to be restarted", PATIENCE, restarted)
            .await?;
        let status = self.flows_by(SHORT, "killed").await?;
        ensure!(
            status["migrations"] == Value::Array(Vec::new()) && !self.up.log().contains("a ← e"),
            "nothing is rerouted for so little: {}",
            self.up.log()
        );
        Ok(())
    }

    async fn a_transit_broker_is_routed_around(&self, how: &[&str], act: &str) -> Result<()> {
        self.up.skein(how).await?;
        let status = self.flows_by(AROUND, act).await?;
        ensure!(
            broker(&status, "c").is_some_and(|c| c["phase"] == "Down"),
            "{status:#}"
        );
        self.up.skein(&["mend", "c"]).await?;
        self.flows_by(SHORT, &format!("{act}-mended")).await?;
        Ok(())
    }

    /// Clients of `dead`, publishers and subscribers together, go on at its substitute under their old address.
    async fn is_replaced(&self, dead: &str, substitute: &str, way: &str) -> Result<()> {
        let before = self.up.client_address(dead).await?;
        self.up.skein(&["break", dead]).await?;
        let served = self.flows_by(way, &format!("{dead}-down")).await?;
        let entry = broker(&served, dead).context("it is still declared")?;
        ensure!(
            entry["phase"] == "Down"
                && entry["servedBy"] == substitute
                && entry["clientAddress"] == before.as_str(),
            "{entry}"
        );
        self.up.skein(&["mend", dead]).await?;
        self.up
            .wait_status(&format!("{dead} to be taken back"), PATIENCE, |status| {
                broker(status, dead)
                    .is_some_and(|entry| entry["phase"] == "Ready" && entry["servedBy"] == dead)
            })
            .await?;
        let mended = self.flows_by(SHORT, &format!("{dead}-mended")).await?;
        let entry = broker(&mended, dead).context("it is still declared")?;
        ensure!(
            entry["servedBy"] == dead && entry["clientAddress"] == before.as_str(),
            "{entry}"
        );
        Ok(())
    }

    async fn a_producers_broker_is_replaced(&self) -> Result<()> {
        self.is_replaced("i", "i2", "a b c i2").await
    }

    async fn a_consumers_broker_is_replaced(&self) -> Result<()> {
        self.is_replaced("a", "a2", "a2 b c i").await
    }

    /// The transit broker and the producer's.
    async fn two_at_once(&self) -> Result<()> {
        self.up.skein(&["break", "c"]).await?;
        self.up.skein(&["break", "i", "--hang"]).await?;
        let status = self.flows_by("a e f g i2", "two").await?;
        for name in ["c", "i"] {
            ensure!(
                broker(&status, name).is_some_and(|it| it["phase"] == "Down"),
                "{status:#}"
            );
        }
        self.up.skein(&["mend", "i"]).await?;
        self.up.skein(&["mend", "c"]).await?;
        let status = self.flows_by(SHORT, "two-mended").await?;
        let phases: Vec<&Value> = status["migrations"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|migration| &migration["phase"])
            .collect();
        ensure!(
            phases.len() == 6 && phases.iter().all(|phase| *phase == "FailedBack"),
            "six failures, all over: {phases:?}"
        );
        Ok(())
    }
}

fn broker<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["brokers"]
        .as_array()?
        .iter()
        .find(|broker| broker["name"] == name)
}
