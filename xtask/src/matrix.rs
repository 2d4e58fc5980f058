//! What each row of the loss contract is about, done to real brokers of both series, and counted at each quality of service.

mod results;
mod story;
mod table;
mod trial;

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use skein_contract::{Profile, Terms};
use skein_e2e::Series;

use crate::harm::{Means, Secluded};
use crate::{mosquitto, suite};

use results::{Results, Skipped, Verdict, clause_of};
use story::Story;
use trial::{Outcome, Trial};

/// `cargo xtask matrix`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
On Mosquitto 2.1.2 and then 2.0.11 (fetched as for `test`), with what each keeps on disk by default. Links are cut and disks
filled in a network and with mounts of the run's own (`unshare`), so nobody else feels it; where this machine does not allow
that (it takes root to cut links), those faults are skipped, and it says so. LOST and TWICE are given for QoS 0, 1 and 2.
Results go to target/matrix/matrix.json. Exit code 0 if every promise that the contract calls kept was kept and the fleet
always came to rest, 1 otherwise. Ctrl-C ends it and stops everything.")]
pub(crate) struct Arguments {
    /// How often to make each fault
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    repeats: u32,
    /// One fault of each row only, another one on each series
    #[arg(long)]
    quick: bool,
    /// Only rows or faults whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only this Mosquitto: 2.0 or 2.1
    #[arg(long, value_name = "SERIES")]
    series: Option<String>,
    /// Keep the results in docs/matrix.json, from which `cargo xtask gen` writes the table in the readme
    #[arg(long, conflicts_with_all = ["quick", "only", "series"])]
    keep: bool,
    /// Whether the run has a network of its own by now
    #[arg(long, hide = true)]
    secluded: Option<Secluded>,
}

/// The readme as the results that are kept make it.
pub(crate) fn in_readme(readme: &str) -> Result<String> {
    table::in_readme(readme, &Results::kept()?)
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut programs = Vec::new();
    for series in [Series::Newest, Series::Oldest] {
        if arguments
            .series
            .as_ref()
            .is_some_and(|only| only != series.name())
        {
            continue;
        }
        let (program, version) = mosquitto::ensure(series, None)?;
        programs.push((series, program, version));
    }
    if programs.is_empty() {
        bail!("no series is called so: 2.0 and 2.1 are");
    }
    let skein = suite::build_skein()?;
    let means = Means::find(Secluded::enter(arguments.secluded)?);
    let begin = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut run = Run {
        means,
        skein,
        results: Results::default(),
        restless: 0,
    };
    let mut versions = Vec::new();
    for (series, program, version) in programs {
        let stories = stories(series, arguments);
        if stories.is_empty() {
            bail!("no row and no fault has such a name");
        }
        let on = On::new(series, program, version);
        println!(
            "\nMosquitto {}, {}: {} faults",
            on.version,
            on.terms.profile(),
            stories.len()
        );
        println!(
            "  {:23}  {:31} {:>6}  {:>20}  {:>14}",
            "WHAT HAPPENS", "FAULT", "TIME", "LOST (0, 1, 2)", "TWICE"
        );
        runtime.block_on(async {
            tokio::select! {
                told = run.tell(&on, &stories) => told,
                _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            }
        })?;
        versions.push(on.version);
    }
    run.results.seconds = begin.elapsed().as_secs();
    run.results.write(arguments.keep)?;
    run.close(&versions.join(" and "))
}

fn stories(series: Series, arguments: &Arguments) -> Vec<Story> {
    let mut stories = Story::all(series, arguments.quick);
    if let Some(only) = &arguments.only {
        let names = |story: &Story| [story.row.key(), story.row.title().to_owned(), story.name()];
        stories.retain(|story| names(story).iter().any(|name| name.contains(only.as_str())));
    }
    let times = arguments.repeats.max(1) as usize;
    let one = stories.len();
    stories.into_iter().cycle().take(one * times).collect()
}

/// A Mosquitto, and what its brokers promise.
struct On {
    program: PathBuf,
    version: String,
    terms: Terms,
}

impl On {
    fn new(series: Series, program: PathBuf, version: String) -> Self {
        let series = match series {
            Series::Oldest => skein_contract::Series::V2_0,
            Series::Newest => skein_contract::Series::V2_1,
        };
        Self {
            program,
            version,
            terms: Terms::new(Profile::default_of(series), series),
        }
    }
}

struct Run {
    means: Means,
    skein: PathBuf,
    results: Results,
    restless: u64,
}

impl Run {
    /// All stories on one Mosquitto. A fleet serves for many, until one does not come to rest.
    async fn tell(&mut self, on: &On, stories: &[Story]) -> Result<()> {
        let mut left = stories;
        while let Some(first) = left.first() {
            if let Some(why) = first.fault.and_then(|fault| self.means.lack(fault)) {
                println!("  {:23}  {:31} skipped: {why}", first.row.brief(), first.name());
                let skipped = Skipped {
                    event: first.row.key(),
                    fault: first.name(),
                    mosquitto: on.version.clone(),
                    why: why.to_owned(),
                };
                self.results.skipped.push(skipped);
                left = &left[1..];
                continue;
            }
            // A small disk is nothing to tell other stories on.
            let alike = |story: &&Story| {
                let lacks = story.fault.is_some_and(|fault| self.means.lack(fault).is_some());
                story.small_disk().is_none() && !lacks
            };
            let many = match first.small_disk() {
                Some(_) => 1,
                None => left.iter().take_while(alike).count(),
            };
            let told = self.on_one_fleet(on, &left[..many]).await?;
            left = &left[told..];
        }
        Ok(())
    }

    /// Gives how many were told.
    async fn on_one_fleet(&mut self, on: &On, stories: &[Story]) -> Result<usize> {
        let fleet = self.means.fleet(&self.skein, &on.program)?;
        let mut trial = Trial::begin(&fleet, &self.means, &stories[0]).await?;
        let mut told = 0;
        for story in stories {
            print!("  {:23}  {:31} ", story.row.brief(), story.name());
            std::io::stdout().flush()?;
            let clause = clause_of(story.row, on.terms);
            let promised = [0, 1, 2].map(|qos| {
                let promise = clause.promise(qos).filter(|_| clause.kept.is_kept());
                promise.is_some_and(skein_contract::Promise::loses_nothing)
            });
            let outcome = trial.tell(story, promised).await?;
            let verdicts =
                [0, 1, 2].map(|qos| self.results.enter(&on.version, on.terms, story, qos, &outcome));
            report(&outcome, verdicts);
            told += 1;
            if let Err(error) = &outcome.rested {
                println!("    more of it in {}", Results::note(error)?.display());
                // What this fleet does with the next fault would say nothing.
                self.restless += u64::from(!story.row.may_need_help());
                break;
            }
        }
        trial.end().await?;
        Ok(told)
    }

    fn close(&self, versions: &str) -> Result<()> {
        let count = |verdict| self.results.count(verdict);
        let (broken, cells) = (count(Verdict::Broken), self.results.cells.len());
        println!(
            "\nxtask matrix: {cells} cells in {} s on Mosquitto {versions}: {} as promised, {} not kept yet, {} without a promise, \
             {broken} broken; {} faults skipped",
            self.results.seconds,
            count(Verdict::Kept),
            count(Verdict::NotYet),
            count(Verdict::NotPromised),
            self.results.skipped.len(),
        );
        if broken > 0 || self.restless > 0 {
            bail!(
                "{broken} cells break the contract, and {} faults went wrong or left the fleet without rest: see above and target/matrix/matrix.json",
                self.restless
            );
        }
        Ok(())
    }
}

fn report(outcome: &Outcome, verdicts: [Verdict; 3]) {
    let joined = |text: [String; 3]| text.join(" ");
    let lost = outcome
        .counts
        .map(|counts| format!("{}/{}", counts.lost, counts.acknowledged));
    let twice = outcome.counts.map(|counts| counts.duplicated.to_string());
    let worst = verdicts.into_iter().max().unwrap_or(Verdict::Kept);
    println!(
        "{:4.1} s  {:>20}  {:>14}  {}{}",
        outcome.took.as_secs_f64(),
        joined(lost),
        joined(twice),
        worst.word(),
        if outcome.rested.is_ok() {
            ""
        } else {
            ", WENT WRONG"
        }
    );
    if worst >= Verdict::NotYet || outcome.rested.is_err() {
        for remark in &outcome.remarks {
            println!("    {remark}");
        }
    }
}
