//! The `skein` command: arguments in, tables or JSON out.
//!
//! Wires the libraries together and knows how their results are shown; decides nothing itself.

// Pages of text, made once: `write!` would leave a result to discard at every line.
#![allow(clippy::format_push_string, clippy::format_collect)]

mod arguments;
mod commands;
mod failure;
mod help;
mod seen;
mod source;
mod voice;

use std::ffi::OsString;
use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser as _;
use skein_commands::{Failure, check, explain, graph, output, plan};
use skein_local::process::{self, ProcessError};

fn main() -> ExitCode {
    let ran = helper().unwrap_or_else(|| run(Arguments::parse()));
    match ran {
        Ok(code) => code,
        Err(failure) => {
            output::tell(&failure.to_string());
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Completions(completions) => {
            // Not straight to standard output, for clap panics if the reader goes away.
            let mut script = Vec::new();
            clap_complete::generate(
                completions.shell,
                &mut Arguments::definition(),
                "skein",
                &mut script,
            );
            output::write_bytes(&script)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Plan(arguments) => plan::run(
            &source::subject(&arguments.source)?,
            arguments.output.format,
            arguments.roles,
        ),
        Command::Check(arguments) => {
            check::run(&source::subject(&arguments.source)?, arguments.output.format)
        }
        Command::Explain(arguments) => {
            explain::judge(&arguments.what)?;
            explain::run(
                &source::subject(&arguments.source)?,
                &arguments.what,
                arguments.output.format,
            )
        }
        Command::Diff(arguments) => commands::diff::run(&arguments),
        Command::Graph(arguments) => graph::run(&source::subject(&arguments.source)?),
        Command::Render(arguments) => commands::render::run(&arguments),
        Command::Status(arguments) => commands::status::run(&arguments),
        Command::Up(arguments) => commands::up::run(&arguments),
        Command::Break(arguments) => commands::trouble::break_broker(&arguments),
        Command::Mend(arguments) => commands::trouble::mend(&arguments),
        Command::Drain(arguments) => commands::drain::drain(&arguments),
        Command::Undrain(arguments) => commands::drain::undrain(&arguments),
        Command::Approve(arguments) => commands::drain::approve(&arguments),
    }
}

/// Runs one of the processes that `skein up` starts, if that is what is asked for. There are two for every broker, so they
/// do without the command line's definition, which they would hold in memory for as long as they live.
fn helper() -> Option<Result<ExitCode, Failure>> {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next()?;
    let rest = || arguments.collect::<Vec<OsString>>();
    if command == process::SUPERVISE {
        Some(done(process::supervise(&rest())))
    } else if command == process::FORWARD {
        Some(done(process::forward(&rest())))
    } else {
        None
    }
}

fn done(result: Result<(), ProcessError>) -> Result<ExitCode, Failure> {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error @ ProcessError::Usage { .. }) => Err(Failure::bad_input(error.to_string())),
        Err(error) => Err(Failure::could_not(error.to_string())),
    }
}
