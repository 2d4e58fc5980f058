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
mod names;
mod network;
mod node;
mod places;
mod process;
mod programs;
mod ready;
mod settings;
mod stamp;
mod texts;
mod volumes;

use std::fs::{self, File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

pub(crate) use self::arguments::Arguments;
use self::arguments::{Action, NodeAction};
use self::control_plane::ControlPlane;
pub(crate) use self::lease::{Lease, obstacle};
use self::network::Network;
use self::node::Node;
use self::places::{Cache, State};
use self::ready::Api;
use self::settings::Settings;

/// There once `up` has come to its end.
const COMPLETE: &str = "complete";
/// What a cluster's folder holds beside its nodes.
const PARTS: [&str; 9] = [
    "settings.json",
    COMPLETE,
    "admin.kubeconfig",
    "coredns.yaml",
    "volumes.json",
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
        Action::Load { archives } => cluster.load(archives),
        Action::Volumes => cluster.recycle(),
        Action::Node(action) => cluster.node(action),
        Action::Server(action) => {
            let settings = cluster.settings()?;
            cluster.control_plane(&settings).server(*action)
        }
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
        let api = Api::of(&self.cache, &self.state);
        // While the nodes begin, it costs next to nothing.
        volumes::offer(settings, &api, &self.state)?;
        control_plane.wait_ready()?;
        say("the control plane is ready");
        for node in &nodes {
            node.wait_ready()?;
        }
        if !nodes.is_empty() {
            say("the nodes are ready");
            network.reach_services(1)?;
            names::serve(settings, &api, &self.state)?;
            say("names are served");
        }
        fs::write(folder.join(COMPLETE), "")?;
        println!("To use it: eval \"$(cargo xtask cluster env)\"");
        Ok(())
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
        on_each(&nodes.iter().collect::<Vec<_>>(), Node::kill)?;
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

    /// The settings of a cluster that is up.
    fn running(&self) -> Result<Settings> {
        let settings = self.settings()?;
        if !self.is_up()? {
            bail!("the cluster is not up: `cargo xtask cluster up`");
        }
        Ok(settings)
    }

    fn load(&self, archives: &[PathBuf]) -> Result<()> {
        let begin = Instant::now();
        let settings = self.running()?;
        let nodes = self.nodes(&settings)?;
        let (on, off): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.is_on());
        let load = |node: &Node<'_>| archives.iter().try_for_each(|archive| node.load(archive));
        on_each(&on, load)?;
        println!(
            "{} nodes have the images, in {:.1} s",
            on.len(),
            begin.elapsed().as_secs_f64()
        );
        if !off.is_empty() {
            println!("{} are off, and have not", off.len());
        }
        Ok(())
    }

    fn recycle(&self) -> Result<()> {
        // One at a time: what another one just emptied may be claimed by now, and written to.
        let _lock = self.lock()?;
        let settings = self.running()?;
        let api = Api::of(&self.cache, &self.state);
        let count = volumes::recycle(&settings, &api, &self.state)?;
        println!("{count} volumes are free again");
        Ok(())
    }

    fn node(&self, action: &NodeAction) -> Result<()> {
        let settings = self.running()?;
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

/// Does something to several nodes at once.
fn on_each<'a>(nodes: &[&Node<'a>], what: impl Fn(&Node<'a>) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let all: Vec<_> = nodes.iter().map(|node| scope.spawn(|| what(node))).collect();
        all.into_iter().try_for_each(|one| match one.join() {
            Ok(end) => end,
            Err(_) => bail!("a node's thread has ended badly"),
        })
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
