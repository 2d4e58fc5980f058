//! The command line: what `kubectl` users expect, and for the rest that of `skein`.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use skein_api::name::BrokerName;
use skein_api::resources::Period;
use skein_commands::arguments::{Down, Explained, Output, STYLES, Waiting};
use skein_controller::LeaseSettings;

use crate::help;

/// A fleet of Mosquitto brokers on a cluster: is it well, why does it flow so, and lead clients away from a broker.
#[derive(Debug, Parser)]
#[command(name = "kubectl-skein", bin_name = "kubectl skein", version, styles = STYLES, max_term_width = 110)]
#[command(after_help = help::EXIT_CODES, after_long_help = help::LONG)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The command as clap sees it, for completions.
    pub(crate) fn definition() -> clap::Command {
        Self::command()
    }
}

/// Which fleet of which cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Which fleet")]
pub(crate) struct Place {
    /// The namespace, which is a fleet [default: that of the context]
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig [default: the current one]
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The kubeconfig [default: those that KUBECONFIG names, or ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The Lease of the controllers that care for it
    #[arg(
        long,
        global = true,
        value_name = "NAMESPACE/NAME",
        default_value = "skein/skein",
        hide_default_value = false
    )]
    pub(crate) lease: LeaseName,
}

/// A Lease, by namespace and name.
#[derive(Clone, Debug)]
pub(crate) struct LeaseName(pub(crate) LeaseSettings);

impl std::str::FromStr for LeaseName {
    type Err = skein_controller::LeaseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show brokers, paths and migrations
    #[command(after_help = help::STATUS)]
    Status(Status),
    /// Show the paths, links and substitutes of the fleet as it is now
    #[command(after_help = help::PLAN)]
    Plan(Plan),
    /// Prove on the rendered bridge lines that each consumer gets each message exactly once
    Check(Check),
    /// Say why: a topic's path, a broker's substitutes, a route's use
    #[command(after_help = help::EXPLAIN)]
    Explain(Explain),
    /// Compare the fleet with a directory of manifests, before it is applied
    #[command(after_help = help::DIFF)]
    Diff(Diff),
    /// Draw routes and links as Graphviz DOT
    #[command(after_help = help::GRAPH)]
    Graph(Graph),
    /// Lead a broker's clients to another, without loss, so that it can be stopped
    #[command(after_help = help::DRAIN)]
    Drain(Drain),
    /// Give a drained broker its clients back, or call a drain off
    #[command(after_help = help::UNDRAIN)]
    Undrain(Undrain),
    /// Approve what waits for a person: moving a dead broker's clients, or taking a returned one back
    #[command(after_help = help::APPROVE)]
    Approve(Approve),
    /// Print the kubeconfig of an agent that runs a broker outside of the cluster
    #[command(after_help = help::KUBECONFIG)]
    Kubeconfig(Credentials),
    /// Collect what a bug report needs, without secrets
    #[command(after_help = help::DEBUG)]
    Debug(Debug),
    /// Print a completion script for a shell
    #[command(after_help = help::COMPLETIONS)]
    Completions(Completions),
}

/// `kubectl skein status`
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Every namespace that has a fleet
    #[arg(short = 'A', long, conflicts_with_all = ["namespace", "watch"])]
    pub(crate) all_namespaces: bool,
    /// Show it again whenever it changes, until Ctrl-C
    #[arg(short, long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What is supposed.
#[derive(Debug, Default, Args)]
pub(crate) struct Supposed {
    /// Suppose that this broker is down, too (and, after '=', who serves its clients); may be repeated
    #[arg(long, value_name = "BROKER[=SUBSTITUTE]")]
    pub(crate) down: Vec<Down>,
}

/// `kubectl skein plan`
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) supposed: Supposed,
    #[command(flatten)]
    pub(crate) output: Output,
    /// Show who publishes and subscribes what as 0 and 1 instead (the table that substitutes are found with)
    #[arg(long)]
    pub(crate) roles: bool,
}

/// `kubectl skein check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) supposed: Supposed,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `kubectl skein explain`
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    pub(crate) what: Explained,
    #[command(flatten)]
    pub(crate) supposed: Supposed,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `kubectl skein diff`
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The manifests of the whole fleet, as they are to be applied: a directory, or a file
    #[arg(short = 'f', long = "filename", value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// Show what Skein would do, in order, to get there
    #[arg(long)]
    pub(crate) steps: bool,
    /// Exit with 1 if the plans differ; with --steps, if there is anything to do
    #[arg(long)]
    pub(crate) exit_code: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `kubectl skein graph`
#[derive(Debug, Args)]
pub(crate) struct Graph {
    #[command(flatten)]
    pub(crate) supposed: Supposed,
}

/// `kubectl skein drain`
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
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `kubectl skein undrain`
#[derive(Debug, Args)]
pub(crate) struct Undrain {
    /// The broker
    pub(crate) broker: BrokerName,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `kubectl skein approve`
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// The broker that died, or came back
    pub(crate) broker: BrokerName,
    /// Give up what waits at the substitute for clients that do not come for it, so that the broker has its clients back
    #[arg(long)]
    pub(crate) abandon: bool,
}

/// `kubectl skein kubeconfig`
#[derive(Debug, Args)]
pub(crate) struct Credentials {
    /// The broker, of spec.external with control: Agent
    pub(crate) broker: BrokerName,
    /// For how many days it is good; an API server may grant less
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) days: u16,
}

/// `kubectl skein debug`
#[derive(Debug, Args)]
pub(crate) struct Debug {
    /// The archive to write, which must not be there yet [default: skein-NAMESPACE-TIME.tar.gz]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// The most of each log, from its end
    #[arg(long, value_name = "LINES", default_value_t = 2_000)]
    pub(crate) lines: i64,
    /// Only what was logged since then (10m, 1h)
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<Period>,
    /// Write numbers for the client ids that migrations and logs name; a client has the same one throughout
    #[arg(long)]
    pub(crate) hide_clients: bool,
}

/// `kubectl skein completions`
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Arguments::definition().debug_assert();
    }

    #[test]
    fn the_place_may_be_said_before_and_after_the_command() {
        for words in [["-n", "farm", "status"], ["status", "-n", "farm"]] {
            let parsed = Arguments::try_parse_from(["kubectl-skein"].iter().chain(&words)).unwrap();
            assert_eq!(parsed.place.namespace.as_deref(), Some("farm"));
            assert_eq!(parsed.place.lease.0.name, "skein");
        }
    }
}
