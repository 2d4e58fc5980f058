//! Fleets whose brokers know who connects: what a client without a name gets at, whom a broker lets in after it was killed,
//! and how an older fleet and a growing one come to their users.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use skein_agent::BrokerDirectory;
use skein_api::name::BrokerName;
use skein_e2e::{
    Fleet, Manifest, PATIENCE, RawClient, Series, Traffic, broker_processes, find_mosquitto, plugin, process,
    publish_once, skein, wait_until,
};
use skein_mosquitto::security::{FleetSecret, Login, bridge_user};
use skein_mqtt::RumqttSession;
use skein_mqtt::administration::{Administrator, fence, fenced, unfence};

const QUIET: Duration = Duration::from_millis(300);

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn secret(fleet: &Fleet) -> Result<FleetSecret> {
    Ok(FleetSecret::parse(&fs::read_to_string(
        fleet.state().join("secret"),
    )?)?)
}

/// A client that is Skein.
async fn skein_at(fleet: &Fleet, broker: &str, client_id: &str) -> Result<RawClient> {
    let Login { user, password } = secret(fleet)?.administrator(&name(broker));
    let address = fleet.client_address(broker).await?;
    RawClient::connect(&address, client_id, true, Some((&user, password.expose()))).await
}

async fn administrator(fleet: &Fleet, broker: &str) -> Result<Administrator> {
    let Login { user, password } = secret(fleet)?.administrator(&name(broker));
    let address = fleet.client_address(broker).await?;
    let (host, port) = address.rsplit_once(':').context("no port")?;
    Ok(Administrator {
        address: skein_mqtt::Address {
            host: host.to_owned(),
            port: port.parse()?,
        },
        credentials: (user, password.expose().to_owned()),
        client_id: "test".to_owned(),
        patience: Duration::from_secs(5),
    })
}

fn users(downstreams: &[&str]) -> Vec<String> {
    downstreams.iter().map(|text| bridge_user(&name(text))).collect()
}

async fn barred_at(fleet: &Fleet, broker: &str) -> Result<BTreeSet<String>> {
    Ok(fenced::<RumqttSession>(&administrator(fleet, broker).await?).await?)
}

/// It can be asked, and bars the links of these brokers and no others.
async fn bars(fleet: &Fleet, broker: &str, downstreams: &[&str]) -> bool {
    let wanted: BTreeSet<String> = users(downstreams).into_iter().collect();
    barred_at(fleet, broker)
        .await
        .is_ok_and(|barred| barred == wanted)
}

fn report(fleet: &Fleet, broker: &str) -> Result<Value> {
    let file = fleet.state().join("brokers").join(broker).join("report.json");
    Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
}

/// Its brokers ask nobody for a name, and the status says so.
fn is_open(status: &Value) -> bool {
    status["problems"]
        .to_string()
        .contains("brokers ask nobody for a name")
}

fn broker_of(fleet: &Fleet, broker: &str) -> Result<Pid> {
    process(&report(fleet, broker)?["process"]["pid"])
}

/// Kills a broker, and waits until another process of it serves.
async fn kill(fleet: &Fleet, broker: &str) -> Result<()> {
    let before = broker_of(fleet, broker)?;
    kill_process(before, Signal::KILL)?;
    wait_until("a killed broker to be restarted", PATIENCE, async || {
        broker_of(fleet, broker).is_ok_and(|now| now != before)
    })
    .await?;
    wait_until("a restarted broker to serve", PATIENCE, async || {
        skein_at(fleet, broker, "look").await.is_ok()
    })
    .await
}

/// Every file below a folder, with what is in it.
fn files(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if let Ok(content) = fs::read(&path) {
            // Some come and go.
            found.push((path, content));
        }
    }
    Ok(found)
}

fn says(content: &[u8], text: &str) -> bool {
    content.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_client_without_a_name_gets_at_nothing_of_skeins() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::sample("farm", series)?;
        let up = fleet.up()?;
        let status = up.wait_settled(PATIENCE).await?;
        ensure!(!is_open(&status), "{series:?} {status:#}");

        // Probes pass b all the time.
        let mut skein = skein_at(&fleet, "b", "skein-test").await?;
        ensure!(skein.subscribe("$skein/#", 1).await?);
        ensure!(skein.receive(PATIENCE).await?.is_some(), "{series:?}: no probe");
        let address = fleet.client_address("b").await?;
        let mut client = RawClient::connect(&address, "client", true, None).await?;
        for filter in ["$skein/#", "$skein/probe/#", "$CONTROL/#"] {
            ensure!(!client.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        // Granted or not, it brings nothing.
        client.subscribe("$share/group/$skein/#", 1).await?;
        for filter in ["#", "$building/#"] {
            ensure!(client.subscribe(filter, 1).await?, "{series:?} {filter}");
        }
        let _ = client.publish("$skein/probe/stranger", "", 1, false).await;
        let taken = client.take(QUIET, true).await?;
        ensure!(
            taken.iter().all(|publish| !publish.topic.starts_with('$')),
            "{series:?} {taken:?}"
        );
        skein.publish("$skein/probe/skein", "", 1, false).await?;
        let mut heard = BTreeSet::new();
        while !heard.contains("$skein/probe/skein") {
            let publish = skein.receive(PATIENCE).await?.context("nothing comes any more")?;
            skein.acknowledge(&publish).await?;
            heard.insert(publish.topic);
        }
        ensure!(!heard.contains("$skein/probe/stranger"), "{series:?}");

        // Nobody is let in as a bridge, or as Skein, without the password of that broker; and nobody by any other name.
        let elsewhere = secret(&fleet)?.bridge(&name("a"), &name("i"));
        for (user, password) in [
            ("skein", ""),
            ("skein:a", ""),
            ("skein:a", "skein:a"),
            ("sensor", "secret"),
            (elsewhere.user.as_str(), elsewhere.password.expose()),
        ] {
            let found = RawClient::connect(&address, "thief", true, Some((user, password))).await;
            ensure!(found.is_err(), "{series:?}: {user} came in");
        }

        // Passwords are in files of their owner only, the secret in one, and neither in what is printed.
        let secret_text = secret(&fleet)?.to_text();
        let password = secret(&fleet)?.bridge(&name("a"), &name("b"));
        let mut with_password = 0;
        for (path, content) in files(&fleet.state())? {
            let has_secret = says(&content, &secret_text);
            let is_secret = path == fleet.state().join("secret");
            ensure!(has_secret == is_secret, "{series:?} {}", path.display());
            if has_secret || says(&content, "remote_password") || says(&content, password.password.expose()) {
                with_password += 1;
                let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
                ensure!(mode == 0o600, "{series:?} {} has {mode:o}", path.display());
            }
        }
        ensure!(with_password > 3, "{series:?}: {with_password}");
        let out = fleet.state().join("../rendered");
        up.skein(&["render", out.to_str().unwrap()]).await?;
        let mut printed = files(&out)?;
        for arguments in [["plan", "-o", "json"], ["status", "-o", "json"]] {
            printed.push((PathBuf::new(), up.skein(&arguments).await?.into_bytes()));
        }
        printed.push((PathBuf::new(), fleet.log().into_bytes()));
        for (path, content) in printed {
            ensure!(!says(&content, "remote_password"), "{}", path.display());
            ensure!(!says(&content, password.password.expose()), "{}", path.display());
        }
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_that_was_killed_bars_whom_it_barred() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::square(series)?;
        let up = fleet.up()?;
        up.wait_settled(PATIENCE).await?;
        fence::<RumqttSession>(&administrator(&fleet, "b").await?, &users(&["a"])).await?;
        up.wait_status("the path to be cut", PATIENCE, |status| {
            status["paths"][0]["up"] == false
        })
        .await?;
        kill(&fleet, "b").await?;
        ensure!(
            barred_at(&fleet, "b").await? == BTreeSet::from(["skein:a".to_owned()]),
            "{series:?}"
        );
        // Another supervisor does not let anybody in either; another skein up does, as it knows nothing against a.
        up.kill().await?;
        let supervisor = fleet.supervisor("b")?;
        kill_process(supervisor, Signal::KILL)?;
        let up = fleet.up()?;
        wait_until("another supervisor of b", PATIENCE, async || {
            fleet.supervisor("b").is_ok_and(|now| now != supervisor)
        })
        .await?;
        wait_until("a to be let in", PATIENCE, async || bars(&fleet, "b", &[]).await).await?;
        up.wait_settled(PATIENCE).await?;
        up.check_once("farm/again/soil", "i", "a", PATIENCE).await?;

        // A file that cannot be read bars all, until skein up lets in whom nobody wants barred.
        let file = fleet.state().join("brokers/b/data/dynamic-security.json");
        let whole = fs::read_to_string(&file)?;
        fs::write(&file, &whole[..whole.len() / 2])?;
        kill(&fleet, "b").await?;
        let why = report(&fleet, "b")?["allBarred"].clone();
        ensure!(
            why.as_str().is_some_and(|why| why.contains("cannot be read")),
            "{series:?} {why}"
        );
        wait_until("all to be let in", PATIENCE, async || {
            bars(&fleet, "b", &[]).await
        })
        .await?;
        let status = up.wait_settled(PATIENCE).await?;
        up.check_once("farm/mended/soil", "i", "a", PATIENCE).await?;
        ensure!(barred_at(&fleet, "b").await?.is_empty(), "{series:?} {status:#}");
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn whom_its_controller_bars_a_broker_bars_though_its_own_file_is_lost() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::square(series)?;
        let up = fleet.up()?;
        let processes = broker_processes(&up.wait_settled(PATIENCE).await?)?;
        let is_barred = async || bars(&fleet, "b", &["a"]).await;
        up.skein(&["break", "a", "--hang"]).await?;
        wait_until("b to keep a out", PATIENCE, is_barred).await?;
        // As a skein up leaves it that is killed before it can tell the process.
        up.kill().await?;
        unfence::<RumqttSession>(&administrator(&fleet, "b").await?, &users(&["a"])).await?;
        let up = fleet.up()?;
        wait_until("the process to bar a", PATIENCE, is_barred).await?;
        ensure!(
            broker_of(&fleet, "b")? == processes["b"],
            "{series:?}: b was restarted"
        );

        // All are barred by a file that is lost: the others are let in again, and a is not.
        let b = BrokerDirectory::new(fleet.state().join("brokers/b"));
        let file = b.security_file();
        for half in [true, false] {
            if half {
                let whole = fs::read_to_string(&file)?;
                fs::write(&file, &whole[..whole.len() / 2])?;
            } else {
                fs::remove_file(&file)?;
            }
            kill(&fleet, "b").await?;
            ensure!(!report(&fleet, "b")?["allBarred"].is_null(), "{series:?}");
            wait_until("all but a to be let in", PATIENCE, is_barred).await?;
        }
        kill(&fleet, "b").await?;
        ensure!(is_barred().await, "{series:?}");
        ensure!(report(&fleet, "b")?["allBarred"].is_null(), "{series:?}");
        up.skein(&["mend", "a"]).await?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        ensure!(barred_at(&fleet, "b").await?.is_empty(), "{series:?}");
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_hung_broker_is_kept_out_until_it_runs_what_is_safe() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::square(series)?;
        let up = fleet.up()?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        up.skein(&["break", "b", "--hang"]).await?;
        up.wait_path("soil", "i", "a", "a c i", PATIENCE).await?;
        wait_until("i to keep b out", PATIENCE, async || {
            bars(&fleet, "i", &["b"]).await
        })
        .await?;
        up.skein(&["mend", "b"]).await?;
        up.wait_way("soil", "i", "a", "a b i").await?;
        ensure!(barred_at(&fleet, "i").await?.is_empty(), "{series:?}");
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_broker_that_joins_is_let_in_by_those_that_run() -> Result<()> {
    for series in Series::ALL {
        let fleet = Fleet::square(series)?;
        let up = fleet.up()?;
        let before = broker_processes(&up.wait_settled(PATIENCE).await?)?;
        let more = Manifest::new().brokers("x").routes("b-x");
        let more = more.topic("more", "more/#", "b", "x");
        fleet.write("more.yaml", more.text())?;
        up.wait_path("more", "b", "x", "x b", PATIENCE).await?;
        up.wait_settled(PATIENCE).await?;
        ensure!(
            broker_processes(&up.status().await?)?["b"] == before["b"],
            "{series:?}: b was restarted"
        );
        up.check_once("more/1", "b", "x", PATIENCE).await?;
        // And again after a restart.
        kill(&fleet, "b").await?;
        up.wait_settled(PATIENCE).await?;
        up.check_once("more/2", "b", "x", PATIENCE).await?;
        up.stop().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_fleet_that_knew_no_users_comes_to_know_them() -> Result<()> {
    for series in Series::ALL {
        // A Mosquitto to which the plugin is added later.
        let prefix = tempfile::Builder::new().prefix("skein-prefix-").tempdir()?;
        for folder in ["bin", "lib"] {
            fs::create_dir(prefix.path().join(folder))?;
        }
        let mosquitto = prefix.path().join("bin/mosquitto");
        fs::copy(find_mosquitto(series)?, &mosquitto)?;
        let add = |file: &str| -> Result<()> {
            fs::copy(plugin(series, file)?, prefix.path().join("lib").join(file))?;
            Ok(())
        };
        if series == Series::Newest {
            add("mosquitto_persist_sqlite.so")?;
        }
        let manifests = prefix.path().join("manifests");
        fs::create_dir(&manifests)?;
        let fleet = Fleet::of(manifests, skein(), mosquitto)?;
        fleet.write("brokers.yaml", Manifest::new().brokers("a b c i").text())?;
        let routes = Manifest::new().routes("a-b b-i a-c:2 c-i:2");
        fleet.write("routes.yaml", routes.soil().text())?;

        let up = fleet.up()?;
        let status = up.wait_settled(PATIENCE).await?;
        ensure!(is_open(&status), "{series:?} {status:#}");
        let address = fleet.client_address("b").await?;
        let mut client = RawClient::connect(&address, "client", true, None).await?;
        ensure!(client.subscribe("$skein/#", 1).await?, "{series:?}");
        let traffic = Traffic::start(&fleet).await?;
        traffic.flows(20).await?;
        // It is away while the fleet comes to know its users.
        let at_a = fleet.client_address("a").await?;
        let mut cellar = RawClient::connect(&at_a, "cellar", false, None).await?;
        cellar.subscribe("farm/cellar/soil", 1).await?;
        cellar.disconnect().await?;
        for payload in ["1", "2", "3"] {
            publish_once(&traffic.address, "farm/cellar/soil", payload, 1, false).await?;
        }

        up.kill().await?;
        add("mosquitto_dynamic_security.so")?;
        let up = fleet.up()?;
        wait_until("b to ask for names", PATIENCE, async || {
            let Ok(mut client) = RawClient::connect(&address, "client", true, None).await else {
                return false;
            };
            client
                .subscribe("$skein/#", 1)
                .await
                .is_ok_and(|granted| !granted)
        })
        .await?;
        let status = up.wait_settled(PATIENCE).await?;
        ensure!(!is_open(&status), "{series:?} {status:#}");
        ensure!(barred_at(&fleet, "b").await?.is_empty(), "{series:?}");
        traffic.flows(20).await?;
        publish_once(&traffic.address, "farm/cellar/soil", "4", 1, false).await?;
        let office = traffic.finish().await?;
        let summary = office.summary();
        ensure!(summary.lost == 0, "{series:?}: {summary}");
        let mut cellar = RawClient::connect(&at_a, "cellar", false, None).await?;
        ensure!(cellar.session_present(), "{series:?}: its session is gone");
        let mut waited = Vec::new();
        while waited.last().is_none_or(|last| last != "4") {
            let publish = cellar
                .receive(PATIENCE)
                .await?
                .context("nothing comes any more")?;
            cellar.acknowledge(&publish).await?;
            waited.push(publish.payload);
        }
        ensure!(waited == ["1", "2", "3", "4"], "{series:?} {waited:?}");
        up.stop().await?;
    }
    Ok(())
}
