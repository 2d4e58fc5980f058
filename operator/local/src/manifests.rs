//! Manifests from files: which files count.

use std::io;
use std::path::{Path, PathBuf};

pub use skein_adapter::declared::{Declared, ManifestFile, Problem, load};
pub(crate) use skein_adapter::declared::{compare, differences};
use skein_agent::files::texts;
use skein_api::manifest::is_manifest;

/// The manifests of a directory (not of those in it), sorted by name; or the one file that `path` is.
///
/// # Errors
/// If the directory or a manifest in it cannot be read.
pub fn read(path: &Path) -> io::Result<Vec<ManifestFile>> {
    let files = texts(path, is_manifest)?.into_iter();
    let file = |(path, text): (PathBuf, String)| ManifestFile {
        path: path.display().to_string(),
        text,
    };
    Ok(files.map(file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_manifests_of_the_directory_itself_are_read_in_order() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        fs::create_dir(root.join("nested")).unwrap();
        for name in [
            "b.yaml",
            "a.json",
            "README.md",
            ".hidden.yaml",
            "c.yaml~",
            "nested/d.yaml",
        ] {
            fs::write(root.join(name), name).unwrap();
        }
        let texts: Vec<String> = read(root).unwrap().into_iter().map(|file| file.text).collect();
        assert_eq!(texts, ["a.json", "b.yaml"]);
        assert_eq!(
            read(&root.join("README.md")).unwrap().len(),
            1,
            "a file that is named is read whatever it is"
        );
        assert!(
            read(&root.join("nowhere"))
                .unwrap_err()
                .to_string()
                .contains("nowhere")
        );
    }
}
