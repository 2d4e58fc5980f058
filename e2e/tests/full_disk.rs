//! What `skein status` says where brokers have no room for their messages, and of what a full disk leaves.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use skein_e2e::{Fleet, PATIENCE, Series};

/// Where a broker keeps its messages.
fn data(fleet: &Fleet, broker: &str) -> PathBuf {
    fleet.state().join("brokers").join(broker).join("data")
}

/// Some problem of b has this in it.
fn says(status: &Value, text: &str) -> bool {
    let problems = status["problems"].as_array();
    problems
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|problem| problem.starts_with("Broker/b: ") && problem.contains(text))
}

#[tokio::test]
async fn a_store_that_was_cut_off_is_told_with_what_to_do_about_it() -> Result<()> {
    let fleet = Fleet::square(Series::Oldest)?;
    let up = fleet.up()?;
    up.wait_settled(PATIENCE).await?;
    let store = data(&fleet, "b").join("mosquitto.db");
    up.wait_status("b to save", PATIENCE, |_| store.exists()).await?;
    up.skein(&["break", "b"]).await?;
    up.wait_status("b to be gone", PATIENCE, |status| says(status, "down"))
        .await?;
    let length = fs::metadata(&store)?.len();
    File::options().write(true).open(&store)?.set_len(length - 3)?;
    up.skein(&["mend", "b"]).await?;
    let path = store.display().to_string();
    let told = |status: &Value| says(status, &path) && says(status, "move the file away");
    up.wait_status("word of the store", PATIENCE, told).await?;
    // What it says helps.
    fs::rename(&store, fleet.state().join("half.db"))?;
    up.wait_status("b to be well", PATIENCE, |status| {
        status["settled"] == true && !says(status, "")
    })
    .await?;
    up.stop().await
}

#[tokio::test]
async fn a_disk_that_fills_is_told_on_the_oldest_mosquitto() -> Result<()> {
    fills(Series::Oldest).await
}

#[tokio::test]
async fn a_disk_that_fills_is_told_on_the_newest_mosquitto() -> Result<()> {
    fills(Series::Newest).await
}

async fn fills(series: Series) -> Result<()> {
    let fleet = Fleet::square(series)?;
    let Some(disk) = SmallDisk::mount(&data(&fleet, "b"))? else {
        println!("skipped: only root may mount a small disk");
        return Ok(());
    };
    let up = fleet.up()?;
    let wait = async |text: &str| {
        let what = format!("word that {text}");
        up.wait_status(&what, PATIENCE, |status| says(status, text)).await
    };
    wait("less than 64 MiB are left").await?;
    up.wait_settled(PATIENCE).await?;
    disk.fill()?;
    let status = wait("no room is left").await?;
    let path = disk.at.display().to_string();
    ensure!(says(&status, &path), "{status:#}");
    fs::remove_file(disk.filler())?;
    if series == Series::Newest {
        // What it did not store it never stores, until it is another process.
        wait("no room was left for a time").await?;
        up.skein(&["break", "b"]).await?;
        up.wait_status("b to be gone", PATIENCE, |status| says(status, "down"))
            .await?;
        up.skein(&["mend", "b"]).await?;
    }
    wait("less than 64 MiB are left").await?;
    up.stop().await
}

/// A small file system in memory, until it is dropped.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// `None` if this user may not.
    fn mount(at: &Path) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        fs::create_dir_all(at)?;
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"])
            .arg(at);
        let output = mount.output().context("mount")?;
        Ok(output.status.success().then(|| Self { at: at.to_owned() }))
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        loop {
            match file.write_all(&[0; 4096]) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error).context("cannot fill a disk"),
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}
