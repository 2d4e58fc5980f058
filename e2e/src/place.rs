//! Places: the repository, the built `skein`, free ports.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The path that an environment variable names, if it names one.
pub(crate) fn named_path(variable: &str) -> Option<PathBuf> {
    let value = std::env::var_os(variable).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// The folder that a variable such as `XDG_CACHE_HOME` names, else the one in the user's home.
pub fn user_folder(variable: &str, in_home: &str) -> Result<PathBuf> {
    named_path(variable)
        .or_else(|| named_path("HOME").map(|home| home.join(in_home)))
        .with_context(|| format!("neither {variable} nor HOME is set"))
}

/// The built `skein`: what `SKEIN_BIN` names (`cargo xtask test` sets it), else the last debug build.
///
/// # Panics
///
/// If it is missing; the message says how to build it.
#[must_use]
pub fn skein() -> PathBuf {
    let path = named_path("SKEIN_BIN").unwrap_or_else(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        target
            .unwrap_or_else(|| repository().join("target"))
            .join("debug")
            .join("skein")
    });
    built(path, "skein-cli")
}

/// The built `kubectl-skein`, which lies beside `skein`.
///
/// # Panics
///
/// As [`skein`] does.
#[must_use]
pub fn kubectl_skein() -> PathBuf {
    built(skein().with_file_name("kubectl-skein"), "kubectl-skein")
}

/// The built `skein-operator`, which lies there, too.
///
/// # Panics
///
/// As [`skein`] does.
#[must_use]
pub fn operator() -> PathBuf {
    built(skein().with_file_name("skein-operator"), "skein-kubernetes")
}

#[allow(clippy::panic, reason = "a test without the program under test cannot go on")]
fn built(path: PathBuf, package: &str) -> PathBuf {
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build -p {package}`",
        path.display()
    );
    path
}

/// A TCP port on 127.0.0.1 that is free now.
pub fn free_port() -> Result<u16> {
    free_ports(1).map(|ports| ports[0])
}

/// Distinct TCP ports on 127.0.0.1 that are free now: below those that the kernel lends to outgoing connections, one of which
/// could have it by the time that somebody listens there.
pub fn free_ports(count: usize) -> Result<Vec<u16>> {
    const LOWEST: u64 = 13_000;
    const MANY: u64 = 19_000;
    // What was handed out is free until somebody listens there, and may seem so to another test meanwhile.
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    // All are held until all are found, so that no port is handed out twice.
    let mut held: Vec<TcpListener> = Vec::new();
    // Each process and each call begins elsewhere.
    let mut next = RandomState::new().hash_one(std::process::id());
    for _ in 0..MANY {
        if held.len() == count {
            break;
        }
        next = next.wrapping_add(1);
        let port = u16::try_from(LOWEST + next % MANY)?;
        if let Some(listener) = TcpListener::bind(("127.0.0.1", port))
            .ok()
            .filter(|_| taken.insert(port))
        {
            held.push(listener);
        }
    }
    ensure!(held.len() == count, "no free port on 127.0.0.1");
    held.iter()
        .map(|listener| Ok(listener.local_addr()?.port()))
        .collect()
}
