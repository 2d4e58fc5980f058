//! Where Mosquitto's plugins are.

use std::fs;
use std::path::{Path, PathBuf};

/// The plugin of 2.1 and later that keeps everything acknowledged.
pub const STORE: &str = "mosquitto_persist_sqlite.so";
/// The plugin that knows users.
pub const SECURITY: &str = "mosquitto_dynamic_security.so";

/// A plugin that belongs to a mosquitto program: below the prefix that the program is in (`PREFIX/sbin/mosquitto`
/// has it in `PREFIX/lib`, `PREFIX/lib/<machine>/mosquitto` and the like).
#[must_use]
pub fn find(mosquitto: &Path, name: &str) -> Option<PathBuf> {
    let real = mosquitto.canonicalize().ok();
    let prefixes = [Some(mosquitto), real.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(|path| path.parent()?.parent());
    prefixes
        .flat_map(|prefix| [prefix.to_owned(), prefix.join("usr")])
        .find_map(|prefix| below(&prefix, name))
}

fn below(prefix: &Path, name: &str) -> Option<PathBuf> {
    ["lib", "lib64"].iter().find_map(|library| {
        let library = prefix.join(library);
        let mut machines: Vec<PathBuf> = fs::read_dir(&library)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        machines.sort();
        std::iter::once(library)
            .chain(machines)
            .flat_map(|place| [place.join(name), place.join("mosquitto").join(name)])
            .find(|path| path.is_file())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_is_found_where_packages_put_it() {
        for place in [
            "lib",
            "lib/mosquitto",
            "lib/x86_64-linux-gnu/mosquitto",
            "lib64",
            "usr/lib/aarch64-linux-gnu",
        ] {
            let temporary = tempfile::tempdir().unwrap();
            let program = temporary.path().join("sbin/mosquitto");
            fs::create_dir_all(program.parent().unwrap()).unwrap();
            fs::write(&program, "").unwrap();
            assert_eq!(find(&program, STORE), None);
            let plugin = temporary.path().join(place).join(STORE);
            fs::create_dir_all(plugin.parent().unwrap()).unwrap();
            fs::write(&plugin, "").unwrap();
            assert_eq!(find(&program, STORE), Some(plugin));
        }
    }

    #[test]
    fn a_linked_program_belongs_to_the_prefix_it_really_is_in() {
        let temporary = tempfile::tempdir().unwrap();
        let real = temporary.path().canonicalize().unwrap().join("opt");
        fs::create_dir_all(real.join("sbin")).unwrap();
        fs::create_dir_all(real.join("lib")).unwrap();
        fs::write(real.join("sbin/mosquitto"), "").unwrap();
        fs::write(real.join("lib").join(STORE), "").unwrap();
        let link = temporary.path().join("elsewhere/bin/mosquitto");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(real.join("sbin/mosquitto"), &link).unwrap();
        assert_eq!(find(&link, STORE), Some(real.join("lib").join(STORE)));
    }
}
