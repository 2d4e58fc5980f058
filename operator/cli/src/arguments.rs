//! The command line: names, arguments and the help that teaches them. Knows nothing of what the commands do.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use skein_api::name::BrokerName;
use skein_commands::arguments::{Down, Explained, Output, STYLES, Waiting};

use crate::help;

/// One federation out of plain Mosquitto brokers: declare the flows, and never hand-write a bridge again.
#[derive(Debug, Parser)]
#[command(name = "skein", version, styles = STYLES, max_term_width = 110)]
#[command(help_template = help::template(), after_help = help::EXIT_CODES, after_long_help = help::long())]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The command as clap sees it, for completions.
    pub(crate) fn definition() -> clap::Command {
        Self::command()
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the paths, links and substitutes that a fleet gets
    #[command(after_help = help::PLAN)]
    Plan(Plan),
    /// Prove on the rendered bridge lines that each consumer gets each message exactly once
    #[command(after_help = help::CHECK)]
    Check(Check),
    /// Say why: a topic's path, a broker's substitutes, a route's use
    #[command(after_help = help::EXPLAIN)]
    Explain(Explain),
    /// Compare two directories: their plans, or the steps between them
    #[command(after_help = help::DIFF)]
    Diff(Diff),
    /// Draw routes and links as Graphviz DOT
    #[command(after_help = help::GRAPH)]
    Graph(Graph),
    /// Write every broker's mosquitto.conf to a folder
    #[command(after_help = help::RENDER)]
    Render(Render),
    /// Run a fleet on this machine and keep it healthy until Ctrl-C
    #[command(after_help = help::UP)]
    Up(Up),
    /// Show brokers, paths and migrations of the running fleet
    #[command(after_help = help::STATUS)]
    Status(Status),
    /// Keep a broker of the running fleet down (or hung), to see what happens
    #[command(after_help = help::BREAK)]
    Break(Break),
    /// Let a broken broker come back
    #[command(after_help = help::MEND)]
    Mend(Mend),
    /// Lead a broker's clients to another, without loss, so that it can be stopped
    #[command(after_help = help::DRAIN)]
    Drain(Drain),
    /// Give a drained broker its clients back, or call a drain off
    #[command(after_help = help::UNDRAIN)]
    Undrain(Undrain),
    /// Approve what waits for a person: moving a dead broker's clients, or taking a returned one back
    #[command(after_help = help::APPROVE)]
    Approve(Approve),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions(Completions),
}

/// Where the fleet is read from.
#[derive(Debug, Default, Args)]
pub(crate) struct Source {
    /// Read the manifests of this directory (or file) instead of the running fleet
    #[arg(short = 'f', long = "fleet", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH", conflicts_with = "directory")]
    pub(crate) state: Option<PathBuf>,
    /// Suppose that this broker is down (and, after '=', who serves its clients); may be repeated
    #[arg(long, value_name = "BROKER[=SUBSTITUTE]")]
    pub(crate) down: Vec<Down>,
}

/// `skein plan`
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Show who publishes and subscribes what as 0 and 1 instead (the table that substitutes are found with)
    #[arg(long)]
    pub(crate) roles: bool,
}

/// `skein check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `skein explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) what: Explained,
    #[command(flatten)]
    pub(crate) source: Source,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `skein diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// Manifests before
    pub(crate) old: PathBuf,
    /// Manifests after
    pub(crate) new: PathBuf,
    /// Show what Skein would do, in order, to bring a running fleet from the one to the other
    #[arg(long)]
    pub(crate) steps: bool,
    /// Exit with 1 if the plans differ; with --steps, if there is anything to do
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `skein graph`
#[derive(Debug, Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    pub(crate) source: Source,
}

/// `skein render`
#[derive(Debug, Args)]
pub(crate) struct Render {
    /// The folder to write to; made if it is missing
    pub(crate) out: PathBuf,
    /// Write even if the folder holds files that render did not write
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) source: Source,
}

/// `skein up`
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The manifests; edits are applied while the fleet runs
    #[arg(short = 'f', long = "fleet", value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Where ports, configurations and stores are kept between runs [default: a folder for DIR under
    /// ~/.local/state/skein]
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
    /// The mosquitto program to run [default: the one in PATH]
    #[arg(long, value_name = "PATH", env = "SKEIN_MOSQUITTO")]
    pub(crate) mosquitto: Option<PathBuf>,
}

/// `skein status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `skein break`
#[derive(Debug, Args)]
pub(crate) struct Break {
    /// The broker
    pub(crate) broker: BrokerName,
    /// Stop it in its tracks instead of killing it: it holds its connections and answers nothing
    #[arg(long)]
    pub(crate) hang: bool,
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
}

/// `skein mend`
#[derive(Debug, Args)]
pub(crate) struct Mend {
    /// The broker
    pub(crate) broker: BrokerName,
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
}

/// `skein drain`
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// The broker that is to be without clients
    pub(crate) broker: BrokerName,
    /// Where they are to go [default: its planned substitute]
    #[arg(long, value_name = "BROKER")]
    pub(crate) to: Option<BrokerName>,
    /// Do not wait for clients that do not get what waits for them: it is given up, and counted
    #[arg(long)]
    pub(crate) abandon: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `skein undrain`
#[derive(Debug, Args)]
pub(crate) struct Undrain {
    /// The broker
    pub(crate) broker: BrokerName,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `skein approve`
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The broker that died, or came back
    pub(crate) broker: BrokerName,
    /// Give up what waits at the substitute for clients that do not come for it, so that the broker has its clients back
    #[arg(long)]
    pub(crate) abandon: bool,
    /// The running fleet to ask, if there are several: its state directory
    #[arg(long, value_name = "PATH")]
    pub(crate) state: Option<PathBuf>,
}

/// `skein completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}
