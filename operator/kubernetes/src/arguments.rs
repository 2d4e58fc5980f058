//! The command line: names, arguments and the help that teaches them. Knows nothing of what the commands do.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use skein_api::name::BrokerName;
use skein_api::resources::Period;
use skein_controller::LeaseSettings;

use crate::flow::Place;
use crate::help;

/// What Skein runs on Kubernetes: the controller of fleets, and the supervisor in each broker's pod.
#[derive(Debug, Parser)]
#[command(name = "skein-operator", version, max_term_width = 110)]
#[command(
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Care for the fleets of a Kubernetes cluster; what the chart runs
    #[command(after_help = help::CONTROLLER)]
    Controller(Controller),
    /// Supervise a broker: what its pod runs, and what runs beside an external broker
    #[command(after_help = help::AGENT)]
    Agent(Agent),
    /// Publish at one broker and receive at another: what `helm test` runs
    #[command(after_help = help::TEST)]
    Test(Flow),
    /// Copy this program into a folder: what the pod's init container runs
    #[command(hide = true)]
    Install(Install),
}

/// `skein-operator controller`
#[derive(Debug, Args)]
pub(crate) struct Controller {
    /// Care for the fleet of this namespace only [default: those of all namespaces]
    #[arg(short, long, value_name = "NAMESPACE", env = "SKEIN_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The image that this program comes from: brokers' pods take their supervisor from it
    #[arg(long, value_name = "IMAGE", env = "SKEIN_IMAGE")]
    pub(crate) image: String,
    /// The image of Mosquitto, without a tag to take the one of the version that a Broker asks for
    #[arg(
        long,
        value_name = "IMAGE",
        env = "SKEIN_MOSQUITTO_IMAGE",
        default_value = "docker.io/library/eclipse-mosquitto"
    )]
    pub(crate) mosquitto_image: String,
    /// When nodes fetch the images [default: as Kubernetes does]
    #[arg(long, value_name = "POLICY", env = "SKEIN_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub(crate) pull_policy: Option<String>,
    /// Delete the volume of a broker that is deleted
    #[arg(long, env = "SKEIN_DELETE_VOLUMES")]
    pub(crate) delete_volumes: bool,
    /// The Lease by which several controllers agree which of them acts [default: skein, in the namespace of the pod that this
    /// runs in; none outside of a pod]
    #[arg(long, value_name = "NAMESPACE/NAME", env = "SKEIN_LEASE")]
    pub(crate) lease: Option<LeaseSettings>,
    /// Where to answer /healthz, /readyz and /metrics over HTTP
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "SKEIN_LISTEN",
        default_value = "0.0.0.0:8080"
    )]
    pub(crate) listen: SocketAddr,
}

/// `skein-operator agent`
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// The broker
    #[arg(long, value_name = "NAME")]
    pub(crate) broker: BrokerName,
    /// The namespace that the broker's objects are in [default: the pod's own]
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// The broker's files; its store is in PATH/data
    #[arg(long, value_name = "PATH", default_value = "/var/lib/skein")]
    pub(crate) directory: PathBuf,
    /// The mosquitto program to run [default: the one in PATH]
    #[arg(long, value_name = "PATH", env = "SKEIN_MOSQUITTO")]
    pub(crate) mosquitto: Option<PathBuf>,
    /// The pod's uid, to be written beside its reports
    #[arg(long, value_name = "UID", env = "SKEIN_POD_UID")]
    pub(crate) pod_uid: Option<String>,
}

/// `skein-operator test`
#[derive(Debug, Args)]
pub(crate) struct Flow {
    /// Where to publish; port 1883 if none is given
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) from: Place,
    /// Where to receive
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) to: Place,
    /// The topic, without wildcards
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: String,
    /// How long to go on trying
    #[arg(long, value_name = "TIME", default_value = "2m")]
    pub(crate) within: Period,
    /// The user at both brokers [default: anonymous]
    #[arg(long, value_name = "NAME", env = "SKEIN_USERNAME", requires = "password")]
    pub(crate) username: Option<String>,
    /// The user's password; rather by the environment, where nobody else sees it
    #[arg(
        long,
        value_name = "PASSWORD",
        env = "SKEIN_PASSWORD",
        hide_env_values = true,
        requires = "username"
    )]
    pub(crate) password: Option<String>,
}

/// `skein-operator install`
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The folder, which must be there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
