//! Fetching Mosquitto: Debian's own packages, unpacked with their libraries into the user's cache. Nothing is installed,
//! no privileges are needed. It knows apt and packages; `skein_e2e` knows where the result is looked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use skein_e2e::{Series, version_of};
use tempfile::TempDir;

use crate::command::{output, succeeds};

/// Programs that get a launcher in `bin`, if the packages hold them.
const PROGRAMS: [&str; 7] = [
    "mosquitto",
    "mosquitto_pub",
    "mosquitto_sub",
    "mosquitto_ctrl",
    "mosquitto_passwd",
    "mosquitto_db_dump",
    "mosquitto_signal",
];

/// `cargo xtask mosquitto`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Takes the packages of the Debian mirror that this machine's apt sources name, checks their signatures, and unpacks them,
with the libraries they need, under ${XDG_CACHE_HOME:-~/.cache}/skein/mosquitto-2.0 and mosquitto-2.1. It installs nothing,
needs no root, and does nothing (and needs no network) where the cache is filled.

Other programs are used instead where SKEIN_MOSQUITTO_2_0 and SKEIN_MOSQUITTO_2_1 name them.")]
pub(crate) struct Arguments {
    /// Only this series
    #[arg(long, value_parser = ["2.0", "2.1"])]
    series: Option<String>,
    /// The Debian mirror to take the packages from, instead of the one in the apt sources
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for series in Series::ALL {
        if arguments
            .series
            .as_deref()
            .is_none_or(|wanted| wanted == series.name())
        {
            let (binary, version) = ensure(series, arguments.mirror.as_deref())?;
            println!("Mosquitto {version}: {}", binary.display());
        }
    }
    Ok(())
}

/// The binary of a series and its version, fetched if it is missing.
pub(crate) fn ensure(series: Series, mirror: Option<&str>) -> Result<(PathBuf, String)> {
    if let Ok(binary) = skein_e2e::find_mosquitto(series)
        && let Ok(version) = version_of(&binary)
    {
        return fits(series, &version).map(|()| (binary, version));
    }
    if std::env::var_os(series.variable()).is_some_and(|value| !value.is_empty()) {
        // The user's own choice is wrong; fetching another behind their back would hide that.
        let binary = skein_e2e::find_mosquitto(series)?;
        bail!(
            "{} names {}, which does not run",
            series.variable(),
            binary.display()
        );
    }
    let target = series.folder()?;
    fetch(series, &target, mirror)?;
    let binary = target.join("bin/mosquitto");
    let version = version_of(&binary)?;
    fits(series, &version).map(|()| (binary, version))
}

/// The Debian suite that holds a series.
fn suite(series: Series) -> &'static str {
    match series {
        Series::Oldest => "bookworm",
        Series::Newest => "sid",
    }
}

fn fits(series: Series, version: &str) -> Result<()> {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let good = match series {
        Series::Oldest => number == (2, 0),
        Series::Newest => number >= (2, 1),
    };
    if !good {
        bail!("wanted Mosquitto {} and found {version}", series.name());
    }
    Ok(())
}

fn fetch(series: Series, target: &Path, mirror: Option<&str>) -> Result<()> {
    for (tool, package) in [("apt-get", "apt"), ("dpkg-deb", "dpkg")] {
        if !succeeds(Command::new(tool).arg("--version")) {
            bail!(
                "fetching Mosquitto takes {tool} (Debian's package {package}), which this machine does not have. \
                 Install Mosquitto {} in another way and set {} to its path",
                series.name(),
                series.variable()
            );
        }
    }
    let parent = target.parent().context("the cache has no parent folder")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    // Built beside its target and renamed, so that an interrupted attempt leaves nothing that looks finished.
    let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(parent)?;
    let apt = Apt::new(work, suite(series), mirror)?;
    println!(
        "Fetching Mosquitto {} (Debian {}) from {}",
        series.name(),
        suite(series),
        apt.mirror
    );
    println!("  into {}; nothing else on this system changes", target.display());
    let begin = Instant::now();
    let packages = apt.download()?;
    let bytes: u64 = packages
        .iter()
        .filter_map(|path| fs::metadata(path).ok())
        .map(|data| data.len())
        .sum();
    let root = apt.work.path().join("root");
    unpack(&packages, &root)?;
    install_launchers(&root, target)?;
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("cannot replace {}", target.display()))?;
    }
    fs::rename(&root, target).with_context(|| format!("cannot put {} in place", target.display()))?;
    println!(
        "  {} MB of packages in {:.0} s",
        bytes >> 20,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// apt with a world of its own: own sources, own state, own cache, nothing installed.
struct Apt {
    work: TempDir,
    mirror: String,
}

impl Apt {
    fn new(work: TempDir, suite: &str, mirror: Option<&str>) -> Result<Self> {
        let mirror = match mirror {
            Some(mirror) => mirror.to_owned(),
            None => debian_mirror()?,
        };
        for folder in ["lists/partial", "cache/archives/partial", "root"] {
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

    /// Downloads Mosquitto, its clients, and everything they depend on.
    fn download(&self) -> Result<Vec<PathBuf>> {
        output(self.command().arg("update"))
            .with_context(|| format!("cannot read the package lists of {}", self.mirror))?;
        let packages = [
            "install",
            "--download-only",
            "-y",
            "mosquitto",
            "mosquitto-clients",
        ];
        output(self.command().args(packages)).context("cannot download Mosquitto")?;
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

/// The mirror that this machine's own apt sources name for Debian's main archive.
fn debian_mirror() -> Result<String> {
    let format = "$(REPO_URI)\t$(LABEL)\t$(ORIGIN)";
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let targets = output(&mut command).context("cannot read the apt sources")?;
    let found = choose_mirror(&targets);
    found.context("the apt sources of this machine name no Debian mirror: give one with `cargo xtask mosquitto --mirror URL`")
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

/// Unpacks the daemon, its tools and the libraries they link; not the shells and init systems that packages drag in.
fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    for package in packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        if ["mosquitto", "lib", "zlib1g"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
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
fn library_folders(root: &Path) -> Result<Vec<PathBuf>> {
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

/// Writes `bin/PROGRAM`, which run the programs with their own libraries, whatever this machine's are.
///
/// The launchers name the final place, so they are tried out by hand before that.
fn install_launchers(root: &Path, target: &Path) -> Result<()> {
    let folders = library_folders(root)?;
    let loader = folders.iter().find_map(|folder| {
        let entries = fs::read_dir(folder).ok()?;
        let named = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("ld-linux"))
        };
        entries.flatten().map(|entry| entry.path()).find(named)
    });
    let loader = loader.context("the packages hold no dynamic loader")?;
    fs::create_dir_all(root.join("bin"))?;
    for program in PROGRAMS {
        let places = ["usr/sbin", "usr/bin"].map(|place| root.join(place).join(program));
        let Some(binary) = places.into_iter().find(|path| path.is_file()) else {
            continue;
        };
        if program == "mosquitto" {
            try_out(&loader, &folders, &binary)?;
        }
        let moved = |path: &Path| -> Result<String> {
            Ok(target.join(path.strip_prefix(root)?).display().to_string())
        };
        let libraries = folders
            .iter()
            .map(|folder| moved(folder))
            .collect::<Result<Vec<_>>>()?
            .join(":");
        let (loader, binary) = (moved(&loader)?, moved(&binary)?);
        let text = format!("#!/bin/sh\nexec '{loader}' --library-path '{libraries}' '{binary}' \"$@\"\n");
        let launcher = root.join("bin").join(program);
        fs::write(&launcher, text)?;
        fs::set_permissions(&launcher, fs::Permissions::from_mode(0o755))?;
    }
    if !root.join("bin/mosquitto").is_file() {
        bail!("the packages hold no mosquitto");
    }
    Ok(())
}

fn try_out(loader: &Path, folders: &[PathBuf], binary: &Path) -> Result<()> {
    let libraries = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    let output = Command::new(loader)
        .arg("--library-path")
        .arg(libraries)
        .arg(binary)
        .arg("-h")
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains("mosquitto version") {
        bail!(
            "the fetched Mosquitto does not run: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
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

    #[test]
    fn any_2_0_is_old_enough_and_any_later_series_new_enough() {
        assert!(fits(Series::Oldest, "2.0.11").is_ok() && fits(Series::Oldest, "2.1.2").is_err());
        assert!(fits(Series::Newest, "2.1.2").is_ok() && fits(Series::Newest, "3.0.0").is_ok());
        assert!(fits(Series::Newest, "2.0.21").is_err());
    }
}
