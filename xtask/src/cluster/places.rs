//! Where things are: what every cluster shares, in the user's cache, and what is one cluster's own, in its state folder.

use std::path::{Path, PathBuf};

use anyhow::Result;
use skein_e2e::user_folder;

/// What was built and fetched, in `${XDG_CACHE_HOME:-~/.cache}/skein/cluster`.
#[derive(Clone, Debug)]
pub(super) struct Cache(PathBuf);

impl Cache {
    /// The user's.
    pub(super) fn find() -> Result<Self> {
        user_folder("XDG_CACHE_HOME", ".cache").map(|base| Self(base.join("skein/cluster")))
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Programs of this machine and of the nodes.
    pub(super) fn programs(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// One of them.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs().join(name)
    }

    /// Archives of container images, which every node loads.
    pub(super) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The Debian that nodes run in.
    pub(super) fn system(&self) -> PathBuf {
        self.0.join("system")
    }

    /// What Go keeps while it builds; gone when all is built.
    pub(super) fn go(&self) -> PathBuf {
        self.0.join("go")
    }

    /// What something in the cache was made of.
    pub(super) fn stamp(&self, name: &str) -> PathBuf {
        self.0.join("stamps").join(name)
    }
}

/// One cluster's data, logs, keys and process numbers.
#[derive(Clone, Debug)]
pub(super) struct State(PathBuf);

impl State {
    /// The folder that was given, or `${XDG_STATE_HOME:-~/.local/state}/skein/cluster`.
    pub(super) fn find(given: Option<&Path>) -> Result<Self> {
        let folder = match given {
            Some(folder) => std::path::absolute(folder)?,
            None => user_folder("XDG_STATE_HOME", ".local/state")?.join("skein/cluster"),
        };
        Ok(Self(folder))
    }

    /// The folder itself.
    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// For whoever may do anything.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.kubeconfig")
    }

    /// Certificates and their keys.
    pub(super) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// Logs of the control plane and of what runs on the nodes.
    pub(super) fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// Which processes are ours.
    pub(super) fn processes(&self) -> PathBuf {
        self.0.join("processes")
    }

    /// etcd's data.
    pub(super) fn etcd(&self) -> PathBuf {
        self.0.join("etcd")
    }

    /// What Kubernetes is told of the name server.
    pub(super) fn names(&self) -> PathBuf {
        self.0.join("coredns.yaml")
    }

    /// And of volumes.
    pub(super) fn volumes(&self) -> PathBuf {
        self.0.join("volumes.json")
    }

    /// A node's configuration (`etc`) and disk.
    pub(super) fn node(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
