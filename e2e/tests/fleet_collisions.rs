//! Clients at two brokers subscribe the same without a Topic that says so: where the one would stand in for the other, that is
//! said while all is well, and a failover waits for a person.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Fleet, Ledger, PATIENCE, Series, Subscriber, newest_migration};

fn broker<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["brokers"].as_array()?.iter().find(|it| it["name"] == name)
}

fn says(status: &Value, part: &str) -> bool {
    let mut problems = status["problems"].as_array().into_iter().flatten();
    problems.any(|problem| problem.as_str().is_some_and(|text| text.contains(part)))
}

#[tokio::test]
async fn clients_who_would_get_each_others_messages_wait_for_a_person() -> Result<()> {
    let fleet = Fleet::pair(Series::Newest)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let plan = up.plan().await?;
    let substitutes = plan["substitutes"].as_array().context("substitutes")?;
    let of_a = substitutes
        .iter()
        .find(|it| it["broker"] == "a")
        .context("of a")?;
    let to = of_a["candidates"][0]["broker"].as_str().context("a candidate")?;
    let ledger = Ledger::new();
    let home = fleet.client_address("a").await?;
    let away = fleet.client_address(to).await?;
    // What is declared is no collision; what both say beside it is.
    let office = Subscriber::start(&home, "office", "farm/+/soil", 1, &ledger).await?;
    let planner = Subscriber::start(&home, "planner", "plan/today", 1, &ledger).await?;
    let clerk = Subscriber::start(&away, "clerk", "plan/#", 1, &ledger).await?;
    let told = up.wait_status("the collision to be told", PATIENCE, |status| {
        broker(status, "a").is_some_and(|it| it["collisionCount"] == 1)
    });
    let told = told.await?;
    let found = broker(&told, "a").context("a")?["collisions"][0].clone();
    ensure!(
        found["client"] == "planner" && found["with"] == to && found["other"] == "clerk",
        "{found:#}"
    );
    ensure!(says(&told, "spec.failover.collisions: Accept"), "{told:#}");
    let explained = up.skein(&["explain", "broker/a", "-o", "json"]).await;
    let explained: Value = serde_json::from_str(&explained?)?;
    ensure!(explained["collisionCount"] == 1, "{explained:#}");

    up.skein(&["break", "a", "--hang"]).await?;
    let waits = up.wait_status("a's clients to wait for approval", PATIENCE, |status| {
        newest_migration(status).is_some_and(|it| it["phase"] == "Pending")
    });
    let waits = waits.await?;
    let evidence = newest_migration(&waits).context("a migration")?["evidence"].to_string();
    ensure!(
        evidence.contains("collision: client planner of a (plan/today)"),
        "{evidence}"
    );
    ensure!(says(&waits, "skein approve a"), "{waits:#}");
    up.skein(&["approve", "a"]).await?;
    let served = up.wait_served("a").await?;
    ensure!(served == to, "{served}");
    for subscriber in [office, planner, clerk] {
        ensure!(subscriber.fresh_sessions() == 1, "{}", subscriber.summary());
    }
    up.stop().await
}
