//! What came of all rounds: a line each as it ends, and the sums.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::round::Round;
use crate::command::root;

/// The sums of some rounds.
#[derive(Default)]
struct Sum {
    faults: u64,
    acknowledged: u64,
    lost: u64,
    /// Of these, the last ones that killed brokers had acknowledged: the contract says so.
    excused: u64,
    duplicated: u64,
    out_of_order: u64,
    restless: u64,
}

impl Sum {
    fn of(round: &Round) -> Self {
        Self {
            faults: 1,
            acknowledged: round.acknowledged,
            lost: round.lost,
            excused: round.lost.min(2 * round.fault.may_lose()),
            duplicated: round.duplicated,
            out_of_order: round.out_of_order,
            restless: u64::from(!round.rested),
        }
    }

    fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.excused += other.excused;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
        self.restless += other.restless;
    }
}

/// Where all that goes.
pub(super) struct Books {
    rounds: fs::File,
    sums: BTreeMap<(String, String), Sum>,
}

impl Books {
    /// Begins anew.
    pub(super) fn open() -> Result<Self> {
        let folder = root().join("target/soak");
        fs::create_dir_all(&folder)?;
        let path = folder.join("rounds.jsonl");
        let rounds = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            rounds,
            sums: BTreeMap::new(),
        })
    }

    /// A round is over.
    pub(super) fn enter(&mut self, version: &str, round: &Round) -> Result<()> {
        let name = round.fault.name();
        let line = json!({
            "mosquitto": version, "fault": name, "seconds": round.took.as_secs_f64(), "sent": round.sent,
            "acknowledged": round.acknowledged, "lost": round.lost, "duplicated": round.duplicated,
            "outOfOrder": round.out_of_order, "rested": round.rested, "remarks": round.remarks,
        });
        writeln!(self.rounds, "{line}")?;
        let sum = self.sums.entry((version.to_owned(), name.clone())).or_default();
        sum.add(&Sum::of(round));
        let number: u64 = self.sums.values().map(|sum| sum.faults).sum();
        println!(
            "  {number:5}  {name:28} {:5.1} s  {:5} acknowledged, {} lost, {} twice",
            round.took.as_secs_f64(),
            round.acknowledged,
            round.lost,
            round.duplicated
        );
        for remark in &round.remarks {
            println!("         {remark}");
        }
        Ok(())
    }

    /// Writes the sums, and judges them.
    pub(super) fn close(self, took: Duration) -> Result<()> {
        println!(
            "\n  {:9} {:28} {:>6} {:>12} {:>5} {:>8} {:>6} {:>8}",
            "MOSQUITTO", "FAULT", "FAULTS", "ACKNOWLEDGED", "LOST", "EXCUSED", "TWICE", "RESTLESS"
        );
        let mut rows = Vec::new();
        let mut all = Sum::default();
        for ((version, name), sum) in &self.sums {
            println!(
                "  {version:9} {name:28} {:>6} {:>12} {:>5} {:>8} {:>6} {:>8}",
                sum.faults, sum.acknowledged, sum.lost, sum.excused, sum.duplicated, sum.restless
            );
            rows.push(row(version, name, sum));
            all.add(sum);
        }
        let file = root().join("target/soak/soak.json");
        let sums = json!({"seconds": took.as_secs_f64(), "all": row("", "", &all), "faults": rows});
        fs::write(&file, serde_json::to_string_pretty(&sums)? + "\n")?;
        println!(
            "\nxtask soak: {} faults in {:.0} s, {} acknowledged for two subscribers, {} lost ({} of them the last that a killed broker \
             acknowledged), {} twice",
            all.faults,
            took.as_secs_f64(),
            all.acknowledged,
            all.lost,
            all.excused,
            all.duplicated
        );
        if all.lost > all.excused || all.restless > 0 {
            bail!(
                "{} lost that the contract promises, {} rounds without rest: see target/soak/rounds.jsonl",
                all.lost - all.excused,
                all.restless
            );
        }
        Ok(())
    }
}

fn row(version: &str, name: &str, sum: &Sum) -> Value {
    json!({
        "mosquitto": version, "fault": name, "faults": sum.faults, "acknowledged": sum.acknowledged, "lost": sum.lost,
        "excused": sum.excused, "duplicated": sum.duplicated, "outOfOrder": sum.out_of_order, "restless": sum.restless,
    })
}
