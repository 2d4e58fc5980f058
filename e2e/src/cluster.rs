//! The Kubernetes that tests run on: found, asked by `kubectl`, and its nodes hurt. It knows nothing of how it came up; that is
//! `cargo xtask cluster`'s business.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use anyhow::{Context as _, Result, bail};
use rustix::process::getpid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::measure::is_bench;
use crate::place::named_path;
use crate::story::{Kubectl, story};

/// Names the kubeconfig of the cluster that tests may use.
const CLUSTER: &str = "SKEIN_CLUSTER";
/// Names the program that can hurt that cluster's nodes.
const XTASK: &str = "SKEIN_XTASK";

/// A cluster that is up.
#[derive(Clone, Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
}

impl Cluster {
    /// The one that `SKEIN_CLUSTER` names. Without it the test of this name has to end at once, and this says so.
    #[must_use]
    pub fn find(test: &str) -> Option<Self> {
        let Some(kubeconfig) = named_path(CLUSTER) else {
            skip(
                test,
                "SKEIN_CLUSTER names no kubeconfig; `cargo xtask cluster up`, then eval \"$(cargo xtask cluster env)\"",
            );
            return None;
        };
        Some(Self { kubeconfig })
    }

    /// The same, for tests that hurt nodes: it has to be a cluster of `cargo xtask cluster`, too.
    #[must_use]
    pub fn find_with_nodes(test: &str) -> Option<Self> {
        let cluster = Self::find(test)?;
        if named_path(XTASK).is_none() {
            skip(
                test,
                "SKEIN_XTASK names no xtask: this cluster's nodes are not ours to hurt",
            );
            return None;
        }
        Some(cluster)
    }

    /// By which it is reached.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The one of this kubeconfig.
    #[must_use]
    pub fn at(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
        }
    }

    fn command(&self) -> Program {
        let mut command = Program::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(Stdio::null());
        command
    }

    /// What `kubectl` prints; an error holds what it complains of.
    pub async fn kubectl(&self, words: &[&str]) -> Result<String> {
        let mut command = self.command();
        command.args(words);
        finish(
            Command::from(command),
            "",
            &format!("kubectl {}", words.join(" ")),
        )
        .await
    }

    /// Makes a namespace that is gone after the test. The pod security standard is `restricted`, as of a careful owner.
    pub async fn namespace(&self, name: &str) -> Result<Namespace> {
        self.recycle_volumes().await?;
        let name = format!("{name}-{}", getpid());
        let namespace = Namespace {
            cluster: self.clone(),
            name,
        };
        self.kubectl(&["create", "namespace", &namespace.name]).await?;
        let standard = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl(&["label", "namespace", &namespace.name, standard])
            .await?;
        Ok(namespace)
    }

    /// What `helm` prints; an error holds what it complains of.
    pub async fn helm(&self, words: &[&str]) -> Result<String> {
        let mut command = Program::new("helm");
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(words);
        command.stdin(Stdio::null());
        finish(Command::from(command), "", &format!("helm {}", words.join(" "))).await
    }

    /// Stops the controllers that another test has left here.
    pub async fn without_controller(&self) -> Result<()> {
        let selector = "--selector=app.kubernetes.io/name=skein";
        let stop = [
            "scale",
            "deployment",
            "--namespace=skein",
            selector,
            "--replicas=0",
        ];
        let deployments = [
            "get",
            "deployment",
            "--namespace=skein",
            selector,
            "--output=name",
        ];
        if !self.kubectl(&deployments).await?.is_empty() {
            self.kubectl(&stop).await?;
        }
        let gone = [
            "wait",
            "pod",
            "--namespace=skein",
            selector,
            "--for=delete",
            "--timeout=60s",
        ];
        self.kubectl(&gone).await.map(drop)
    }

    /// Lets Brokers go that wait for a controller, where there is none.
    pub fn free_brokers(&self) {
        let kubectl = |words: &[&str]| self.command().args(words).stderr(Stdio::null()).output();
        free_brokers(&kubectl, &["--all-namespaces"]);
    }

    /// Applies manifests that say where they belong.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_with(&[], manifests).await
    }

    /// Has the API server judge such manifests, strictly, and changes nothing.
    pub async fn judge(&self, manifests: &str) -> Result<()> {
        self.apply_with(&["--dry-run=server", "--validate=strict"], manifests)
            .await
    }

    async fn apply_with(&self, options: &[&str], manifests: &str) -> Result<()> {
        let mut command = self.command();
        command.args(["apply", "--filename", "-"]).args(options);
        command.stdin(Stdio::piped());
        finish(Command::from(command), manifests, "kubectl apply")
            .await
            .map(drop)
    }

    /// Does something to a node, as `cargo xtask cluster node ACTION NUMBER`.
    pub async fn node(&self, action: &str, number: u8) -> Result<()> {
        self.xtask(&["node", action, &number.to_string()]).await
    }

    /// Stops the API server in its tracks (`hang`), or lets it go on (`resume`).
    pub async fn server(&self, action: &str) -> Result<()> {
        self.xtask(&["server", action]).await
    }

    /// Lets others claim the volumes that tests have claimed and left, if they are ours. Done before each test, as they are left
    /// only some time after its end.
    pub async fn recycle_volumes(&self) -> Result<()> {
        match named_path(XTASK) {
            Some(_) => self.xtask(&["volumes"]).await,
            None => Ok(()),
        }
    }

    async fn xtask(&self, words: &[&str]) -> Result<()> {
        let program = named_path(XTASK).context("SKEIN_XTASK names no program")?;
        let folder = self.kubeconfig.parent().unwrap_or(Path::new("/"));
        let mut command = Command::new(program);
        command.arg("cluster").arg("--state").arg(folder);
        command.args(words).stdin(Stdio::null());
        let shown = format!("cargo xtask cluster {}", words.join(" "));
        finish(command, "", &shown).await.map(drop)
    }
}

/// A namespace that is deleted when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    cluster: Cluster,
    name: String,
}

impl Namespace {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What `kubectl` prints about what is in it.
    pub async fn kubectl(&self, words: &[&str]) -> Result<String> {
        let words = [&["--namespace", &self.name], words].concat();
        self.cluster.kubectl(&words).await
    }

    /// Applies manifests to it.
    pub async fn apply(&self, manifests: &str) -> Result<()> {
        self.apply_with(&[], manifests).await
    }

    /// Has the API server judge manifests, and changes nothing.
    pub async fn judge(&self, manifests: &str) -> Result<()> {
        self.apply_with(&["--dry-run=server"], manifests).await
    }

    async fn apply_with(&self, options: &[&str], manifests: &str) -> Result<()> {
        let mut command = self.cluster.command();
        command.args(["--namespace", &self.name, "apply", "--filename", "-"]);
        command.args(options).stdin(Stdio::piped());
        finish(Command::from(command), manifests, "kubectl apply")
            .await
            .map(drop)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let kubectl = |words: &[&str]| {
            let mut command = self.cluster.command();
            command.args(words);
            command.output()
        };
        // A test runner keeps this to itself unless the test fails; a benchmark says what it measured and no more.
        if !is_bench() {
            println!("{}", story(&kubectl, &self.name));
        }
        let _ = kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        // Nobody may be left to let Brokers go.
        free_brokers(&kubectl, &["--namespace", &self.name]);
    }
}

/// Takes the finalizers from Brokers that are being deleted, until there are none.
fn free_brokers(kubectl: Kubectl<'_>, place: &[&str]) {
    for _ in 0..20 {
        let each = "--output=jsonpath={range .items[?(@.metadata.finalizers)]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}";
        let held = kubectl(&[&["get", "brokers", each], place].concat());
        let held = held.map(|held| held.stdout).unwrap_or_default();
        let held = String::from_utf8_lossy(&held).into_owned();
        if held.trim().is_empty() {
            return;
        }
        for (namespace, name) in held.lines().filter_map(|line| line.split_once(' ')) {
            let free = "{\"metadata\":{\"finalizers\":null}}";
            let _ = kubectl(&[
                "--namespace",
                namespace,
                "patch",
                "broker",
                name,
                "--type=merge",
                "--patch",
                free,
            ]);
        }
    }
}

async fn finish(mut command: Command, input: &str, shown: &str) -> Result<String> {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.with_context(|| format!("cannot run `{shown}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).await?;
    }
    let output = child.wait_with_output().await?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("`{shown}` failed ({}): {}", output.status, why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Says that a test does not take place; `cargo xtask test` counts these lines. A test runner keeps to itself what is printed by
/// tests that pass, but not what is written like this.
fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stdout(), "\ntest skipped: {test}: {why}");
}
