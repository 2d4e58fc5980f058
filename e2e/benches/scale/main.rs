//! A thousand brokers: how long until a controller that begins has all of them as they are declared, what it takes for that, how long one
//! change takes then, and what it does when nothing happens.
//!
//! Brokers are external with an agent each. One small process answers for all of them: it speaks as much MQTT as Skein does with
//! brokers, and reports as agents do. The API server is real.
//!
//! Takes a cluster (`SKEIN_CLUSTER`), and root for addresses of the loopback interface that are none of 127.0.0.0/8 (no Service leads
//! there). `SKEIN_BENCH_BROKERS` sets how many brokers there are (1000; three routes and ten topics for each), `SKEIN_BENCH_CHANGES` how
//! many changes (40), `SKEIN_BENCH_IDLE` how many seconds nothing happens (600).

#![allow(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod agents;
mod bus;
mod declare;

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Resource, Rlimit};
use serde_json::{Value, json};
use skein_api::fleet::drawn::{broker, topic_name};
use skein_e2e::{
    ApiProxy, Cluster, Controller, Namespace, definitions, from_environment, is_bench, operator, quantile,
};
use tokio::net::TcpListener;

use agents::Agents;
use bus::Bus;
use declare::{PORT, address, classes, declare};

/// The most that it may take until all is as it is declared.
const PATIENCE: Duration = Duration::from_mins(15);
/// How it goes is told so often.
const TELL: Duration = Duration::from_secs(10);
/// Nothing new is loaded for so long: a change is in force everywhere.
const QUIET: Duration = Duration::from_secs(3);
/// Where agents are asked.
const ASKED: u16 = 9883;
/// The addresses of brokers.
const NETWORK: &str = "10.250.0.0/16";

fn main() -> Result<()> {
    if !is_bench() {
        return Ok(());
    }
    let Some(cluster) = Cluster::find("scale") else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(bench(&cluster))
}

async fn bench(cluster: &Cluster) -> Result<()> {
    let brokers = from_environment("SKEIN_BENCH_BROKERS", 1000, 10);
    let changes = from_environment("SKEIN_BENCH_CHANGES", 40, 1);
    let idle = Duration::from_secs(from_environment("SKEIN_BENCH_IDLE", 600, 1));
    let _network = Network::begin()?;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    // Given a fleet that is declared,
    definitions(cluster).await?;
    cluster.without_controller().await?;
    let namespace = cluster.namespace("scale").await?;
    let proxy = Arc::new(ApiProxy::start(cluster).await?);
    let begin = Instant::now();
    let (routes, topics) = declare(&proxy, namespace.name(), brokers).await?;
    println!(
        "{brokers} Brokers, {routes} NodeRoutes and {topics} Topics declared in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    // whose brokers are there,
    let bus = Arc::new(Bus::default());
    tokio::spawn(bus.clone().serve(TcpListener::bind(("0.0.0.0", PORT)).await?));
    tokio::spawn(agents::answer(TcpListener::bind(("0.0.0.0", ASKED)).await?));
    let addresses: BTreeMap<String, IpAddr> = (0..brokers)
        .map(|number| (broker(number).to_string(), address(number)))
        .collect();
    let agents = Agents::new(proxy.clone(), namespace.name(), bus.clone(), addresses);
    tokio::spawn(agents.clone().work());
    // a controller that begins brings all of it in force,
    let log = std::env::temp_dir().join(format!("skein-scale-{}.log", std::process::id()));
    let declared = writes(cluster).await?;
    let begin = Instant::now();
    let controller = Controller::standing_by(&operator(), cluster.kubeconfig(), namespace.name(), &log)?;
    let pid = controller.id().context("the controller has ended")?;
    let cold = converged(&proxy, &agents, &namespace, brokers, begin, pid).await;
    let cold = cold.with_context(|| format!("see {}", log.display()))?;
    let resident = memory(pid, "VmHWM")?;
    println!(
        "converged after {:.1} s, {resident:.0} MB at most",
        cold.as_secs_f64()
    );
    let given: f64 = agents.taken().values().map(|taken| taken.count).sum();
    println!(
        "{:.1} configurations a broker; written: {:?}",
        given / brokers as f64,
        difference(&declared, &writes(cluster).await?)
    );
    // one change is no matter,
    let mut took = Vec::new();
    for number in 0..changes {
        let millis = change(&proxy, &agents, &namespace, number).await?;
        println!("change {number}: {millis:.0} ms");
        took.push(millis);
    }
    // and when nothing happens nothing is written.
    let (before, cpu, published) = (writes(cluster).await?, cpu_seconds(pid)?, bus.published());
    let begin = Instant::now();
    tokio::time::sleep(idle).await;
    let quiet = begin.elapsed().as_secs_f64();
    let written = difference(&before, &writes(cluster).await?);
    println!("written in {quiet:.0} s of quiet: {written:?}");
    let line = json!({
        "bench": "scale",
        "brokers": brokers, "routes": routes, "topics": topics,
        "cold_s": cold.as_secs_f64(),
        "resident_mb": resident,
        "resident_idle_mb": memory(pid, "VmRSS")?,
        "change_p50_ms": quantile(&took, 0.5),
        "change_p95_ms": quantile(&took, 0.95),
        "idle_s": quiet,
        "idle_writes": written.values().sum::<f64>(),
        "idle_cpu_percent": (cpu_seconds(pid)? - cpu) / quiet * 100.0,
        "idle_messages_a_second": (bus.published() - published) as f64 / quiet,
    });
    println!("{line}");
    fs::remove_file(&log)?;
    Ok(())
}

/// Waits until every broker runs what it was given last, and every object says that it is ready.
async fn converged(
    proxy: &ApiProxy,
    agents: &Agents,
    namespace: &Namespace,
    brokers: usize,
    begin: Instant,
    pid: u32,
) -> Result<Duration> {
    let mut loaded_at = None;
    let mut told = begin;
    while begin.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(500)).await;
        ensure!(fs::exists(format!("/proc/{pid}"))?, "the controller has ended");
        let loaded = {
            let taken = agents.taken();
            let loaded = taken
                .values()
                .filter(|taken| taken.reported.is_some_and(|(epoch, _)| epoch == taken.given));
            loaded.count()
        };
        if loaded < brokers {
            loaded_at = None;
            if told.elapsed() > TELL {
                told = Instant::now();
                println!(
                    "{:.0} s: {loaded} of {brokers} brokers run what they were given",
                    begin.elapsed().as_secs_f64()
                );
            }
            continue;
        }
        let at = *loaded_at.get_or_insert_with(|| {
            println!(
                "every broker runs a configuration after {:.1} s",
                begin.elapsed().as_secs_f64()
            );
            Instant::now()
        });
        if at.elapsed() < Duration::from_secs(1) {
            continue;
        }
        let mut all = true;
        for kind in ["brokers", "noderoutes", "topics"] {
            let ready = ready(proxy, namespace, kind).await?;
            all &= ready.0 == ready.1;
            if ready.0 != ready.1 {
                println!(
                    "{:.0} s: {} of {} {kind} are ready",
                    begin.elapsed().as_secs_f64(),
                    ready.0,
                    ready.1
                );
                tokio::time::sleep(Duration::from_secs(2)).await;
                break;
            }
        }
        if all {
            return Ok(begin.elapsed());
        }
    }
    bail!("not all is ready after {PATIENCE:?}")
}

/// How many are ready, of how many.
async fn ready(proxy: &ApiProxy, namespace: &Namespace, kind: &str) -> Result<(usize, usize)> {
    let path = format!(
        "/apis/mqtt.skein.dev/v1alpha1/namespaces/{}/{kind}?resourceVersion=0",
        namespace.name()
    );
    let list = proxy.get(&path).await?;
    let items = list["items"].as_array().context("no list")?;
    let is_ready = |item: &&Value| {
        let conditions = item["status"]["conditions"].as_array().into_iter().flatten();
        let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
        ready
            .next()
            .is_some_and(|condition| condition["status"] == "True")
    };
    Ok((items.iter().filter(is_ready).count(), items.len()))
}

/// Changes where a topic is consumed; gives the milliseconds until the last broker that it concerns is known to use its new
/// configuration.
async fn change(proxy: &ApiProxy, agents: &Agents, namespace: &Namespace, number: usize) -> Result<f64> {
    let before: BTreeMap<String, u64> = {
        let taken = agents.taken();
        let reported = |taken: &agents::Taken| taken.reported.map_or(0, |(epoch, _)| epoch);
        taken
            .iter()
            .map(|(broker, taken)| (broker.clone(), reported(taken)))
            .collect()
    };
    let wish = json!({"spec": {"consumers": [{"broker": broker(number * 7 % before.len()).as_str()}]}});
    let path = format!(
        "/apis/mqtt.skein.dev/v1alpha1/namespaces/{}/topics/{}",
        namespace.name(),
        topic_name(number * 3 % classes(before.len()), 5)
    );
    let begin = Instant::now();
    proxy.patch(&path, &wish).await?;
    let mut last = None;
    loop {
        tokio::time::sleep(QUIET / 10).await;
        {
            let taken = agents.taken();
            let news = taken.iter().filter_map(|(broker, taken)| {
                let (epoch, at) = taken.reported?;
                (before.get(broker) != Some(&epoch)).then_some(at)
            });
            last = news.max().or(last);
            let is_over = taken
                .values()
                .all(|taken| taken.reported.is_some_and(|(epoch, _)| epoch == taken.given));
            if let Some(last) = last.filter(|last| is_over && last.elapsed() > QUIET) {
                return Ok((last - begin).as_secs_f64() * 1000.0);
            }
        }
        ensure!(begin.elapsed() < PATIENCE, "nobody loads anything after a change");
    }
}

/// How often objects of a kind that Skein writes were written since the API server began.
async fn writes(cluster: &Cluster) -> Result<BTreeMap<String, f64>> {
    const OURS: [&str; 9] = [
        "brokers",
        "noderoutes",
        "topics",
        "migrations",
        "secrets",
        "configmaps",
        "services",
        "endpointslices",
        "roles",
    ];
    let metrics = cluster.kubectl(&["get", "--raw", "/metrics"]).await?;
    let mut writes = BTreeMap::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let Some((labels, value)) = rest.split_once("} ") else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split('"').next()
        };
        let is_write = label("verb").is_some_and(|verb| !["GET", "LIST", "WATCH"].contains(&verb));
        let Some(resource) = label("resource").filter(|resource| is_write && OURS.contains(resource)) else {
            continue;
        };
        *writes.entry(resource.to_owned()).or_default() += value.trim().parse::<f64>()?;
    }
    Ok(writes)
}

fn difference(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let more = |(kind, count): (&String, &f64)| {
        let more = count - before.get(kind).unwrap_or(&0.0);
        (more > 0.0).then(|| (kind.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

/// A line of `/proc/PID/status`, in megabytes.
fn memory(pid: u32, line: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kilobytes = line.context("no such line")?.trim().trim_end_matches(" kB");
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}

/// Processor time that a process has had.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no stat")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// Addresses that are this machine's own, until this is dropped.
struct Network;

impl Network {
    fn begin() -> Result<Self> {
        let made = Command::new("ip")
            .args(["route", "replace", "local", NETWORK, "dev", "lo"])
            .status()?;
        ensure!(made.success(), "brokers have no addresses: this takes root");
        Ok(Self)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["route", "delete", "local", NETWORK, "dev", "lo"])
            .status();
    }
}
