//! The program itself, brought to where another image can run it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use skein_agent::files::FileError;

/// What the program is called there.
const NAME: &str = "skein-operator";

/// Copies the program that runs into a directory that exists, as `skein-operator`, for everybody to run. Gives its path. Whoever runs
/// what was there before goes on with that.
///
/// # Errors
/// If it cannot be written there.
pub fn install(directory: &Path) -> Result<PathBuf, FileError> {
    let target = directory.join(NAME);
    let draft = directory.join(format!(".{NAME}.{}.new", std::process::id()));
    let copied = std::env::current_exe()
        .and_then(|own| fs::copy(own, &draft))
        .and_then(|_| fs::set_permissions(&draft, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&draft, &target));
    match copied {
        Ok(()) => Ok(target),
        Err(source) => {
            // Best effort: the error below is the one to tell.
            let _ = fs::remove_file(&draft);
            Err(FileError::System {
                action: "write",
                path: target,
                source,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_replaces_what_is_there_and_can_be_run() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(NAME), "an older one").unwrap();
        let installed = install(directory.path()).unwrap();
        assert_eq!(installed, directory.path().join("skein-operator"));
        let length = |path: &Path| fs::metadata(path).unwrap().len();
        assert_eq!(length(&installed), length(&std::env::current_exe().unwrap()));
        let mode = fs::metadata(&installed).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = install(&directory.path().join("nowhere")).unwrap_err();
        assert!(error.to_string().contains("nowhere/skein-operator"), "{error}");
    }
}
