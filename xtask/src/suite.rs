//! The whole test suite: every crate's own tests, then the end-to-end tests on real Mosquitto, the loss contract's rows on it, and
//! the tests on Kubernetes, for which a cluster is brought up if this machine lets us.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use skein_e2e::Series;

use crate::command::{cargo, command as run_by, output, run as run_command, shown};
use crate::{cluster, image, mosquitto};

/// Fault schedules that the simulator runs: well under a minute on two cores.
const SEEDS: &str = "0..10000";
/// Where the environment names a cluster for the tests that need one.
const CLUSTER: &str = "SKEIN_CLUSTER";
/// And the program that can hurt that cluster's nodes, if they are ours.
const XTASK: &str = "SKEIN_XTASK";
/// Where the environment says from which number property tests draw their inputs.
const RNG_SEED: &str = "PROPTEST_RNG_SEED";

/// `cargo xtask test`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Property tests draw the same inputs every time; PROPTEST_RNG_SEED=NUMBER draws others, and \
                        PROPTEST_CASES=NUMBER more of them.\n\
                        The tests on Kubernetes run on a cluster that is brought up for them, as root, and taken down \
                        afterwards (`cargo xtask cluster --help`); on the one that SKEIN_CLUSTER names, if it does. Without \
                        root or Go they are skipped, and the last line says so.\n\
                        Exit code 0 if every test passed, 1 otherwise. The last line sums up."
)]
pub(crate) struct Arguments {
    /// Only the tests that need no Mosquitto
    #[arg(long)]
    quick: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

#[derive(Debug, Default)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
    /// Tests that ended at once, for want of a cluster; they are not among those that passed.
    skipped: u64,
    /// How many of them the next result will count as passed.
    to_deduct: u64,
    /// Why there was none.
    obstacle: Option<String>,
    /// Runners that ended badly: tests that failed, or a crate that does not build.
    broken: Vec<String>,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let mut count = Count::default();
    let filter: Vec<&str> = arguments.filter.as_deref().into_iter().collect();
    let mut brokers = Vec::new();
    if !arguments.quick {
        for series in Series::ALL {
            brokers.push((series, mosquitto::ensure(series, None)?));
        }
    }
    let unit = ["test", "--workspace", "--exclude", "skein-e2e", "--no-fail-fast"];
    let mut command = cargo(&unit);
    if std::env::var_os(RNG_SEED).is_none() {
        // The same inputs every time, as the simulator's schedules are: a change is judged by what it changed.
        command.env(RNG_SEED, "1");
    }
    runner(command.args(&filter), &mut count)?;
    if arguments.filter.is_none() {
        let simulator = [
            "run",
            "--release",
            "--package",
            "skein-simulator",
            "--",
            "--seeds",
            SEEDS,
        ];
        runner(&mut cargo(&simulator), &mut count)?;
    }
    if !arguments.quick {
        let skein = build_skein()?;
        let end_to_end = |tests: &[&str], threads: &str| {
            let mut command = cargo(&["test", "--package", "skein-e2e", "--no-fail-fast"]);
            command
                .args(tests)
                .args(&filter)
                .args(["--", "--test-threads", threads])
                .env("SKEIN_BIN", &skein)
                // Fifty lines of a runtime's frames hide what went wrong.
                .env("RUST_LIB_BACKTRACE", "0");
            for (series, (binary, _)) in &brokers {
                command.env(series.variable(), binary);
            }
            command
        };
        // A cluster would be busy meanwhile; those that need one say so, and have their turn later.
        runner(end_to_end(&[], "2").env_remove(CLUSTER), &mut count)?;
        if arguments.filter.is_none() {
            // This very program: building it anew would be none the wiser.
            let mut matrix = run_by(std::env::current_exe()?);
            runner(matrix.args(["matrix", "--quick"]), &mut count)?;
        }
        if count.skipped > 0 {
            run_command(&mut cargo(&[
                "build",
                "--package",
                "kubectl-skein",
                "--package",
                "skein-kubernetes",
            ]))?;
            // One after the other: some of them hurt nodes.
            on_cluster(&mut end_to_end(&["--test", "cluster_*"], "1"), &mut count)?;
        }
    }
    let versions: Vec<&str> = brokers.iter().map(|(_, (_, version))| version.as_str()).collect();
    let on = if arguments.quick {
        "without Mosquitto".to_owned()
    } else {
        format!("Mosquitto {}", versions.join(" and "))
    };
    println!(
        "\nxtask test: {} in {:.0} s ({on})",
        count.verdict(),
        begin.elapsed().as_secs_f64()
    );
    if !count.is_good() {
        bail!("failed: {}", count.broken.join("; "));
    }
    if count.passed == 0 {
        bail!("no test ran");
    }
    Ok(())
}

/// Runs what was skipped for want of a cluster on one, if there can be one.
fn on_cluster(tests: &mut Command, count: &mut Count) -> Result<()> {
    let named = named(CLUSTER);
    if named.is_none()
        && let Some(obstacle) = cluster::obstacle()
    {
        count.obstacle = Some(obstacle);
        return Ok(());
    }
    match lend(named.as_deref()) {
        Ok(lease) => {
            count.skipped = 0;
            if let Some(lease) = &lease {
                tests.envs(lease.environment()?);
            }
            runner(tests, count)?;
            lease.map_or(Ok(()), cluster::Lease::end)
        }
        Err(error) => {
            // It should have worked: what was not tested is no success.
            count
                .broken
                .push(format!("what tests on a cluster need ({error:#})"));
            Ok(())
        }
    }
}

/// A cluster that has the image: the one of this kubeconfig, or one for as long as the tests run. None if its nodes are not ours:
/// then it is as its owner says.
fn lend(kubeconfig: Option<&Path>) -> Result<Option<cluster::Lease>> {
    if kubeconfig.is_some() && named(XTASK).is_none() {
        return Ok(None);
    }
    println!("\n== cargo xtask image --dev");
    let image = image::for_tests()?;
    let lease = if let Some(kubeconfig) = kubeconfig {
        cluster::Lease::of(kubeconfig.parent().context("a kubeconfig lies in a folder")?)?
    } else {
        println!("\n== cargo xtask cluster up");
        cluster::Lease::begin()?
    };
    lease.load(&image)?;
    Ok(Some(lease))
}

/// What the environment names, if it does.
fn named(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
    Some(value.into())
}

impl Count {
    fn is_good(&self) -> bool {
        self.broken.is_empty() && self.failed == 0
    }

    /// `12 passed, 0 failed, 1 ignored`, and a word more where a runner ended badly: what does not build runs no test that
    /// could fail.
    fn verdict(&self) -> String {
        let mut numbers = format!(
            "{} passed, {} failed, {} ignored",
            self.passed, self.failed, self.ignored
        );
        if self.skipped > 0 {
            let why = self.obstacle.as_deref().unwrap_or_default();
            let _ = write!(numbers, ", {} on a cluster SKIPPED ({why})", self.skipped);
        }
        if self.is_good() {
            format!("good: {numbers}")
        } else {
            format!("BAD: {numbers}, {} of the runners failed", self.broken.len())
        }
    }
}

/// Builds `skein` as tests use it, and gives its path.
pub(crate) fn build_skein() -> Result<PathBuf> {
    run_command(&mut cargo(&["build", "--package", "skein-cli"]))?;
    built("debug", "skein")
}

/// Where cargo puts a program in a profile's folder (`debug` or `release`).
pub(crate) fn built(profile: &str, program: &str) -> Result<PathBuf> {
    let metadata = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(Path::new(target).join(profile).join(program))
}

/// Runs a test runner, passes its output on, and adds up its `test result:` lines.
fn runner(command: &mut Command, count: &mut Count) -> Result<()> {
    let shown = shown(command);
    println!("\n== {shown}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let stdout = child.stdout.take().context("no output")?;
    let mut here = std::io::stdout();
    for line in BufReader::new(stdout).split(b'\n') {
        let mut line = line?;
        read(&String::from_utf8_lossy(&line), count);
        line.push(b'\n');
        here.write_all(&line)?;
        here.flush()?;
    }
    let status = child.wait()?;
    if !status.success() {
        count.broken.push(format!("`{shown}` ({status})"));
    }
    Ok(())
}

/// Counts what a line says: that a test was skipped, or how many passed, those included.
fn read(line: &str, count: &mut Count) {
    if let Some((_, why)) = line
        .strip_prefix("test skipped: ")
        .and_then(|rest| rest.split_once(": "))
    {
        count.skipped += 1;
        count.to_deduct += 1;
        count.obstacle = Some(why.to_owned());
    } else if let Some(result) = line.strip_prefix("test result: ") {
        add(result, count);
        count.passed = count.passed.saturating_sub(std::mem::take(&mut count.to_deduct));
    }
}

/// Adds a line such as `ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.31s`.
fn add(result: &str, count: &mut Count) {
    let words: Vec<&str> = result.split_whitespace().collect();
    for pair in words.windows(2) {
        let Ok(number) = pair[0].parse::<u64>() else {
            continue;
        };
        match pair[1].trim_end_matches(';') {
            "passed" => count.passed += number,
            "failed" => count.failed += number,
            "ignored" => count.ignored += number,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_runners_add_up() {
        let mut count = Count::default();
        add(
            "ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.31s",
            &mut count,
        );
        add(
            "FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            &mut count,
        );
        assert_eq!((count.passed, count.failed, count.ignored), (14, 1, 1));
        assert!(!count.is_good());
    }

    #[test]
    fn a_skipped_test_is_none_that_passed() {
        let mut count = Count::default();
        for line in [
            "test one ... ok",
            "test skipped: two: no cluster",
            "test two ... ok",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
        ] {
            read(line, &mut count);
        }
        assert_eq!((count.passed, count.skipped), (5, 1));
        assert_eq!(
            count.verdict(),
            "good: 5 passed, 0 failed, 0 ignored, 1 on a cluster SKIPPED (no cluster)"
        );
    }

    #[test]
    fn what_does_not_build_is_bad_though_no_test_failed() {
        let mut count = Count {
            passed: 3,
            ..Count::default()
        };
        assert_eq!(count.verdict(), "good: 3 passed, 0 failed, 0 ignored");
        count.broken.push("cargo test".to_owned());
        assert_eq!(
            count.verdict(),
            "BAD: 3 passed, 0 failed, 0 ignored, 1 of the runners failed"
        );
    }
}
