//! A whole fleet: manifests in a folder of their own, run by the built `skein`, with nothing left behind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::mosquitto::{Series, find_mosquitto};
use crate::place::{repository, skein};
use crate::wait::wait_for;

const STOPPING: Duration = Duration::from_secs(20);

/// A folder with manifests and a state directory. Dropping it ends every process that still uses the state.
#[derive(Debug)]
pub struct Fleet {
    folder: TempDir,
    manifests: PathBuf,
    skein: PathBuf,
    mosquitto: PathBuf,
    left: bool,
}

impl Fleet {
    /// An empty fleet that will run on a Mosquitto series.
    pub fn new(series: Series) -> Result<Self> {
        Self::empty(skein(), find_mosquitto(series)?)
    }

    /// An empty fleet, run by programs of the caller's choice.
    pub fn empty(skein: PathBuf, mosquitto: PathBuf) -> Result<Self> {
        let mut fleet = Self::of(PathBuf::new(), skein, mosquitto)?;
        fleet.manifests = fleet.folder.path().join("manifests");
        fs::create_dir(&fleet.manifests)?;
        Ok(fleet)
    }

    /// A fleet of manifests that are elsewhere, run by programs of the caller's choice.
    pub fn of(manifests: PathBuf, skein: PathBuf, mosquitto: PathBuf) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-fleet-").tempdir()?;
        Ok(Self {
            folder,
            manifests,
            skein,
            mosquitto,
            left: false,
        })
    }

    /// A copy of a sample from `deploy/samples`.
    pub fn sample(name: &str, series: Series) -> Result<Self> {
        let fleet = Self::new(series)?;
        fleet.copy_sample(name)?;
        Ok(fleet)
    }

    /// Copies a sample's manifests into this fleet.
    pub fn copy_sample(&self, name: &str) -> Result<()> {
        let from = repository().join("deploy/samples").join(name);
        for entry in fs::read_dir(&from).with_context(|| format!("no sample at {}", from.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "yaml")
                && let Some(file) = path.file_name()
            {
                fs::copy(&path, self.manifests().join(file))?;
            }
        }
        Ok(())
    }

    /// Writes a manifest file, by rename, as a careful editor does.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let target = self.manifests().join(file);
        let draft = self.folder.path().join("draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, target)?)
    }

    /// Reads a manifest file.
    pub fn read(&self, file: &str) -> Result<String> {
        Ok(fs::read_to_string(self.manifests().join(file))?)
    }

    /// Removes a manifest file.
    pub fn remove(&self, file: &str) -> Result<()> {
        Ok(fs::remove_file(self.manifests().join(file))?)
    }

    /// The folder with the manifests.
    #[must_use]
    pub fn manifests(&self) -> &Path {
        &self.manifests
    }

    /// The folder of its own, which every process of it names in its command line.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The state directory.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The log of every `skein up` of this fleet.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("up.log")).unwrap_or_default()
    }

    /// Starts `skein up` on this fleet. It may already be running or have been killed: that is for the test to say.
    pub fn up(&self) -> Result<Up<'_>> {
        self.start(&mut Command::new(&self.skein))
    }

    /// The same in a process group of its own: a Ctrl-C in the terminal does not reach it, so it outlives the caller
    /// unless it is dropped.
    pub fn up_apart(&self) -> Result<Up<'_>> {
        self.start(Command::new(&self.skein).process_group(0))
    }

    fn start(&self, command: &mut Command) -> Result<Up<'_>> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join("up.log"))?;
        let child = command
            .arg("up")
            .arg("-f")
            .arg(self.manifests())
            .arg("--state")
            .arg(self.state())
            .arg("--mosquitto")
            .arg(&self.mosquitto)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.skein.display()))?;
        Ok(Up {
            fleet: self,
            child,
            left: false,
        })
    }

    /// Runs `skein ARGUMENTS --state STATE` and gives what it printed, whatever its exit code.
    pub async fn run(&self, arguments: &[&str]) -> Result<Output> {
        let output = Command::new(&self.skein)
            .args(arguments)
            .arg("--state")
            .arg(self.state())
            .stdin(Stdio::null())
            .output()
            .await;
        output.with_context(|| format!("cannot run {}", self.skein.display()))
    }

    /// Like [`Fleet::run`], but an error if it fails; gives its standard output.
    pub async fn skein(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments).await?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("skein {} failed ({}): {why}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `skein plan -o json` of the running fleet. Findings of severity error are not a failure here.
    pub async fn plan(&self) -> Result<Value> {
        let output = self.run(&["plan", "-o", "json"]).await?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let why = String::from_utf8_lossy(&output.stderr);
            format!("skein plan -o json ended with {}: {why}", output.status)
        })
    }

    /// `skein status -o json`.
    pub async fn status(&self) -> Result<Value> {
        let text = self.skein(&["status", "-o", "json"]).await?;
        serde_json::from_str(&text).with_context(|| format!("skein status -o json printed: {text}"))
    }

    /// Waits until the status fulfils a condition, and gives it.
    pub async fn wait_status(
        &self,
        description: &str,
        timeout: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let file = self.state().join("status.json");
        let mut last = None;
        let found = wait_for(description, timeout, async || {
            // The file that `skein status` prints, because starting a process for each look would disturb the timing.
            let status: Value = serde_json::from_str(&fs::read_to_string(&file).ok()?).ok()?;
            last = Some(status.clone());
            condition(&status).then_some(status)
        });
        found.await.with_context(|| match last {
            Some(status) => format!("the last status was {status:#}\nskein up said:\n{}", self.log()),
            None => format!("there was no status; skein up said:\n{}", self.log()),
        })
    }

    /// Waits until every broker is up and every path of the plan carries probes.
    pub async fn wait_ready(&self, timeout: Duration) -> Result<Value> {
        self.wait_status("every path to be up", timeout, |status| {
            let paths = status["paths"].as_array();
            let brokers = status["brokers"]
                .as_array()
                .is_some_and(|brokers| !brokers.is_empty());
            brokers && paths.is_some_and(|paths| paths.iter().all(|path| path["up"] == true))
        })
        .await
    }

    /// Waits until the fleet is at rest: every broker that is not down is ready and runs the last configuration it was
    /// given, and every path is up.
    pub async fn wait_settled(&self, timeout: Duration) -> Result<Value> {
        self.wait_status("the fleet to be at rest", timeout, |status| {
            let rests = |broker: &Value| {
                broker["phase"] == "Down"
                    || broker["phase"] == "Ready" && broker["epochGiven"] == broker["epochLoaded"]
            };
            let all = |list: &str, holds: &dyn Fn(&Value) -> bool| {
                status[list].as_array().is_some_and(|list| list.iter().all(holds))
            };
            status["settled"] == true && all("brokers", &rests) && all("paths", &|path| path["up"] == true)
        })
        .await
    }

    /// Waits until the path of a topic from one broker to another is up and reads so, consumer first: `"a b c i"`.
    pub async fn wait_path(
        &self,
        topic: &str,
        producer: &str,
        consumer: &str,
        brokers: &str,
        timeout: Duration,
    ) -> Result<Value> {
        let wanted: Vec<&str> = brokers.split_whitespace().collect();
        let what = format!("{topic} to flow {}", wanted.join(" ← "));
        self.wait_status(&what, timeout, |status| {
            status["paths"].as_array().into_iter().flatten().any(|path| {
                path["topic"] == topic
                    && path["producer"] == producer
                    && path["consumer"] == consumer
                    && path["up"] == true
                    && path["path"]
                        .as_array()
                        .is_some_and(|path| path.iter().eq(wanted.iter().copied()))
            })
        })
        .await
    }

    /// A broker in the status.
    pub async fn broker(&self, name: &str) -> Result<Value> {
        let status = self.status().await?;
        let mut brokers = status["brokers"].as_array().into_iter().flatten();
        let found = brokers.find(|broker| broker["name"] == name).cloned();
        found.with_context(|| format!("the status has no broker {name}: {status:#}"))
    }

    /// Where clients of a broker connect: `host:port`, the same for as long as the fleet lives.
    pub async fn client_address(&self, broker: &str) -> Result<String> {
        let found = self.broker(broker).await?;
        let address = found["clientAddress"].as_str();
        address
            .map(str::to_owned)
            .with_context(|| format!("the status gives {broker} no client address: {found}"))
    }

    /// Leaves the state and the processes as they are; gives the state directory.
    #[must_use]
    pub fn leave(mut self) -> PathBuf {
        let state = self.state();
        self.folder.disable_cleanup(true);
        self.left = true;
        state
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        // A supervisor restarts its broker, so go round until nothing is left.
        for _ in 0..20 {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for pid in left {
                if let Some(pid) = Pid::from_raw(pid) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A running `skein up`. Dropping it interrupts it and waits until it has stopped what it started.
#[derive(Debug)]
pub struct Up<'fleet> {
    fleet: &'fleet Fleet,
    child: Child,
    left: bool,
}

impl std::ops::Deref for Up<'_> {
    type Target = Fleet;

    fn deref(&self) -> &Fleet {
        self.fleet
    }
}

impl Up<'_> {
    /// Kills `skein up` alone with SIGKILL: brokers and forwarders go on.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("skein up had already ended")
    }

    /// Presses Ctrl-C and waits for the end; an error if it fails, or leaves a process behind.
    pub async fn stop(mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        let ended = tokio::time::timeout(STOPPING, self.child.wait()).await;
        let status = ended.context("skein up does not stop on Ctrl-C")??;
        if !status.success() {
            bail!("skein up ended with {status}: {}", self.fleet.log());
        }
        self.fleet.ensure_ended()
    }

    /// Waits until it ends by itself, as where it refuses to start.
    pub async fn ended(mut self, timeout: Duration) -> Result<std::process::ExitStatus> {
        let ended = tokio::time::timeout(timeout, self.child.wait()).await;
        Ok(ended.context("skein up goes on")??)
    }

    /// Waits for however long until it ends by itself.
    pub async fn wait_end(&mut self) -> Result<std::process::ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Leaves it running; gives its process id.
    pub fn leave(mut self) -> Result<u32> {
        self.left = true;
        self.child.id().context("skein up has ended")
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self
            .child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        Ok(kill_process(pid.context("skein up has ended")?, signal)?)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        if self.left || !matches!(self.child.try_wait(), Ok(None)) || self.signal(Signal::INT).is_err() {
            return;
        }
        let deadline = std::time::Instant::now() + STOPPING;
        while matches!(self.child.try_wait(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.start_kill();
    }
}
