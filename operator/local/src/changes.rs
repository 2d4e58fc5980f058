//! Noticing that files of many directories changed, with one watch of the kernel's for all of them.
//!
//! The kernel's notices make it quick; a look at every file now and then makes it sure, and is all there is where the
//! kernel has no watches left.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use skein_agent::watch::Look;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How often every file is looked at where the kernel tells of changes.
const SURE: Duration = Duration::from_secs(30);
/// How often where it does not.
const POLL: Duration = Duration::from_millis(50);

/// What the files of a directory look like.
type Fingerprint = BTreeMap<PathBuf, Look>;

/// Which files of a directory count.
pub(crate) type Counts = fn(&OsStr) -> bool;

struct Directory {
    counts: Counts,
    seen: Fingerprint,
}

/// Changes of files in directories.
pub(crate) struct Changes {
    watcher: Option<RecommendedWatcher>,
    /// Paths that changed; none: anything may have.
    notices: mpsc::UnboundedReceiver<Option<PathBuf>>,
    directories: BTreeMap<PathBuf, Directory>,
    next_look: Instant,
    pace: Duration,
}

impl Changes {
    pub(crate) fn new() -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let handler = move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            if event.need_rescan() {
                // There were more than the kernel keeps.
                let _ = sender.send(None);
                return;
            }
            if matches!(event.kind, EventKind::Access(_)) {
                // Reading is no change: whoever looks again would wake itself for ever.
                return;
            }
            for path in event.paths {
                let _ = sender.send(Some(path));
            }
        };
        let watcher = notify::recommended_watcher(handler).ok();
        let pace = if watcher.is_some() { SURE } else { POLL };
        Self {
            watcher,
            notices,
            directories: BTreeMap::new(),
            next_look: Instant::now() + pace,
            pace,
        }
    }

    /// Watches the files of a directory that count. What is there now is not a change.
    pub(crate) fn add(&mut self, directory: &Path, counts: Counts) {
        let watched = self
            .watcher
            .as_mut()
            .is_some_and(|watcher| watcher.watch(directory, RecursiveMode::NonRecursive).is_ok());
        if !watched {
            self.pace = POLL;
            self.next_look = self.next_look.min(Instant::now() + POLL);
        }
        let seen = fingerprint(directory, counts);
        self.directories
            .insert(directory.to_owned(), Directory { counts, seen });
    }

    /// Watches a directory no longer.
    pub(crate) fn remove(&mut self, directory: &Path) {
        if self.directories.remove(directory).is_some()
            && let Some(watcher) = &mut self.watcher
        {
            // It may have been deleted.
            let _ = watcher.unwatch(directory);
        }
    }

    /// The next directory with a change. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> PathBuf {
        loop {
            tokio::select! {
                Some(path) = self.notices.recv() => {
                    let Some(path) = path else {
                        self.next_look = Instant::now();
                        continue;
                    };
                    let directory = path.parent().unwrap_or(&path);
                    let Some(watched) = self.directories.get_mut(directory) else { continue };
                    if path.file_name().is_some_and(watched.counts) {
                        watched.seen = fingerprint(directory, watched.counts);
                        return directory.to_owned();
                    }
                }
                () = sleep_until(self.next_look) => {
                    for (path, directory) in &mut self.directories {
                        let now = fingerprint(path, directory.counts);
                        if directory.seen != now {
                            directory.seen = now;
                            return path.clone();
                        }
                    }
                    self.next_look = Instant::now() + self.pace;
                }
            }
        }
    }
}

fn fingerprint(directory: &Path, counts: Counts) -> Fingerprint {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let counting = entries.filter(|entry| counts(&entry.file_name()));
    let looked = counting.filter_map(|entry| {
        let file = entry.path();
        Look::at(&file).map(|look| (file, look))
    });
    looked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn yaml(name: &OsStr) -> bool {
        Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "yaml")
    }

    #[tokio::test]
    async fn only_files_that_count_are_told_and_with_their_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let (one, other) = (temporary.path().join("one"), temporary.path().join("other"));
        let mut changes = Changes::new();
        for directory in [&one, &other] {
            fs::create_dir(directory).unwrap();
            fs::write(directory.join("there.yaml"), "before").unwrap();
            changes.add(directory, yaml);
        }
        fs::write(one.join("note.txt"), "does not count").unwrap();
        fs::write(other.join("new.yaml"), "counts").unwrap();
        assert_eq!(timeout(PATIENCE, changes.next()).await.unwrap(), other);
        fs::remove_file(one.join("there.yaml")).unwrap();
        loop {
            // The kernel may tell of one write several times.
            if timeout(PATIENCE, changes.next()).await.unwrap() == one {
                break;
            }
        }
    }

    #[tokio::test]
    async fn without_the_kernel_every_change_is_still_found() {
        let temporary = tempfile::tempdir().unwrap();
        let mut changes = Changes::new();
        changes.watcher = None;
        changes.add(temporary.path(), yaml);
        fs::write(temporary.path().join("new.yaml"), "counts").unwrap();
        assert_eq!(timeout(PATIENCE, changes.next()).await.unwrap(), temporary.path());
    }
}
