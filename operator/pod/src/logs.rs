//! What the broker writes, passed on.
//!
//! It goes on writing into its file, where the supervisor looks for its last words: a broker that wrote into a pipe would
//! stand still when nobody reads that.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use skein_agent::BrokerDirectory;
use skein_agent::watch::{Changes, Look};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::trouble::Trouble;

/// The most that is read at a time, in bytes.
const PART: u64 = 64 << 10;

/// Reads a broker's log as it grows, also across its being set aside.
pub(crate) struct Follower {
    log: PathBuf,
    older: PathBuf,
    changes: Changes,
    /// How far the log was read, in bytes; while `set_aside`, the older one.
    read: u64,
    /// The log was emptied, and what it held is now read to its end where it was set aside.
    set_aside: bool,
    /// What the older one looked like.
    look: Option<Look>,
    /// Was read and is not yet written.
    part: Vec<u8>,
    trouble: Trouble,
}

impl Follower {
    /// Follows from here on.
    pub(crate) fn new(directory: &BrokerDirectory) -> Self {
        let (log, older) = (directory.log(), directory.older_log());
        let folder = log.parent().unwrap_or(directory.path());
        let changes = Changes::of(folder, log.file_name());
        Self {
            changes,
            read: length(&log),
            look: Look::at(&older),
            log,
            older,
            set_aside: false,
            part: Vec::new(),
            trouble: Trouble::default(),
        }
    }

    /// Passes on what is written, for ever. May be dropped and called again.
    pub(crate) async fn follow(&mut self, out: &mut (impl AsyncWrite + Unpin)) -> Infallible {
        loop {
            self.copy(out).await;
            self.changes.next().await;
        }
    }

    /// Passes on what was written. May be dropped and called again.
    pub(crate) async fn copy(&mut self, out: &mut (impl AsyncWrite + Unpin)) {
        loop {
            if self.part.is_empty() {
                match self.next() {
                    Ok(part) => self.part = part,
                    Err(error) => self
                        .trouble
                        .say(format_args!("cannot read {}: {error}", self.log.display())),
                }
            }
            if self.part.is_empty() {
                break;
            }
            // Not `write_all`, of which nobody knows how far it came when it is dropped.
            match out.write(&self.part).await {
                Ok(written) if written > 0 => drop(self.part.drain(..written)),
                // Nobody listens any more; the file has it.
                _ => self.part.clear(),
            }
        }
        let _ = out.flush().await;
    }

    /// What comes next, or nothing.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let length = length(&self.log);
        let look = Look::at(&self.older);
        // One that is longer than its copy could not be copied as a whole, and goes on.
        let replaced = look != self.look && length < self::length(&self.older);
        self.look = look;
        if replaced && self.set_aside {
            // Too slow: what was left of the one before is gone.
            self.read = 0;
        }
        self.set_aside |= replaced || length < self.read;
        if self.set_aside {
            let part = part(&self.older, self.read)?;
            if part.is_empty() {
                self.set_aside = false;
                self.read = 0;
            } else {
                self.read += part.len() as u64;
                return Ok(part);
            }
        }
        let part = part(&self.log, self.read)?;
        self.read += part.len() as u64;
        Ok(part)
    }
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).map_or(0, |data| data.len())
}

/// Some of a file from there on; nothing if there is no file.
fn part(file: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut part = Vec::new();
    match File::open(file) {
        Ok(mut file) => {
            file.seek(SeekFrom::Start(from))?;
            file.take(PART).read_to_end(&mut part)?;
            Ok(part)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(part),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, duplex};
    use tokio::time::timeout;

    const PATIENCE: Duration = Duration::from_secs(10);

    struct Scene {
        _temporary: tempfile::TempDir,
        directory: BrokerDirectory,
        broker: File,
    }

    impl Scene {
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let directory = BrokerDirectory::new(temporary.path());
            directory.create().unwrap();
            let broker = OpenOptions::new()
                .append(true)
                .create(true)
                .open(directory.log())
                .unwrap();
            Self {
                _temporary: temporary,
                directory,
                broker,
            }
        }

        fn write(&mut self, text: &str) {
            self.broker.write_all(text.as_bytes()).unwrap();
        }

        /// As the supervisor does with a large one.
        fn set_aside(&self) {
            fs::copy(self.directory.log(), self.directory.older_log()).unwrap();
            self.broker.set_len(0).unwrap();
        }
    }

    async fn copied(follower: &mut Follower) -> String {
        let mut out = Vec::new();
        follower.copy(&mut out).await;
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn what_is_written_later_is_passed_on_when_it_is_written() {
        let mut scene = Scene::new();
        scene.write("of an earlier container\n");
        let mut follower = Follower::new(&scene.directory);
        let (mut out, mut reader) = duplex(4);
        let reading = async {
            for line in ["one\n", "two, which is longer\n"] {
                scene.write(line);
                let mut read = vec![0; line.len()];
                reader.read_exact(&mut read).await.unwrap();
                assert_eq!(read, line.as_bytes());
            }
        };
        tokio::select! {
            never = follower.follow(&mut out) => match never {},
            read = timeout(PATIENCE, reading) => read.unwrap(),
        }
    }

    #[tokio::test]
    async fn nothing_is_missed_or_doubled_when_the_log_is_set_aside() {
        let mut scene = Scene::new();
        let mut follower = Follower::new(&scene.directory);
        scene.write("one\n");
        assert_eq!(copied(&mut follower).await, "one\n");
        scene.write("two, which is longer\n");
        scene.set_aside();
        scene.write("three\n");
        assert_eq!(copied(&mut follower).await, "two, which is longer\nthree\n");
        scene.set_aside();
        assert_eq!(copied(&mut follower).await, "");
        scene.write("four\n");
        assert_eq!(copied(&mut follower).await, "four\n");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_set_aside_is_not_passed_on_again() {
        let mut scene = Scene::new();
        let mut follower = Follower::new(&scene.directory);
        scene.write("one\n");
        assert_eq!(copied(&mut follower).await, "one\n");
        // A full disk.
        fs::write(scene.directory.older_log(), "o").unwrap();
        scene.write("two\n");
        assert_eq!(copied(&mut follower).await, "two\n");
    }

    #[tokio::test]
    async fn a_large_part_is_passed_on_as_a_whole() {
        let mut scene = Scene::new();
        let mut follower = Follower::new(&scene.directory);
        let text = "0123456789abcde\n".repeat(10_000);
        scene.write(&text);
        assert_eq!(copied(&mut follower).await, text);
    }

    #[tokio::test]
    async fn what_a_slow_reader_has_not_taken_comes_later() {
        let mut scene = Scene::new();
        let mut follower = Follower::new(&scene.directory);
        let (mut out, mut reader) = duplex(4);
        scene.write("12345678");
        tokio::select! {
            biased;
            () = follower.copy(&mut out) => unreachable!("it has room for four"),
            () = std::future::ready(()) => {}
        }
        let mut read = vec![0; 8];
        let (copied, _) = tokio::join!(follower.copy(&mut out), reader.read_exact(&mut read));
        assert_eq!((copied, read.as_slice()), ((), b"12345678".as_slice()));
    }

    #[tokio::test]
    async fn a_reader_that_went_away_stops_nothing() {
        let mut scene = Scene::new();
        let mut follower = Follower::new(&scene.directory);
        let (mut out, reader) = duplex(4);
        drop(reader);
        scene.write("lost\n");
        follower.copy(&mut out).await;
        scene.write("kept\n");
        assert_eq!(copied(&mut follower).await, "kept\n");
    }
}
