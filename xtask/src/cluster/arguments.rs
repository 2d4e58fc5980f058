//! What `cargo xtask cluster` is told on the command line. It knows words, and nothing of what they do.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

use super::settings::MAX_NODES;

/// `cargo xtask cluster`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A first look, as root:

  cargo xtask cluster up              # the first time it builds everything, in some 14 minutes
  eval \"$(cargo xtask cluster env)\"
  kubectl get nodes
  cargo test -p skein-e2e --test cluster_basics -- --test-threads 1
  cargo xtask cluster node kill 2     # a loss of power; `node start 2` switches it on again
  cargo xtask cluster down

Nothing is installed. Programs and images are kept in ${XDG_CACHE_HOME:-~/.cache}/skein/cluster,
a cluster's data, keys and logs in ${XDG_STATE_HOME:-~/.local/state}/skein/cluster until it is
taken down. One cluster can be up on a machine at a time. It has the interface `skein-cluster`, the
networks 10.200.0.0/24 (nodes), 10.244.0.0/16 (pods) and 10.96.0.0/16 (Services), which this
machine reaches directly, and ports 12257 to 12443. KUBECONFIG is not looked at: another cluster is
neither started nor stopped nor changed.

Pods use the images localhost/mosquitto:1, localhost/coredns:1 and what `load` imports, with
`imagePullPolicy: Never`. The storage class `skein-local`, the default, has twenty volumes on each
node; a pod runs where its volume is. Network policies are not enforced.")]
pub(crate) struct Arguments {
    /// The folder of the cluster's data, instead of the user's own
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(super) state: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) action: Action,
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Bring the cluster up; what is missing is built first. If it is up already nothing happens
    Up {
        /// Nodes beside the control plane, 0 for none [default: 3]
        #[arg(long, value_parser = clap::value_parser!(u8).range(0..=i64::from(MAX_NODES)))]
        nodes: Option<u8>,
    },
    /// End the cluster and remove everything it has but the cache
    Down {
        /// Keep its data, keys and logs: `up` goes on with them
        #[arg(long)]
        keep: bool,
    },
    /// Print what a shell needs to use the cluster: eval "$(cargo xtask cluster env)"
    Env,
    /// Fetch and build what a cluster is made of, if it is not in the cache
    Build {
        /// The Debian mirror to take packages from, instead of the one in the apt sources
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
    /// Import archives of images into all nodes that are on, as `cargo xtask image` and `docker save` write them
    Load {
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Empty the volumes whose claims are gone, for others to claim
    Volumes,
    /// Do something to one node
    #[command(subcommand)]
    Node(NodeAction),
    /// Do something to the API server
    #[command(subcommand)]
    Server(ServerAction),
    /// What `up` starts as the first process of a node
    #[command(hide = true)]
    NodeInit { number: u8 },
    /// Takes the cluster down when its input ends, whatever the end of who started it was like
    #[command(hide = true)]
    Keeper,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ServerAction {
    /// Stop it in its tracks: connections stand, and nothing is answered
    Hang,
    /// Let it go on
    Resume,
}

#[derive(Debug, Subcommand)]
pub(super) enum NodeAction {
    /// Switch it on, with the disk that it had
    Start { number: u8 },
    /// A loss of power: all that runs on it ends at once, and no packet says so
    Kill { number: u8 },
    /// A partition: nobody reaches it, and its pods run on
    Cut { number: u8 },
    /// The end of a partition
    Mend { number: u8 },
    /// Run a command there, such as `nft list ruleset` or `ctr -n k8s.io containers list`
    Exec {
        number: u8,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Import archives of images there alone
    Load {
        number: u8,
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
}

impl NodeAction {
    /// Which node it is about.
    pub(super) fn number(&self) -> u8 {
        match self {
            Self::Start { number }
            | Self::Kill { number }
            | Self::Cut { number }
            | Self::Mend { number }
            | Self::Exec { number, .. }
            | Self::Load { number, .. } => *number,
        }
    }
}
