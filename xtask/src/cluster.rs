//! A real Kubernetes for tests, on this machine alone: etcd, API server, controller manager and scheduler as processes, and nodes
//! with containerd, kubelet and kube-proxy in namespaces of their own. Each part is a module; this one knows their order.

mod arguments;
mod boot;
mod cgroups;
mod control_plane;
mod debian;
mod images;
mod keys;
mod lease;
mod network;
mod node;
mod places;
mod process;
mod programs;
mod ready;
mod settings;
mod stamp;
mod texts;

use std::fs::{self, File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::arguments::Arguments;
use self::arguments::{Action, NodeAction};
use self::control_plane::ControlPlane;
pub(crate) use self::lease::{Lease, obstacle};
use self::network::Network;
use self::node::Node;
use self::places::{Cache, State};
use self::ready::{Api, wait_for};
use self::settings::Settings;

/// The cluster's name server, which every cluster is expected to have.
const NAME_SERVER: &str = include_str!("../../e2e/cluster/coredns.yaml");
/// There once `up` has come to its end.
const COMPLETE: &str = "complete";
/// What a cluster's folder holds beside its nodes.
const PARTS: [&str; 8] = [
    "settings.json",
    COMPLETE,
    "admin.kubeconfig",
    "coredns.yaml",
    "keys",
    "logs",
    "processes",
    "etcd",
];

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let cluster = Cluster {
        cache: Cache::find()?,
        state: State::find(arguments.state.as_deref())?,
    };
    match &arguments.action {
        Action::Up { nodes } => cluster.up(*nodes),
        Action::Down { keep } => cluster.down(*keep),
        Action::Env => cluster.print_environment(),
        Action::Build { mirror } => cluster.build(mirror.as_deref()),
        Action::Node(action) => cluster.node(action),
        Action::NodeInit { number } => {
            boot::run(&cluster.settings()?, &cluster.cache, &cluster.state, *number)
        }
        Action::Keeper => {
            std::io::stdin().read_to_end(&mut Vec::new())?;
            cluster.down(false)
        }
    }
}

/// One cluster, up or not.
#[derive(Debug)]
struct Cluster {
    cache: Cache,
    state: State,
}

impl Cluster {
    fn settings(&self) -> Result<Settings> {
        let settings = Settings::of(self.state.folder())?;
        settings.with_context(|| {
            format!(
                "no cluster is up in {}: `cargo xtask cluster up` brings one up",
                self.state.folder().display()
            )
        })
    }

    fn control_plane<'a>(&'a self, settings: &'a Settings) -> ControlPlane<'a> {
        ControlPlane {
            settings,
            cache: &self.cache,
            state: &self.state,
        }
    }

    fn network<'a>(&'a self, settings: &'a Settings) -> Network<'a> {
        Network {
            settings,
            cache: &self.cache,
        }
    }

    fn nodes<'a>(&'a self, settings: &'a Settings) -> Result<Vec<Node<'a>>> {
        let node = |number| Node::new(settings, &self.cache, &self.state, number);
        settings.numbers().map(node).collect()
    }

    fn is_up(&self) -> Result<bool> {
        let settings = Settings::of(self.state.folder())?;
        Ok(settings.is_some_and(|settings| self.control_plane(&settings).is_up()))
    }

    /// Held while something is changed: by one at a time.
    fn lock(&self) -> Result<File> {
        fs::create_dir_all(self.cache.folder())
            .with_context(|| format!("cannot make {}", self.cache.folder().display()))?;
        let lock = File::create(self.cache.folder().join("lock"))?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => {
                println!("Waiting for another `cargo xtask cluster`");
                lock.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
            Ok(()) => {}
        }
        Ok(lock)
    }

    fn build(&self, mirror: Option<&str>) -> Result<()> {
        let _lock = self.lock()?;
        if !self.ensure_built(mirror)? {
            println!("Everything is there");
        }
        println!(
            "{} MB in {}: Kubernetes {} and what goes with it",
            programs::weight(self.cache.folder()) >> 20,
            self.cache.folder().display(),
            programs::kubernetes()?
        );
        Ok(())
    }

    fn ensure_built(&self, mirror: Option<&str>) -> Result<bool> {
        let user = self.network(&Settings::default()).owner();
        if let Some(user) = user.filter(|_| !debian::is_there(&self.cache)) {
            bail!(
                "the nodes' system has to be fetched anew, and the cluster in {user} uses the old one: end it with \
                 `cargo xtask cluster --state {user} down`"
            );
        }
        let system = debian::ensure(&self.cache, mirror)?;
        let programs = programs::ensure(&self.cache)?;
        let images = images::ensure(&self.cache, mirror)?;
        Ok(system || programs || images)
    }

    fn up(&self, nodes: Option<u8>) -> Result<()> {
        let _lock = self.lock()?;
        let known = Settings::of(self.state.folder())?;
        if self.is_up()? && self.state.folder().join(COMPLETE).exists() {
            let has = known.map_or(0, |settings| settings.nodes);
            if nodes.is_some_and(|wanted| wanted != has) {
                bail!("a cluster is up already, with {has} nodes: `cargo xtask cluster down` ends it");
            }
            println!(
                "The cluster in {} is up already, with {has} nodes; it is left as it is",
                self.state.folder().display()
            );
            return Ok(());
        }
        let mut settings = known.unwrap_or_default();
        settings.nodes = nodes.unwrap_or(settings.nodes);
        self.network(&settings).check(&self.state)?;
        if let Some(obstacle) = obstacle() {
            bail!("no cluster can be brought up: {obstacle}");
        }
        self.ensure_built(None)?;
        self.begin(&settings)?;
        Ok(())
    }

    fn begin(&self, settings: &Settings) -> Result<()> {
        let begin = Instant::now();
        let folder = self.state.folder();
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        if fs::read_dir(folder)?.next().is_some() && Settings::of(folder)?.is_none() {
            bail!("{} is neither empty nor a cluster's", folder.display());
        }
        println!(
            "Kubernetes {} with {} nodes in {}",
            programs::kubernetes()?,
            settings.nodes,
            folder.display()
        );
        let say = |what: &str| println!("  {:5.1} s  {what}", begin.elapsed().as_secs_f64());
        let network = self.network(settings);
        network.up(&self.state)?;
        // What was left half done by another attempt is gone on with.
        remove(&folder.join(COMPLETE))?;
        settings.keep(folder)?;
        keys::ensure(settings, &self.cache, &self.state)?;
        let control_plane = self.control_plane(settings);
        control_plane.start()?;
        say("the API is there");
        let nodes = self.nodes(settings)?;
        for node in &nodes {
            node.start()?;
        }
        control_plane.wait_ready()?;
        say("the control plane is ready");
        for node in &nodes {
            node.wait_ready()?;
        }
        if !nodes.is_empty() {
            say("the nodes are ready");
            network.reach_services(1)?;
            self.serve_names(settings)?;
            say("names are served");
        }
        fs::write(folder.join(COMPLETE), "")?;
        println!("To use it: eval \"$(cargo xtask cluster env)\"");
        Ok(())
    }

    fn serve_names(&self, settings: &Settings) -> Result<()> {
        let manifest = self.state.folder().join("coredns.yaml");
        let text = NAME_SERVER.replace("NAME_SERVER", &settings.name_server().to_string());
        fs::write(&manifest, text)?;
        let api = Api::of(&self.cache, &self.state);
        api.apply(&manifest)?;
        let asked = [
            "get",
            "deployment",
            "coredns",
            "--namespace",
            "kube-system",
            "--output",
        ];
        let asked = [&asked[..], &["jsonpath={.status.readyReplicas}"]].concat();
        wait_for("the name server", Duration::from_mins(2), || {
            Ok(api.ask(&asked).is_ok_and(|ready| ready == "1"))
        })
    }

    fn down(&self, keep: bool) -> Result<()> {
        let _lock = self.lock()?;
        let folder = self.state.folder();
        let Some(settings) = Settings::of(folder)? else {
            println!("No cluster is up in {}", folder.display());
            return Ok(());
        };
        let begin = Instant::now();
        let nodes = self.nodes(&settings)?;
        // All at once: each waits for the kernel to take its network apart.
        thread::scope(|scope| {
            let kills: Vec<_> = nodes.iter().map(|node| scope.spawn(|| node.kill())).collect();
            kills.into_iter().try_for_each(|kill| match kill.join() {
                Ok(end) => end,
                Err(_) => bail!("a node could not be ended"),
            })
        })?;
        self.control_plane(&settings).stop(keep)?;
        self.network(&settings).down(&self.state)?;
        if !keep {
            for node in &nodes {
                node.clean()?;
            }
            for part in PARTS {
                remove(&folder.join(part))?;
            }
            // What somebody else put there is theirs.
            let _ = fs::remove_dir(folder);
        }
        cgroups::remove(&settings.cgroup, None);
        println!("The cluster is down, in {:.1} s", begin.elapsed().as_secs_f64());
        if keep {
            println!("Its data and logs are in {}", folder.display());
        }
        Ok(())
    }

    fn node(&self, action: &NodeAction) -> Result<()> {
        let settings = self.settings()?;
        if !self.is_up()? {
            bail!("the cluster is not up: `cargo xtask cluster up`");
        }
        let node = Node::new(&settings, &self.cache, &self.state, action.number())?;
        let done = match action {
            NodeAction::Start { .. } => {
                node.start()?;
                node.wait_ready()?;
                "is on, and ready"
            }
            NodeAction::Kill { .. } => {
                node.kill()?;
                "has lost power"
            }
            NodeAction::Cut { .. } => {
                node.connect(false)?;
                "is cut off; its pods run on"
            }
            NodeAction::Mend { .. } => {
                node.connect(true)?;
                "is connected again"
            }
            NodeAction::Exec { command, .. } => {
                let status = node.execute(command)?;
                if !status.success() {
                    bail!("it ended with {status}");
                }
                return Ok(());
            }
            NodeAction::Load { archives, .. } => {
                archives.iter().try_for_each(|archive| node.load(archive))?;
                "has the images"
            }
        };
        println!("{} {done}", Settings::node(action.number()));
        Ok(())
    }

    fn environment(&self) -> Result<[(&'static str, PathBuf); 3]> {
        Ok([
            ("KUBECONFIG", self.state.kubeconfig()),
            ("SKEIN_CLUSTER", self.state.kubeconfig()),
            ("SKEIN_XTASK", std::env::current_exe()?),
        ])
    }

    fn print_environment(&self) -> Result<()> {
        if !self.is_up()? {
            bail!(
                "no cluster is up in {}: `cargo xtask cluster up` brings one up",
                self.state.folder().display()
            );
        }
        for (name, value) in self.environment()? {
            println!("export {name}={}", quoted(&value));
        }
        println!("export PATH={}:\"$PATH\"", quoted(&self.cache.programs()));
        Ok(())
    }
}

/// As a shell takes it for one word.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A program that has to be on this machine.
fn lacks(program: &str) -> bool {
    !debian::is_in_path(program)
}

/// Whether this machine lets us make namespaces.
fn can_unshare() -> bool {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--", "true"]);
    crate::command::succeeds(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn the_name_server_gets_its_address() {
        assert_eq!(NAME_SERVER.matches("clusterIP: NAME_SERVER").count(), 1);
    }
}
