//! etcd, the API server, the controller manager and the scheduler, as processes of this machine. It knows their options and when
//! they are ready, and no nodes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::arguments::ServerAction;
use super::places::{Cache, State};
use super::process::Processes;
use super::ready::{Api, wait_for};
use super::settings::Settings;

const PATIENCE: Duration = Duration::from_mins(1);
const SERVER: &str = "kube-apiserver";
/// In the order of their start.
const PARTS: [&str; 4] = ["etcd", SERVER, "kube-controller-manager", "kube-scheduler"];

/// The four programs of one cluster.
pub(super) struct ControlPlane<'a> {
    pub(super) settings: &'a Settings,
    pub(super) cache: &'a Cache,
    pub(super) state: &'a State,
}

impl ControlPlane<'_> {
    fn processes(&self) -> Processes {
        Processes::of(self.state)
    }

    /// Stops the API server in its tracks, or lets it go on.
    pub(super) fn server(&self, action: ServerAction) -> Result<()> {
        let signal = match action {
            ServerAction::Hang => Signal::STOP,
            ServerAction::Resume => Signal::CONT,
        };
        self.processes().signal(SERVER, signal)
    }

    /// Whether the API server runs.
    pub(super) fn is_up(&self) -> bool {
        self.processes().alive(SERVER).is_some()
    }

    /// Starts what does not run. The last two go on by themselves: see [`ControlPlane::wait_ready`].
    pub(super) fn start(&self) -> Result<()> {
        let api = Api::of(self.cache, self.state);
        self.begin("etcd", &self.etcd())?;
        self.wait("etcd", || api.is_healthy(&self.settings.etcd(), "/health"))?;
        self.begin(SERVER, &self.api_server())?;
        self.wait(SERVER, || api.agrees(&["get", "--raw", "/readyz"]))?;
        self.begin("kube-controller-manager", &self.controller_manager())?;
        self.begin("kube-scheduler", &self.scheduler())
    }

    /// Waits until all four do their work.
    pub(super) fn wait_ready(&self) -> Result<()> {
        let api = Api::of(self.cache, self.state);
        let ports = &self.settings.ports;
        for (name, port) in [
            ("kube-controller-manager", ports.controller_manager),
            ("kube-scheduler", ports.scheduler),
        ] {
            let server = format!("https://127.0.0.1:{port}");
            self.wait(name, || api.is_healthy(&server, "/healthz"))?;
        }
        // Without it no pod can be made.
        self.wait("kube-controller-manager", || {
            api.agrees(&["get", "serviceaccount", "default", "--namespace", "default"])
        })
    }

    /// Ends all four, the last one first; cleanly, if their data are to be used again.
    pub(super) fn stop(&self, cleanly: bool) -> Result<()> {
        let signal = if cleanly { Signal::TERM } else { Signal::KILL };
        let failed: Vec<String> = PARTS
            .iter()
            .rev()
            .filter_map(|part| self.processes().stop(part, signal).err())
            .map(|error| format!("{error:#}"))
            .collect();
        if !failed.is_empty() {
            bail!("{}", failed.join("; "));
        }
        Ok(())
    }

    fn begin(&self, name: &str, arguments: &[String]) -> Result<()> {
        self.processes().start(name, &self.cache.program(name), arguments)
    }

    fn wait(&self, name: &str, mut question: impl FnMut() -> bool) -> Result<()> {
        wait_for(name, PATIENCE, || {
            self.processes().still_runs(name)?;
            Ok(question())
        })
    }

    fn key(&self, name: &str) -> String {
        self.state.keys().join(name).display().to_string()
    }

    fn etcd(&self) -> Vec<String> {
        let clients = self.settings.etcd();
        let peers = format!("http://127.0.0.1:{}", self.settings.ports.etcd_peers);
        options(&[
            ("data-dir", &text(&self.state.etcd())),
            // What a loss of this machine's power would do to a test cluster is nobody's concern.
            ("unsafe-no-fsync", "true"),
            ("log-level", "warn"),
            ("listen-client-urls", &clients),
            ("advertise-client-urls", &clients),
            ("listen-peer-urls", &peers),
            ("initial-advertise-peer-urls", &peers),
            ("initial-cluster", &format!("default={peers}")),
        ])
    }

    fn api_server(&self) -> Vec<String> {
        let Settings { ports, failover, .. } = self.settings;
        // Nobody beyond this machine and its nodes can reach that address.
        let machine = self.settings.machine().to_string();
        options(&[
            ("etcd-servers", &self.settings.etcd()),
            ("bind-address", &machine),
            ("advertise-address", &machine),
            ("secure-port", &ports.api.to_string()),
            ("tls-cert-file", &self.key("apiserver.crt")),
            ("tls-private-key-file", &self.key("apiserver.key")),
            ("client-ca-file", &self.key("ca.crt")),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local",
            ),
            ("service-account-key-file", &self.key("tokens.pub")),
            ("service-account-signing-key-file", &self.key("tokens.key")),
            ("kubelet-client-certificate", &self.key("kubelet-client.crt")),
            ("kubelet-client-key", &self.key("kubelet-client.key")),
            ("requestheader-client-ca-file", &self.key("ca.crt")),
            ("requestheader-allowed-names", "front-proxy"),
            ("requestheader-username-headers", "X-Remote-User"),
            ("requestheader-group-headers", "X-Remote-Group"),
            ("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
            ("proxy-client-cert-file", &self.key("front-proxy.crt")),
            ("proxy-client-key-file", &self.key("front-proxy.key")),
            ("service-cluster-ip-range", &self.settings.services()),
            ("authorization-mode", "Node,RBAC"),
            ("kubelet-preferred-address-types", "InternalIP"),
            ("enable-admission-plugins", "NodeRestriction"),
            ("allow-privileged", "true"),
            (
                "default-not-ready-toleration-seconds",
                &failover.eviction.to_string(),
            ),
            (
                "default-unreachable-toleration-seconds",
                &failover.eviction.to_string(),
            ),
        ])
    }

    fn controller_manager(&self) -> Vec<String> {
        let Settings { ports, failover, .. } = self.settings;
        let kubeconfig = self.key("controller-manager.kubeconfig");
        options(&[
            ("kubeconfig", &kubeconfig),
            ("authentication-kubeconfig", &kubeconfig),
            ("authorization-kubeconfig", &kubeconfig),
            ("use-service-account-credentials", "true"),
            ("service-account-private-key-file", &self.key("tokens.key")),
            ("root-ca-file", &self.key("ca.crt")),
            ("cluster-signing-cert-file", &self.key("ca.crt")),
            ("cluster-signing-key-file", &self.key("ca.key")),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("secure-port", &ports.controller_manager.to_string()),
            ("node-monitor-period", &format!("{}s", failover.monitor_period)),
            ("node-monitor-grace-period", &format!("{}s", failover.grace)),
        ])
    }

    fn scheduler(&self) -> Vec<String> {
        let kubeconfig = self.key("scheduler.kubeconfig");
        options(&[
            ("kubeconfig", &kubeconfig),
            ("authentication-kubeconfig", &kubeconfig),
            ("authorization-kubeconfig", &kubeconfig),
            ("leader-elect", "false"),
            ("bind-address", "127.0.0.1"),
            ("secure-port", &self.settings.ports.scheduler.to_string()),
        ])
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn options(options: &[(&str, &str)]) -> Vec<String> {
    let words = options.iter().map(|(name, value)| format!("--{name}={value}"));
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_follow_from_the_settings() {
        let mut settings = Settings::default();
        settings.failover.grace = 11;
        settings.failover.eviction = 7;
        let folder = tempfile::tempdir().unwrap();
        let control_plane = ControlPlane {
            settings: &settings,
            cache: &Cache::find().unwrap(),
            state: &State::find(Some(folder.path())).unwrap(),
        };
        let has = |options: &[String], wanted: &str| options.iter().any(|option| option == wanted);
        let api = control_plane.api_server();
        assert!(has(&api, "--bind-address=10.200.0.1") && has(&api, "--secure-port=12443"));
        assert!(has(&api, "--default-unreachable-toleration-seconds=7"));
        assert!(has(&api, "--service-cluster-ip-range=10.96.0.0/16"));
        let manager = control_plane.controller_manager();
        assert!(has(&manager, "--node-monitor-grace-period=11s"));
        let key = format!("--root-ca-file={}/keys/ca.crt", folder.path().display());
        assert!(has(&manager, &key));
    }
}
