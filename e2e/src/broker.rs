//! One plain Mosquitto with a hand-written configuration, without anything of Skein.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::place::free_port;
use crate::wait::wait_until;

/// A running Mosquitto; killed when dropped.
#[derive(Debug)]
pub struct PlainBroker {
    port: u16,
    child: Child,
    folder: TempDir,
}

impl PlainBroker {
    /// Starts a broker on a free port of 127.0.0.1, anonymous clients allowed, with further lines of configuration, and
    /// waits until it accepts connections.
    pub async fn start(binary: &Path, config: &str) -> Result<Self> {
        Self::start_on(binary, free_port()?, config).await
    }

    /// The same on a given port.
    pub async fn start_on(binary: &Path, port: u16, config: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-broker-").tempdir()?;
        let text = format!(
            "{}listener {port} 127.0.0.1\nallow_anonymous true\n{config}\n",
            Self::user_line()
        );
        fs::write(folder.path().join("mosquitto.conf"), text)?;
        let child = Self::spawn(binary, folder.path())?;
        let mut broker = Self { port, child, folder };
        broker.wait_accepting().await?;
        Ok(broker)
    }

    /// `user root` where the tests run as root: else Mosquitto drops to a user that may not exist or may not read its
    /// own files. Empty otherwise.
    #[must_use]
    pub fn user_line() -> &'static str {
        if rustix::process::geteuid().is_root() {
            "user root\n"
        } else {
            ""
        }
    }

    fn spawn(binary: &Path, folder: &Path) -> Result<Child> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("log"))?;
        Command::new(binary)
            .arg("-c")
            .arg(folder.join("mosquitto.conf"))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))
    }

    async fn wait_accepting(&mut self) -> Result<()> {
        let port = self.port;
        let child = &mut self.child;
        let mut ended = None;
        let accepting = wait_until(
            "a plain broker to accept connections",
            Duration::from_secs(10),
            async || {
                ended = child.try_wait().ok().flatten();
                ended.is_some() || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            },
        );
        accepting.await.with_context(|| self.log())?;
        match ended {
            Some(status) => anyhow::bail!("the broker ended at once ({status}): {}", self.log()),
            None => Ok(()),
        }
    }

    /// Where it listens: `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: configuration, log, whatever it stores by relative path.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Sends it a signal, such as `Signal::HUP` to reload or `Signal::STOP` to hang.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .context("no such process id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end (SIGTERM), so that it saves what it keeps, and waits until it is gone.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let child = &mut self.child;
        let gone = async || !matches!(child.try_wait(), Ok(None));
        wait_until("a plain broker to end", Duration::from_secs(10), gone).await
    }

    /// Kills it if it runs, and starts it again on the same port and files.
    pub async fn restart(&mut self, binary: &Path) -> Result<()> {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill()?;
        }
        self.child = Self::spawn(binary, self.folder.path())?;
        self.wait_accepting().await
    }
}

impl Drop for PlainBroker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
