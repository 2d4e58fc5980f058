//! Which processes a fleet has: as its status says, as its supervisors report, and as the system knows.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Pid;
use serde_json::Value;

use crate::fleet::Fleet;

/// The process that a number in a status or a report stands for.
pub fn process(number: &Value) -> Result<Pid> {
    let raw = number.as_i64().and_then(|number| i32::try_from(number).ok());
    raw.and_then(Pid::from_raw)
        .with_context(|| format!("{number} is no process"))
}

/// The process of each broker in a status; an error if one has none.
pub fn broker_processes(status: &Value) -> Result<BTreeMap<String, Pid>> {
    let brokers = status["brokers"].as_array().context("no brokers")?;
    let one = |broker: &Value| {
        let name = broker["name"].as_str().context("a broker without a name")?;
        Ok((name.to_owned(), process(&broker["pid"])?))
    };
    let found: Result<BTreeMap<String, Pid>> = brokers.iter().map(one).collect();
    found.with_context(|| format!("a broker has no process: {status:#}"))
}

/// The Mosquitto of a pod: nodes are of this machine, and so are their processes.
pub fn pod_process(pod: &str) -> Result<Pid> {
    let host = format!("HOSTNAME={pod}");
    let is_it = |pid: i32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let environment = read("environ");
        read("comm") == b"mosquitto\n"
            && environment
                .split(|byte| *byte == 0)
                .any(|pair| pair == host.as_bytes())
    };
    let all = fs::read_dir("/proc")?.flatten();
    let mut found = all
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| is_it(*pid));
    let pid = found
        .next()
        .with_context(|| format!("{pod} runs no mosquitto here"))?;
    ensure!(found.next().is_none(), "several pods {pod} run a mosquitto");
    Pid::from_raw(pid).context("no process")
}

impl Fleet {
    /// A broker's supervisor, as it last reported.
    pub fn supervisor(&self, broker: &str) -> Result<Pid> {
        let file = self.state().join("brokers").join(broker).join("report.json");
        let report: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
        process(&report["supervisorPid"])
    }

    /// Processes whose command line names this fleet's folder: what `skein` started for it, and nothing else.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let folder = self.folder().to_string_lossy().into_owned();
        let names_it = |pid: &i32| {
            fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&folder))
        };
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(names_it)
            .collect()
    }

    /// An error if a process is left.
    pub fn ensure_ended(&self) -> Result<()> {
        let left = self.processes();
        ensure!(
            left.is_empty(),
            "processes {left:?} are left; skein up said:\n{}",
            self.log()
        );
        Ok(())
    }
}
