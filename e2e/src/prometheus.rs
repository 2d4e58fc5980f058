//! A real Prometheus on this machine that scrapes a cluster's pods, as `deploy/prometheus` has it find them, and is asked.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Cluster, free_port, repository, wait_until};

/// How long it may take to start.
const START: Duration = Duration::from_secs(30);

/// One that is killed when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    process: Child,
    folder: TempDir,
}

/// One series of an answer: its labels, and its samples by time in seconds since 1970.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// All but those that tell who was scraped.
    pub labels: Vec<(String, String)>,
    /// One if a moment was asked for.
    pub samples: Vec<(f64, f64)>,
}

impl Series {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Prometheus {
    /// Starts `prometheus`, which scrapes so often (`1s`, `250ms`) and evaluates the rules of `deploy/alerts`.
    pub async fn start(cluster: &Cluster, interval: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let scrape = fs::read_to_string(repository().join("deploy/prometheus/scrape.yaml"))?;
        let inside = "      - role: pod\n";
        ensure!(scrape.contains(inside), "deploy/prometheus has changed");
        let outside = format!(
            "{inside}        kubeconfig_file: {}\n",
            cluster.kubeconfig().display()
        );
        let rules = repository().join("deploy/alerts/skein.yaml");
        let config = format!(
            "global: {{scrape_interval: {interval}, scrape_timeout: {interval}, evaluation_interval: {interval}}}\nrule_files: [{}]\n{}",
            rules.display(),
            scrape.replace(inside, &outside)
        );
        let file = folder.path().join("prometheus.yaml");
        fs::write(&file, config)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let log = File::create(folder.path().join("log"))?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run prometheus, which `cargo xtask cluster build` builds and `cargo xtask cluster env` brings into the path")?;
        let prometheus = Self {
            address,
            process,
            folder,
        };
        let ready = wait_until("Prometheus to be ready", START, async || {
            let answer = prometheus.get("/-/ready").await;
            answer.is_ok_and(|(status, _)| status == 200)
        });
        if let Err(error) = ready.await {
            bail!("{error:#}\n{}", prometheus.log());
        }
        Ok(prometheus)
    }

    /// What it says of itself.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What a query gives now.
    pub async fn query(&self, query: &str) -> Result<Vec<Series>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let data = self.api(&path).await.with_context(|| format!("query {query}"))?;
        if data["resultType"] == "scalar" {
            let labels = Vec::new();
            let samples = vec![sample(&data["result"]).context("a scalar without a value")?];
            return Ok(vec![Series { labels, samples }]);
        }
        series(&data)
    }

    /// What it gives between two moments (seconds since 1970), with so many seconds between samples.
    pub async fn query_range(&self, query: &str, (from, to): (f64, f64), step: f64) -> Result<Vec<Series>> {
        let path = format!(
            "/api/v1/query_range?query={}&start={from:.3}&end={to:.3}&step={step}",
            encoded(query)
        );
        let data = self.api(&path).await.with_context(|| format!("query {query}"))?;
        series(&data)
    }

    /// The data of an answer of its API.
    pub async fn api(&self, path: &str) -> Result<Value> {
        let (status, body) = self.get(path).await?;
        let mut answer: Value =
            serde_json::from_str(&body).with_context(|| format!("status {status}: {body}"))?;
        ensure!(
            answer["status"] == "success",
            "status {status}: {}",
            answer["error"]
        );
        Ok(answer["data"].take())
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect(&self.address).await?;
        // Version 1.0, so that the answer comes in one piece.
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        let status = head.split_whitespace().nth(1).context("no status")?;
        Ok((status.parse()?, body.to_owned()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As a part of a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn series(data: &Value) -> Result<Vec<Series>> {
    let result = data["result"].as_array().context("no result")?;
    let one = |found: &Value| {
        let labels = found["metric"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        let moment = std::slice::from_ref(&found["value"]);
        let samples = found["values"].as_array().map_or(moment, Vec::as_slice).iter();
        Series {
            labels: labels
                .filter(|(name, _)| !["instance", "job", "pod"].contains(&name.as_str()))
                .collect(),
            samples: samples.filter_map(sample).collect(),
        }
    };
    Ok(result.iter().map(one).collect())
}

fn sample(pair: &Value) -> Option<(f64, f64)> {
    // Go and Rust write numbers alike, those that are none included.
    Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?))
}
