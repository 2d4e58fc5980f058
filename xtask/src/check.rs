//! Judging the source without running it. Every step runs, whatever the others say.

mod crates;
mod files;

use std::time::Instant;

use anyhow::{Result, bail};

use crate::command::{cargo, command, run as run_command, succeeds};
use crate::generate;

/// `cargo xtask check`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the steps that compile nothing: format, licences, the crate graph, file sizes
    #[arg(long)]
    quick: bool,
}

enum Outcome {
    Good,
    Skipped(&'static str),
    Bad(String),
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut bad = Vec::new();
    let mut skipped = Vec::new();
    let begin = Instant::now();
    let mut step = |name: &'static str, action: &dyn Fn() -> Outcome| {
        println!("\n== {name}");
        let begin = Instant::now();
        match action() {
            Outcome::Good => println!("{name}: good ({:.1} s)", begin.elapsed().as_secs_f64()),
            Outcome::Skipped(why) => {
                println!("{name}: SKIPPED: {why}");
                skipped.push(name);
            }
            Outcome::Bad(why) => {
                println!("{name}: BAD: {why}");
                bad.push(name);
            }
        }
    };
    step("format", &|| tool(&["fmt", "--all", "--check"]));
    step("crate graph", &|| of(crates::check()));
    step("files", &listed);
    step("licences and sources", &deny);
    if !arguments.quick {
        step("generated files", &|| of(generate::check()));
        step("lints", &|| {
            tool(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        });
    }
    let skipped = if skipped.is_empty() {
        String::new()
    } else {
        format!(", SKIPPED: {}", skipped.join(", "))
    };
    let verdict = if bad.is_empty() {
        "good".to_owned()
    } else {
        format!("BAD: {}", bad.join(", "))
    };
    println!(
        "\nxtask check: {verdict}{skipped} in {:.0} s",
        begin.elapsed().as_secs_f64()
    );
    if !bad.is_empty() {
        bail!("the source is not as it should be: {}", bad.join(", "));
    }
    Ok(())
}

fn of(result: Result<()>) -> Outcome {
    match result {
        Ok(()) => Outcome::Good,
        Err(error) => Outcome::Bad(format!("{error:#}")),
    }
}

fn tool(arguments: &[&str]) -> Outcome {
    of(run_command(&mut cargo(arguments)))
}

fn listed() -> Outcome {
    if !succeeds(command("git").args(["rev-parse", "--is-inside-work-tree"])) {
        return Outcome::Skipped(
            "git is missing here, or this is no clone of it, so the tracked files are not known",
        );
    }
    of(files::check())
}

fn deny() -> Outcome {
    if !succeeds(&mut cargo(&["deny", "--version"])) {
        return Outcome::Skipped("there is no cargo-deny here; `cargo install --locked cargo-deny` gets it");
    }
    // Advisories need a download that is not there on every machine; they are asked for by `cargo deny check` by hand.
    tool(&["deny", "check", "bans", "licenses", "sources"])
}
