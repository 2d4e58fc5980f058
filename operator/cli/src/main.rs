//! The `skein` command: arguments in, tables or JSON out.
//!
//! Wires the libraries together and knows how their results are shown; decides nothing itself.

mod arguments;
mod failure;
mod help;
mod object;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser as _;
use failure::Failure;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            anstream::eprintln!("{failure}");
            failure.exit_code()
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Completions(completions) => {
            let mut definition = Arguments::definition();
            clap_complete::generate(
                completions.shell,
                &mut definition,
                "skein",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
        other => Err(Failure::could_not(format!("{other:?}: not there yet"))),
    }
}
