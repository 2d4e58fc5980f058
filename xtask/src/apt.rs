//! apt with a world of its own: Debian's packages, downloaded with what they depend on, signatures checked, and unpacked into
//! a folder. Nothing is installed and no privileges are needed. It knows nothing of what the packages are for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::command::{output, succeeds};

/// Own sources, own state, own cache.
pub(crate) struct Apt {
    work: TempDir,
    mirror: String,
}

/// The program, and its Debian package, that downloading or unpacking takes and this machine does not have.
pub(crate) fn missing() -> Option<(&'static str, &'static str)> {
    [("apt-get", "apt"), ("dpkg-deb", "dpkg")]
        .into_iter()
        .find(|(tool, _)| !succeeds(Command::new(tool).arg("--version")))
}

impl Apt {
    /// A world for one suite, such as `bookworm`, in a folder of its own; from this machine's own mirror unless one is given.
    pub(crate) fn new(work: TempDir, suite: &str, mirror: Option<&str>) -> Result<Self> {
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => debian_mirror()?,
        };
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(work.path().join(folder))?;
        }
        let keyring = ["gpg", "pgp"]
            .map(|extension| format!("/usr/share/keyrings/debian-archive-keyring.{extension}"))
            .into_iter()
            .find(|path| Path::new(path).exists());
        let signed_by = keyring
            .map(|path| format!("[signed-by={path}] "))
            .unwrap_or_default();
        fs::write(
            work.path().join("sources.list"),
            format!("deb {signed_by}{mirror} {suite} main\n"),
        )?;
        fs::write(work.path().join("status"), "")?;
        fs::write(work.path().join("preferences"), "")?;
        Ok(Self { work, mirror })
    }

    /// Its folder, in which there is room for what is made of the packages; removed with this.
    pub(crate) fn folder(&self) -> &Path {
        self.work.path()
    }

    /// Where the packages come from.
    pub(crate) fn mirror(&self) -> &str {
        &self.mirror
    }

    fn command(&self) -> Command {
        let mut command = Command::new("apt-get");
        let at = |name: &str| self.work.path().join(name).display().to_string();
        for (option, value) in [
            ("Dir::Etc::SourceList", at("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::Etc::Preferences", at("preferences")),
            ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
            ("Dir::State", at("")),
            ("Dir::State::Lists", at("lists")),
            ("Dir::State::status", at("status")),
            ("Dir::Cache", at("cache")),
            ("APT::Default-Release", String::new()),
            ("APT::Install-Recommends", "false".to_owned()),
            ("APT::Get::AllowUnauthenticated", "false".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::Retries", "3".to_owned()),
            ("Debug::NoLocking", "true".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        if rustix::process::geteuid().is_root() {
            // apt would drop to a user that may not write here.
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
            .arg("-q")
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Downloads packages and everything that they depend on; gives the files, in order.
    pub(crate) fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        output(self.command().arg("update"))
            .with_context(|| format!("cannot read the package lists of {}", self.mirror))?;
        output(
            self.command()
                .args(["install", "--download-only", "-y"])
                .args(packages),
        )
        .with_context(|| format!("cannot download {}", packages.join(", ")))?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.work.path().join("cache/archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                found.push(path);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// What packages weigh, in bytes.
pub(crate) fn weight(packages: &[PathBuf]) -> u64 {
    let sizes = packages.iter().filter_map(|path| fs::metadata(path).ok());
    sizes.map(|data| data.len()).sum()
}

/// Unpacks those packages whose file names are wanted. None of their scripts runs.
pub(crate) fn unpack(packages: &[PathBuf], root: &Path, wanted: impl Fn(&str) -> bool) -> Result<()> {
    for package in packages {
        if wanted(&package.file_name().unwrap_or_default().to_string_lossy()) {
            output(Command::new("dpkg-deb").arg("-x").arg(package).arg(root))?;
        }
    }
    for folder in library_folders(root)? {
        // Links that a package's trigger would make. Nearly all are in the packages already, so its absence may do no harm.
        for tool in ["/sbin/ldconfig", "/usr/sbin/ldconfig"] {
            if succeeds(Command::new(tool).arg("-n").arg(&folder)) {
                break;
            }
        }
    }
    Ok(())
}

/// The folders that hold libraries of this machine's architecture, such as `usr/lib/x86_64-linux-gnu`.
pub(crate) fn library_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for parent in ["usr/lib", "lib"] {
        let Ok(entries) = fs::read_dir(root.join(parent)) else {
            continue;
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir()
                && path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().contains("-linux-gnu"))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The dynamic loader among these folders.
pub(crate) fn loader(folders: &[PathBuf]) -> Result<PathBuf> {
    let found = folders.iter().find_map(|folder| {
        let entries = fs::read_dir(folder).ok()?;
        let named = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        };
        entries.flatten().map(|entry| entry.path()).find(named)
    });
    found.context("the packages hold no dynamic loader")
}

/// The mirror that this machine's own apt sources name for Debian's main archive.
fn debian_mirror() -> Result<String> {
    let format = "$(REPO_URI)\t$(LABEL)\t$(ORIGIN)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let targets = output(&mut command).context("cannot read the apt sources")?;
    choose_mirror(&targets).context(
        "the apt sources of this machine name no Debian mirror: give one with `cargo xtask mosquitto --mirror URL`, \
         and for a cluster with `cargo xtask cluster build --mirror URL`",
    )
}

/// Picks Debian's main archive among lines of address, label, origin. The latter two are empty until `apt-get update` ran.
fn choose_mirror(targets: &str) -> Option<String> {
    let mut lines: Vec<Vec<&str>> = targets.lines().map(|line| line.split('\t').collect()).collect();
    lines.sort();
    let main = lines
        .iter()
        .find(|fields| fields.get(1..3) == Some(&["Debian", "Debian"]));
    let named = || {
        lines.iter().find(|fields| {
            fields
                .first()
                .is_some_and(|uri| uri.trim_end_matches('/').ends_with("/debian"))
        })
    };
    main.or_else(named)
        .and_then(|fields| fields.first())
        .map(|uri| (*uri).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_chosen_by_its_label_or_else_by_its_name() {
        let after_update =
            "http://mirror/deb-security/\tDebian-Security\tDebian\nhttp://mirror/main/\tDebian\tDebian\n";
        assert_eq!(
            choose_mirror(after_update).as_deref(),
            Some("http://mirror/main/")
        );
        let before = "http://mirror/debian-security/\t$(LABEL)\t$(ORIGIN)\nhttp://mirror/debian/\t$(LABEL)\t$(ORIGIN)\n";
        assert_eq!(choose_mirror(before).as_deref(), Some("http://mirror/debian/"));
        assert_eq!(choose_mirror("http://archive/ubuntu/\tUbuntu\tUbuntu\n"), None);
    }
}
