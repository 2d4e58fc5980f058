//! Fetching Mosquitto: Debian's own packages, unpacked with their libraries into the user's cache. Nothing is installed,
//! no privileges are needed. `apt` knows how packages are got; `skein_e2e` knows where the result is looked for.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use skein_e2e::{Series, version_of};

use crate::apt::{self, Apt};

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

/// The folder in the cache that holds a series with its libraries, fetched if it is missing; whatever other program the user
/// has chosen to run on this machine.
pub(crate) fn packaged(series: Series, mirror: Option<&str>) -> Result<(PathBuf, String)> {
    let folder = series.folder()?;
    let binary = folder.join("bin/mosquitto");
    if !binary.is_file() {
        fetch(series, &folder, mirror)?;
    }
    let version = version_of(&binary)?;
    fits(series, &version).map(|()| (folder, version))
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
    if let Some((tool, package)) = apt::missing() {
        bail!(
            "fetching Mosquitto takes {tool} (Debian's package {package}), which this machine does not have. \
             Install Mosquitto {} in another way and set {} to its path",
            series.name(),
            series.variable()
        );
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
        apt.mirror()
    );
    println!("  into {}; nothing else on this system changes", target.display());
    let begin = Instant::now();
    let packages = apt.download(&["mosquitto", "mosquitto-clients"])?;
    let root = apt.folder().join("root");
    apt::unpack(&packages, &root, is_wanted)?;
    install_launchers(&root, target)?;
    if target.exists() {
        fs::remove_dir_all(target).with_context(|| format!("cannot replace {}", target.display()))?;
    }
    fs::rename(&root, target).with_context(|| format!("cannot put {} in place", target.display()))?;
    println!(
        "  {} MB of packages in {:.0} s",
        apt::weight(&packages) >> 20,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The daemon, its tools and the libraries they link; not the shells and init systems that packages drag in.
fn is_wanted(package: &str) -> bool {
    ["mosquitto", "lib", "zlib1g"]
        .iter()
        .any(|prefix| package.starts_with(prefix))
}

/// Writes `bin/PROGRAM`, which run the programs with their own libraries, whatever this machine's are.
///
/// The launchers name the final place, so they are tried out by hand before that.
fn install_launchers(root: &Path, target: &Path) -> Result<()> {
    let folders = apt::library_folders(root)?;
    let loader = apt::loader(&folders)?;
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
    fn any_2_0_is_old_enough_and_any_later_series_new_enough() {
        assert!(fits(Series::Oldest, "2.0.11").is_ok() && fits(Series::Oldest, "2.1.2").is_err());
        assert!(fits(Series::Newest, "2.1.2").is_ok() && fits(Series::Newest, "3.0.0").is_ok());
        assert!(fits(Series::Newest, "2.0.21").is_err());
    }
}
