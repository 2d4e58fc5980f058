//! Doing something once: what was made carries a note of what it was made of, and is made again when that changes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The note of one thing in the cache.
pub(super) struct Stamp {
    file: PathBuf,
    text: String,
}

impl Stamp {
    /// Of a thing that is made of what this text says.
    pub(super) fn new(file: PathBuf, text: String) -> Self {
        Self { file, text }
    }

    /// Whether these results are there, made of the same.
    pub(super) fn is_fresh(&self, results: &[PathBuf]) -> bool {
        let noted = fs::read_to_string(&self.file).is_ok_and(|text| text == self.text);
        noted && results.iter().all(|path| path.exists())
    }

    /// To be called when the results are in place.
    pub(super) fn set(&self) -> Result<()> {
        let folder = self.file.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        fs::write(&self.file, &self.text).with_context(|| format!("cannot write {}", self.file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_made_of_something_else_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("result");
        let stamp = |text: &str| Stamp::new(folder.path().join("stamps/result"), text.to_owned());
        let results = [result.clone()];
        assert!(!stamp("1.0").is_fresh(&results), "never made");
        fs::write(&result, "").unwrap();
        stamp("1.0").set().unwrap();
        assert!(stamp("1.0").is_fresh(&results));
        assert!(!stamp("1.1").is_fresh(&results), "made of something else");
        fs::remove_file(&result).unwrap();
        assert!(!stamp("1.0").is_fresh(&results), "gone");
    }
}
