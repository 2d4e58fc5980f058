//! Starting a process that outlives this one.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::identity::{Identity, Watched};
use crate::say::say;

/// Starts a program that stays when this process ends, in a process group of its own, so that neither Ctrl-C in this
/// terminal nor closing it reaches the program. What it writes is appended to `log`.
///
/// # Errors
/// If the program or the log cannot be opened, or the program ended before it could be looked at.
///
/// # Panics
/// Outside of a tokio runtime, which waits for its end.
pub fn spawn_detached<I>(program: &Path, arguments: I, log: &Path) -> io::Result<Identity>
where
    I: IntoIterator,
    I::Item: AsRef<OsStr>,
{
    let output = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(log)?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()?;
    let identity = Identity::of(child.id());
    // Whoever lives long must not collect dead children.
    let watched = Watched::of_child(&child)?;
    tokio::spawn(async move {
        if watched.exited().await.is_ok() {
            let _ = child.wait();
        }
    });
    identity.ok_or_else(|| {
        io::Error::other(format!(
            "{} ended at once; {} says why",
            program.display(),
            log.display()
        ))
    })
}

/// Lets this process, and those it starts, open as many files and connections as the system allows at all.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        say!("cannot raise the limit of open files: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, Signal, getpgid};

    #[tokio::test]
    async fn a_detached_process_has_its_own_group_and_leaves_no_zombie() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let identity =
            spawn_detached(Path::new("/bin/sh"), ["-c", "echo hello; exec sleep 600"], &log).unwrap();
        let group = getpgid(Pid::from_raw(i32::try_from(identity.pid).unwrap())).unwrap();
        assert_eq!(u32::try_from(group.as_raw_nonzero().get()).unwrap(), identity.pid);
        identity.signal(Signal::KILL).unwrap();
        identity.wait_exit().await.unwrap();
        assert!(!identity.is_alive());
    }
}
