//! The `kubectl skein` command: arguments in, tables or JSON out. What is shown, and how it ends, is `skein-commands`' business.
//!
//! Reads custom resources, and writes Migrations. Decides nothing, and talks to no broker.

// Pages of text, made once: `write!` would leave a result to discard at every line.
#![allow(clippy::format_push_string, clippy::format_collect)]

mod arguments;
mod cluster;
mod commands;
mod debug;
mod help;
mod keeper;
mod kubeconfig;
mod moves;
mod objects;
mod refusal;
mod status;
mod voice;
mod watching;

use std::process::ExitCode;

use arguments::Arguments;
use clap::Parser as _;
use skein_commands::output;

fn main() -> ExitCode {
    match commands::run(Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => {
            output::tell(&failure.to_string());
            failure.exit_code()
        }
    }
}
