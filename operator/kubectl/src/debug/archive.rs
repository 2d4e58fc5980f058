//! A `tar.gz` that is written as it is filled, for its owner only.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use skein_commands::Failure;
use tar::{Builder, Header};

pub(super) struct Archive {
    path: PathBuf,
    builder: Builder<GzEncoder<File>>,
    time: u64,
    files: Vec<String>,
}

impl Archive {
    /// A new file; one that is there already stays as it is.
    pub(super) fn create(path: &Path, now: Timestamp) -> Result<Self, Failure> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::AlreadyExists => "; remove it, or name another with --out",
                _ => "; name another place with --out",
            };
            Failure::could_not(format!("cannot make {}: {error}{remedy}", path.display()))
        })?;
        Ok(Self {
            path: path.to_owned(),
            builder: Builder::new(GzEncoder::new(file, Compression::default())),
            time: now.as_second().unsigned_abs(),
            files: Vec::new(),
        })
    }

    /// Adds a file. All are in one folder, lest unpacking litters.
    pub(super) fn add(&mut self, name: &str, text: &str) -> Result<(), Failure> {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        let added =
            self.builder
                .append_data(&mut header, Path::new("skein-debug").join(name), text.as_bytes());
        added.map_err(|error| self.failed(&error))?;
        self.files.push(name.to_owned());
        Ok(())
    }

    /// What was added.
    pub(super) fn files(&self) -> &[String] {
        &self.files
    }

    /// Writes the end; says how many files are in it.
    pub(super) fn finish(self) -> Result<usize, Failure> {
        let (path, count) = (self.path, self.files.len());
        let finished = self.builder.into_inner().and_then(GzEncoder::finish);
        finished
            .and_then(|file| file.sync_all())
            .map_err(|error| Failure::could_not(format!("cannot write {}: {error}", path.display())))?;
        Ok(count)
    }

    fn failed(&self, error: &io::Error) -> Failure {
        Failure::could_not(format!("cannot write {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_was_added_is_in_it_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.tar.gz");
        let mut archive = Archive::create(&path, Timestamp::UNIX_EPOCH).unwrap();
        archive.add("fleet/pods.yaml", "pods\n").unwrap();
        archive.add("MANIFEST.txt", "all\n").unwrap();
        assert_eq!(archive.finish().unwrap(), 2);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let mut packed = tar::Archive::new(flate2::read::GzDecoder::new(File::open(&path).unwrap()));
        let mut found = BTreeMap::new();
        for entry in packed.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            found.insert(entry.path().unwrap().display().to_string(), text);
        }
        let expected = [
            ("skein-debug/MANIFEST.txt", "all\n"),
            ("skein-debug/fleet/pods.yaml", "pods\n"),
        ];
        assert_eq!(
            found,
            expected
                .map(|(name, text)| (name.to_owned(), text.to_owned()))
                .into()
        );

        let Err(refused) = Archive::create(&path, Timestamp::UNIX_EPOCH) else {
            panic!("it was overwritten")
        };
        assert!(refused.to_string().contains("--out"), "{refused}");
    }
}
