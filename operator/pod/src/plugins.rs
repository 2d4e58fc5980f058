//! Mosquitto's plugins at paths that are the same in every image, for configurations to name.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use skein_agent::files::{self, FileError};
use skein_agent::{BrokerDirectory, plugin};

/// The folder below the broker's directory.
const FOLDER: &str = "plugins";

/// Links the plugins of a mosquitto into the folder; one that it lacks has no link.
pub(crate) fn link(directory: &BrokerDirectory, mosquitto: &Path) -> Result<(), FileError> {
    let folder = directory.path().join(FOLDER);
    fs::create_dir_all(&folder).map_err(failed("create", &folder))?;
    for name in [plugin::SECURITY, plugin::STORE] {
        let link = folder.join(name);
        // An earlier container may have been of another image. No broker runs yet that could miss it.
        files::remove(&link)?;
        if let Some(found) = plugin::find(mosquitto, name) {
            symlink(found, &link).map_err(failed("create", &link))?;
        }
    }
    Ok(())
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::System { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// An image with a mosquitto and one plugin.
    fn image(root: &Path, name: &str) -> PathBuf {
        let mosquitto = root.join("usr/sbin/mosquitto");
        for file in [mosquitto.clone(), root.join("usr/lib").join(name)] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        mosquitto
    }

    #[test]
    fn links_lead_to_the_plugins_of_this_mosquitto_and_no_other() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path().join("skein"));
        directory.create().unwrap();
        let (old, new) = (temporary.path().join("old"), temporary.path().join("new"));
        let at = |name| fs::read_link(directory.path().join("plugins").join(name)).ok();

        link(&directory, &image(&old, plugin::SECURITY)).unwrap();
        assert_eq!(
            at(plugin::SECURITY),
            Some(old.join("usr/lib").join(plugin::SECURITY))
        );
        assert_eq!(at(plugin::STORE), None);

        link(&directory, &image(&new, plugin::STORE)).unwrap();
        assert_eq!(at(plugin::SECURITY), None);
        assert_eq!(at(plugin::STORE), Some(new.join("usr/lib").join(plugin::STORE)));
    }
}
