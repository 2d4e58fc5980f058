//! A failover on a real cluster, while a Prometheus scrapes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use skein_e2e::{Cluster, Namespace, Prometheus, START, SampledSeries, all_ready, migration, sample};
use tokio::time::sleep;

/// Who dies, on the way to [`CONSUMER`].
const VICTIM: &str = "c";
const CONSUMER: &str = "a";
/// Seconds between two samples.
const STEP: f64 = 0.25;
/// How long it is watched before anything happens, while the substitute serves, and after.
const BEFORE: Duration = Duration::from_secs(10);
const MEANWHILE: Duration = Duration::from_secs(12);
const AFTER: Duration = Duration::from_secs(10);

/// What is drawn. Times are seconds since the victim's pod was killed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recording {
    /// What it shows, as the beginning of a sentence.
    pub(crate) about: String,
    /// From when to when it was watched.
    pub(crate) span: (f64, f64),
    /// When nodes took pods again.
    pub(crate) mended: f64,
    /// The latency of paths in seconds, by what they are called; none where nothing came through.
    pub(crate) latencies: Vec<(String, Line)>,
    /// In which state something was from when to when: the victim's phases, who served its clients, the migration's phases.
    pub(crate) bands: Vec<(String, Vec<Band>)>,
}

/// Samples by time; none where a gap begins.
pub(crate) type Line = Vec<(f64, Option<f64>)>;

/// A state, from when to when.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Band {
    pub(crate) state: String,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}

/// Kills the pod of a broker where it cannot come back, and lets it come back later.
pub(super) async fn record(cluster: &Cluster) -> Result<Recording> {
    println!("a fleet of ten brokers comes up");
    let namespace = sample(cluster, "farm", "picture").await?;
    let prometheus = Prometheus::start(cluster, "250ms").await?;
    // A picture is of time that passes.
    sleep(BEFORE + Duration::from_secs(5)).await;
    let nodes = ["node1", "node2", "node3"];
    cluster.kubectl(&[&["cordon"], &nodes[..]].concat()).await?;
    println!("{VICTIM} dies");
    let killed = now()?;
    let replaced = replaced(&namespace).await;
    let mended = now()?;
    // Whatever comes out of it, nodes are to take pods again.
    cluster.kubectl(&[&["uncordon"], &nodes[..]].concat()).await?;
    replaced?;
    println!("it may come back");
    migration(&namespace, VICTIM, "FailedBack", START).await?;
    all_ready(&namespace, START).await?;
    sleep(AFTER).await;
    let span = (killed - BEFORE.as_secs_f64(), now()?);
    Asking {
        prometheus: &prometheus,
        namespace: namespace.name(),
        span,
        killed,
    }
    .recording(mended)
    .await
}

async fn replaced(namespace: &Namespace) -> Result<()> {
    let pod = format!("pod/{VICTIM}-0");
    namespace
        .kubectl(&["delete", &pod, "--force", "--grace-period=0"])
        .await?;
    migration(namespace, VICTIM, "Completed", START).await?;
    println!("its substitute serves");
    sleep(MEANWHILE).await;
    Ok(())
}

struct Asking<'a> {
    prometheus: &'a Prometheus,
    namespace: &'a str,
    span: (f64, f64),
    killed: f64,
}

impl Asking<'_> {
    async fn recording(&self, mended: f64) -> Result<Recording> {
        let mut latencies = Vec::new();
        let paths = self
            .ask(&format!(
                "skein_path_latency_seconds{{{},consumer=\"{CONSUMER}\"}}",
                self.of()
            ))
            .await?;
        for path in paths {
            let producer = path.label("producer").context("a path without a producer")?;
            let name = format!("{producer} → {CONSUMER}");
            latencies.push((name, self.line(&path)));
        }
        let bands = vec![
            (
                format!("broker {VICTIM}"),
                self.bands("skein_broker_phase", &format!(",broker=\"{VICTIM}\""), "phase")
                    .await?,
            ),
            (
                format!("who serves {VICTIM}'s clients"),
                self.bands(
                    "skein_broker_replaced",
                    &format!(",broker=\"{VICTIM}\""),
                    "substitute",
                )
                .await?,
            ),
            (
                "migration".to_owned(),
                self.bands("skein_migrations", "", "phase").await?,
            ),
        ];
        Ok(Recording {
            about: format!("Broker {VICTIM} of the sample farm, on the way of topic soil to {CONSUMER},"),
            span: (self.relative(self.span.0), self.relative(self.span.1)),
            mended: self.relative(mended),
            latencies,
            bands,
        })
    }

    fn of(&self) -> String {
        format!("namespace=\"{}\"", self.namespace)
    }

    async fn ask(&self, query: &str) -> Result<Vec<SampledSeries>> {
        self.prometheus.query_range(query, self.span, STEP).await
    }

    /// In seconds since the kill, to hundredths.
    fn relative(&self, at: f64) -> f64 {
        ((at - self.killed) * 100.0).round() / 100.0
    }

    /// A sample for each step; none where there is none.
    fn line(&self, series: &SampledSeries) -> Line {
        let mut line = Line::new();
        for (at, value) in &series.samples {
            let at = self.relative(*at);
            if let Some((last, _)) = line.last().copied()
                && at - last > 1.5 * STEP
            {
                line.push((self.after(last), None));
            }
            line.push((at, Some((value * 1e5).round() / 1e5)));
        }
        line
    }

    fn after(&self, at: f64) -> f64 {
        self.relative(self.killed + at + STEP)
    }

    /// Where the series of a metric are 1, by one of their labels.
    async fn bands(&self, metric: &str, more: &str, label: &str) -> Result<Vec<Band>> {
        let found = self.ask(&format!("{metric}{{{}{more}}} == 1", self.of())).await?;
        let mut bands: Vec<Band> = Vec::new();
        for series in &found {
            let state = series.label(label).context("a series without a label")?;
            let mut last: Option<Band> = None;
            for (at, _) in &series.samples {
                let from = self.relative(*at);
                let to = self.after(from);
                match &mut last {
                    Some(band) if from - band.to < STEP / 2.0 => band.to = to,
                    _ => bands.extend(last.replace(Band {
                        state: state.to_owned(),
                        from,
                        to,
                    })),
                }
            }
            bands.extend(last);
        }
        bands.sort_by(|one, other| one.from.total_cmp(&other.from));
        Ok(bands)
    }
}
