//! The demo.

use anyhow::{Result, bail};

/// `cargo xtask demo`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leave the fleet running at the end
    #[arg(long)]
    keep: bool,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    bail!("not yet (keep: {})", arguments.keep)
}
