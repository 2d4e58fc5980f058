//! The whole test suite: every crate's own tests, then the end-to-end tests on real Mosquitto, and the loss contract's rows on it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use skein_e2e::Series;

use crate::command::{cargo, command as run_by, output, run as run_command, shown};
use crate::mosquitto;

/// Fault schedules that the simulator runs: well under a minute on two cores.
const SEEDS: &str = "0..10000";
/// Where the environment says from which number property tests draw their inputs.
const RNG_SEED: &str = "PROPTEST_RNG_SEED";

/// `cargo xtask test`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Property tests draw the same inputs every time; PROPTEST_RNG_SEED=NUMBER draws others, and \
                        PROPTEST_CASES=NUMBER more of them.\n\
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
        let mut command = cargo(&["test", "--package", "skein-e2e", "--no-fail-fast"]);
        command
            .args(&filter)
            .args(["--", "--test-threads", "2"])
            .env("SKEIN_BIN", skein);
        for (series, (binary, _)) in &brokers {
            command.env(series.variable(), binary);
        }
        runner(&mut command, &mut count)?;
        if arguments.filter.is_none() {
            // This very program: building it anew would be none the wiser.
            let mut matrix = run_by(std::env::current_exe()?);
            runner(matrix.args(["matrix", "--quick"]), &mut count)?;
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

impl Count {
    fn is_good(&self) -> bool {
        self.broken.is_empty() && self.failed == 0
    }

    /// `12 passed, 0 failed, 1 ignored`, and a word more where a runner ended badly: what does not build runs no test that
    /// could fail.
    fn verdict(&self) -> String {
        let numbers = format!(
            "{} passed, {} failed, {} ignored",
            self.passed, self.failed, self.ignored
        );
        if self.is_good() {
            format!("good: {numbers}")
        } else {
            format!("BAD: {numbers}, {} of the runners failed", self.broken.len())
        }
    }
}

/// Builds `skein` as tests use it, and gives its path.
pub(crate) fn build_skein() -> Result<std::path::PathBuf> {
    run_command(&mut cargo(&["build", "--package", "skein-cli"]))?;
    built("debug")
}

/// Where cargo puts `skein` in a profile's folder (`debug` or `release`).
pub(crate) fn built(profile: &str) -> Result<std::path::PathBuf> {
    let metadata = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target directory")?;
    Ok(std::path::Path::new(target).join(profile).join("skein"))
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
        if let Some(result) = String::from_utf8_lossy(&line).strip_prefix("test result: ") {
            add(result, count);
        }
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
