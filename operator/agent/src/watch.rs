//! Noticing that files changed.
//!
//! Tells that something may have changed, never what: the reader looks again. Where the kernel has no watches left (there
//! are 128 per user on many machines) it looks at the files' times at fixed intervals instead, and opens none of them: others may
//! watch the same directory, and be woken by that.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How often to look where nothing tells.
const POLL: Duration = Duration::from_millis(50);

/// Wakes whoever reads some files of one directory.
pub struct Changes {
    woken: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    looks: Looks,
}

/// What a file looks like from outside: a replaced one has another inode, a rewritten one another time or length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    inode: u64,
    written: (i64, i64),
    length: u64,
}

impl Look {
    /// Through links: a changed target is a change. `None` if it cannot be looked at.
    #[must_use]
    pub fn at(file: &Path) -> Option<Self> {
        let data = fs::metadata(file).ok()?;
        Some(Self {
            inode: data.ino(),
            written: (data.mtime(), data.mtime_nsec()),
            length: data.len(),
        })
    }
}

/// What files looked like when they were looked at last.
#[derive(Debug)]
struct Looks {
    files: Vec<PathBuf>,
    seen: Vec<Option<Look>>,
}

impl Looks {
    fn at(files: Vec<PathBuf>) -> Self {
        let mut looks = Self {
            files,
            seen: Vec::new(),
        };
        looks.differ();
        looks
    }

    /// Whether they changed since the last look.
    fn differ(&mut self) -> bool {
        let now: Vec<_> = self.files.iter().map(|file| Look::at(file)).collect();
        let differ = now != self.seen;
        self.seen = now;
        differ
    }
}

impl Changes {
    /// Watches files with these names in a directory that exists; none of the files need to.
    #[must_use]
    pub fn of<I>(directory: &Path, names: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<OsString>,
    {
        let names: BTreeSet<OsString> = names.into_iter().map(Into::into).collect();
        // Before anybody reads them: what changes meanwhile is a change.
        let looks = Looks::at(names.iter().map(|name| directory.join(name)).collect());
        let woken = Arc::new(Notify::new());
        let waker = woken.clone();
        let handler = move |event: notify::Result<Event>| {
            let concerns = event.as_ref().map_or(true, |event| {
                // Reading is no change: whoever looks again would wake itself for ever.
                !matches!(event.kind, EventKind::Access(_))
                    && (event.paths.is_empty()
                        || event.need_rescan()
                        || event
                            .paths
                            .iter()
                            .any(|path| path.file_name().is_some_and(|name| names.contains(name))))
            });
            if concerns {
                waker.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(handler)
            .and_then(|mut watcher| {
                watcher
                    .watch(directory, RecursiveMode::NonRecursive)
                    .map(|()| watcher)
            })
            .ok();
        Self {
            woken,
            watcher,
            looks,
        }
    }

    /// Resolves when something may have changed since the last call resolved, or since the beginning.
    pub async fn next(&mut self) {
        if self.watcher.is_some() {
            self.woken.notified().await;
        } else {
            while !self.looks.differ() {
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn a_replaced_file_is_noticed_and_others_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut changes = Changes::of(directory.path(), ["target"]);
        crate::files::write(&directory.path().join("other"), b"x").unwrap();
        crate::files::write(&directory.path().join("target"), b"x").unwrap();
        timeout(PATIENCE, changes.next()).await.unwrap();
        // Events come in order: once the second change of `target` is seen, a change of `other` before it was too.
        let mut others = Changes::of(directory.path(), ["marker"]);
        crate::files::write(&directory.path().join("other"), b"y").unwrap();
        crate::files::write(&directory.path().join("marker"), b"y").unwrap();
        timeout(PATIENCE, others.next()).await.unwrap();
        crate::files::remove(&directory.path().join("target")).unwrap();
        timeout(PATIENCE, changes.next()).await.unwrap();
    }

    #[tokio::test]
    async fn without_kernel_watches_it_polls() {
        let directory = tempfile::tempdir().unwrap();
        // The kernel watches nothing that is not there.
        let later = directory.path().join("later");
        let mut changes = Changes::of(&later, ["target"]);
        std::fs::create_dir(&later).unwrap();
        crate::files::write(&later.join("other"), b"x").unwrap();
        assert!(
            timeout(2 * POLL, changes.next()).await.is_err(),
            "that is another file"
        );
        for content in [&b"x"[..], b"y"] {
            crate::files::write(&later.join("target"), content).unwrap();
            timeout(PATIENCE, changes.next()).await.unwrap();
        }
    }
}
