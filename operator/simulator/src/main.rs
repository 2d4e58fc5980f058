//! Runs seeds of the simulator: `--seeds 0..10000`, `--seed N` with its story, or `--forever`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use skein_simulator::schedule::{Flaw, Outcome, Row, Schedule, explain, run, run_with};

const USAGE: &str = "usage: skein-simulator --seeds FROM..TO | --seed N | --forever [FROM] | --flaws SEEDS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--seed", seed] => seed.parse().map_or_else(|_| usage(), one),
        ["--seeds", range] => {
            let ends = range
                .split_once("..")
                .and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
            ends.map_or_else(usage, |(from, to)| many(from, to))
        }
        ["--flaws", seeds] => seeds.parse().map_or_else(|_| usage(), flaws),
        ["--forever"] => many(0, u64::MAX),
        ["--forever", from] => from.parse().map_or_else(|_| usage(), |from| many(from, u64::MAX)),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// One seed, with its story.
fn one(seed: u64) -> ExitCode {
    let schedule = Schedule::new(seed);
    let outcome = run(&schedule, true);
    if outcome.failure.is_some() {
        tell_failure(&schedule);
        return ExitCode::FAILURE;
    }
    for line in schedule.describe().iter().chain(&outcome.story) {
        println!("{line}");
    }
    println!(
        "well: {} acknowledged, {} lost, {} twice, {} late, {} steps, {} directives",
        outcome.acknowledged, outcome.lost, outcome.twice, outcome.late, outcome.steps, outcome.directives
    );
    ExitCode::SUCCESS
}

fn tell_failure(schedule: &Schedule) {
    let (lines, _) = explain(schedule);
    for line in lines {
        println!("{line}");
    }
}

/// How soon each mistake made on purpose is found.
fn flaws(seeds: u64) -> ExitCode {
    let mut missed = 0;
    for flaw in Flaw::ALL {
        let begun = Instant::now();
        let found = (0..seeds).find_map(|seed| {
            let failure = run_with(&Schedule::new(seed), false, Some(flaw)).failure?;
            Some((seed, failure))
        });
        let took = begun.elapsed().as_secs_f64();
        if let Some((seed, failure)) = found {
            println!("{flaw:?}: found by seed {seed} after {took:.1} s: {failure}");
        } else {
            missed += 1;
            println!("{flaw:?}: not found in {took:.1} s");
        }
    }
    if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What came of many.
#[derive(Default)]
struct Sum {
    schedules: u64,
    failures: u64,
    acknowledged: u64,
    lost: u64,
    twice: u64,
    stale: u64,
    values: u64,
    spins: u64,
    virtual_seconds: u64,
    slowest: (Duration, u64),
    /// Schedules by all that happened in them.
    rows: BTreeMap<Vec<Row>, [u64; 5]>,
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: &Outcome, took: Duration) {
        self.schedules += 1;
        let row = self.rows.entry(outcome.rows.clone()).or_default();
        let counts = [1, outcome.acknowledged, outcome.lost, outcome.twice, outcome.late];
        for (sum, count) in row.iter_mut().zip(counts) {
            *sum += count;
        }
        self.failures += u64::from(outcome.failure.is_some());
        self.acknowledged += outcome.acknowledged;
        self.lost += outcome.lost;
        self.twice += outcome.twice;
        self.stale += outcome.stale;
        self.values += outcome.values;
        self.spins += u64::from(outcome.spins > 0);
        self.virtual_seconds += outcome.took / 1_000_000;
        self.slowest = self.slowest.max((took, seed));
    }

    /// What was lost, doubled and late where one or two things happened: promised or not.
    fn tell_rows(&self) {
        println!("schedules acknowledged     lost    twice     late  what happened");
        for (rows, [schedules, acknowledged, lost, twice, late]) in &self.rows {
            if rows.len() <= 2 {
                println!("{schedules:9} {acknowledged:12} {lost:8} {twice:8} {late:8}  {rows:?}");
            }
        }
    }

    fn tell(&self, since: Instant) {
        let seconds = since.elapsed().as_secs_f64();
        println!(
            "{} schedules in {seconds:.1} s ({} s of virtual time), slowest {:.0} ms (seed {}): {} failed; {} acknowledged, \
             {} lost, {} twice; {} of {} values stale; the controller spun in {}",
            self.schedules,
            self.virtual_seconds,
            self.slowest.0.as_secs_f64() * 1e3,
            self.slowest.1,
            self.failures,
            self.acknowledged,
            self.lost,
            self.twice,
            self.stale,
            self.values,
            self.spins
        );
    }
}

/// Seeds of a range, on all cores. The first few failures are told in full.
fn many(from: u64, to: u64) -> ExitCode {
    let begun = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(from);
    let (sender, outcomes) = mpsc::channel();
    let mut sum = Sum::default();
    let mut told = 0;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let since = Instant::now();
                    let outcome = run(&Schedule::new(seed), false);
                    if sender.send((seed, outcome, since.elapsed())).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (seed, outcome, took) in outcomes {
            sum.add(seed, &outcome, took);
            if let Some(failure) = &outcome.failure {
                println!("seed {seed}: {failure}");
                if told < 1 {
                    tell_failure(&Schedule::new(seed));
                }
                told += 1;
            }
            if sum.schedules.is_multiple_of(1_000) {
                sum.tell(begun);
            }
        }
    });
    sum.tell_rows();
    sum.tell(begun);
    if sum.failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
