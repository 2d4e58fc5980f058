//! Waiting for something to answer, and asking a Kubernetes that it does. It knows `kubectl`, and no processes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::places::{Cache, State};
use crate::command::{output, succeeds};

const INTERVAL: Duration = Duration::from_millis(100);

/// Asks until the answer is yes; an error of the question ends it at once.
pub(super) fn wait_for(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let begin = Instant::now();
    while !question()? {
        if begin.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        std::thread::sleep(INTERVAL);
    }
    Ok(())
}

/// A cluster's API, asked by the `kubectl` that was built for it.
pub(super) struct Api {
    program: PathBuf,
    kubeconfig: PathBuf,
    keys: PathBuf,
}

impl Api {
    /// Of this cluster, whatever KUBECONFIG says.
    pub(super) fn of(cache: &Cache, state: &State) -> Self {
        Self {
            program: cache.program("kubectl"),
            kubeconfig: state.kubeconfig(),
            keys: state.keys(),
        }
    }

    fn kubectl(&self, kubeconfig: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--kubeconfig").arg(kubeconfig);
        command
    }

    /// What it says to these words; an error that holds why not.
    pub(super) fn ask(&self, words: &[&str]) -> Result<String> {
        output(self.kubectl(&self.kubeconfig).args(words))
    }

    /// Whether it takes these words.
    pub(super) fn agrees(&self, words: &[&str]) -> bool {
        succeeds(self.kubectl(&self.kubeconfig).args(words))
    }

    /// Whether a server other than the API answers there. Its certificate is one that it made itself.
    pub(super) fn is_healthy(&self, server: &str, path: &str) -> bool {
        let mut command = self.kubectl(Path::new("/dev/null"));
        command.args(["--server", server, "get", "--raw", path]);
        if server.starts_with("https:") {
            // Without a name to give, kubectl would ask for one.
            command
                .arg("--insecure-skip-tls-verify")
                .arg("--client-certificate")
                .arg(self.keys.join("admin.crt"))
                .arg("--client-key")
                .arg(self.keys.join("admin.key"));
        }
        succeeds(&mut command)
    }

    /// Applies a manifest.
    pub(super) fn apply(&self, manifest: &Path) -> Result<()> {
        output(
            self.kubectl(&self.kubeconfig)
                .args(["apply", "--filename"])
                .arg(manifest),
        )
        .map(drop)
    }
}
