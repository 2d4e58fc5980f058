//! A fleet of real brokers that is hurt again and again while messages flow: what the contract promises, counted.
//!
//! Each round is one fault, from before it until all is well again, with a publisher of its own, so that what was lost can be
//! told by what happened. A round is good if everything that was acknowledged arrived, and the fleet came to rest.

mod books;
mod round;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use skein_e2e::Series;

use crate::harm::{Fault, Means, Secluded};
use crate::{mosquitto, suite};

use books::Books;
use round::Patient;

/// `cargo xtask soak`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Half of the faults are made on Mosquitto 2.0.11 and half on 2.1.2 (one after the other; fetched as for `test`). A round takes
some five seconds. Links are cut where the run can have a network of its own (as root). Every round is written to target/soak/rounds.jsonl as it ends, the sums to target/soak/soak.json.
Exit code 0 if nothing that the contract promises was lost, 1 otherwise. Ctrl-C ends it and stops everything.")]
pub(crate) struct Arguments {
    /// How many faults to make
    #[arg(long, default_value_t = 1000, value_name = "NUMBER")]
    faults: u32,
    /// Stop after so many minutes, however many faults that were
    #[arg(long, value_name = "NUMBER")]
    minutes: Option<u64>,
    /// Which faults, and in which order
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    seed: u64,
    /// Only faults whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Whether the run has a network of its own by now
    #[arg(long, hide = true)]
    secluded: Option<Secluded>,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut programs = Vec::new();
    for series in [Series::Newest, Series::Oldest] {
        let (program, version) = mosquitto::ensure(series, None)?;
        programs.push((series, program, version));
    }
    let skein = suite::build_skein()?;
    let means = Means::find(Secluded::enter(arguments.secluded)?);
    let begin = Instant::now();
    let time = arguments.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    let mut books = Books::open()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let second = arguments.faults / 2;
    let shares = [
        (arguments.faults - second, time.map(|time| begin + time / 2)),
        (second, time.map(|time| begin + time)),
    ];
    for ((series, program, version), (share, until)) in programs.into_iter().zip(shares) {
        let mut faults = Fault::lossless(series);
        if let Some(only) = &arguments.only {
            faults.retain(|fault| fault.name().contains(only));
        }
        if faults.is_empty() {
            bail!("no fault has such a name");
        }
        println!("\nMosquitto {version}: {share} faults");
        faults.retain(|fault| {
            let lack = means.lack(*fault);
            if let Some(why) = lack {
                println!("  skipped: {}: {why}", fault.name());
            }
            lack.is_none()
        });
        if faults.is_empty() {
            continue;
        }
        let mut dice = Dice(arguments.seed);
        let mut left = share;
        while left > 0 && until.is_none_or(|until| Instant::now() < until) {
            let fleet = means.fleet(&skein, &program)?;
            let mut patient = runtime.block_on(Patient::begin(&fleet, &means))?;
            runtime.block_on(async {
                while left > 0 && until.is_none_or(|until| Instant::now() < until) {
                    let fault = faults[dice.roll(faults.len())];
                    let round = tokio::select! {
                        round = patient.suffer(fault, &mut dice) => round?,
                        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
                    };
                    left -= 1;
                    books.enter(&version, &round)?;
                    if !round.rested {
                        // What this fleet does with the next fault would say nothing.
                        break;
                    }
                }
                patient.end().await
            })?;
        }
    }
    books.close(begin.elapsed()).context("cannot write the sums")
}

/// The same numbers for the same seed: xorshift.
struct Dice(u64);

impl Dice {
    /// A number below this.
    fn roll(&mut self, below: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .wrapping_add(0xD1B5_4A32_D192_ED03);
        let mixed = (self.0 ^ (self.0 >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        usize::try_from((mixed >> 33) % below.max(1) as u64).unwrap_or_default()
    }
}
