//! The image that pods of a fleet on Kubernetes run: `skein-operator` and nothing else. It knows how that is built; `archive` knows how an
//! image is packed.

mod archive;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub(crate) use self::archive::Image;
use crate::command::{cargo, output, root, run as run_command, shown};
use crate::suite;

/// Who Mosquitto runs as, the number that its own image has; and so does who writes its files.
pub(crate) const MOSQUITTO: &str = "1883:1883";

/// `cargo xtask image`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The archive is one that `docker load --input`, `podman load --input`, `kind load image-archive`, `ctr images import`
and `cargo xtask cluster load` take. The image is called localhost/skein:1. It holds the program,
/skein-operator, linked statically, and /tmp, and runs as user 1883. It is for this machine's architecture.")]
pub(crate) struct Arguments {
    /// Without optimisation, as tests use it: built in a fraction of the time, and larger
    #[arg(long)]
    dev: bool,
    /// The archive [default: target/image/skein.tar, skein-dev.tar with --dev]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What is in the image.
const PROGRAM: &str = "skein-operator";

/// Which of cargo's profiles it is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Tests wait for the build, and hardly for the program. With proc macros and build scripts as `cargo test` has them already,
    /// building it from nothing takes a quarter of the processor time of `opt-level = 1`, and gives twice the size.
    Dev,
    /// For everybody else.
    Release,
}

/// Runs the task.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let profile = if arguments.dev {
        Profile::Dev
    } else {
        Profile::Release
    };
    let file = match &arguments.out {
        Some(file) => std::path::absolute(file)?,
        None => profile.file(),
    };
    make(profile, &file)?;
    println!(
        "localhost/skein:1, {} MB: {}",
        fs::metadata(&file)?.len() >> 20,
        file.display()
    );
    Ok(())
}

/// The image as tests use it; gives its archive.
pub(crate) fn for_tests() -> Result<PathBuf> {
    made(Profile::Dev)
}

/// The image as everybody else does.
pub(crate) fn for_benches() -> Result<PathBuf> {
    made(Profile::Release)
}

fn made(profile: Profile) -> Result<PathBuf> {
    let file = profile.file();
    make(profile, &file)?;
    Ok(file)
}

fn make(profile: Profile, file: &Path) -> Result<()> {
    let binary = profile.build()?;
    let image = Image {
        name: "skein",
        entry: "/skein-operator",
        user: MOSQUITTO,
    };
    let folder = file.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let work = tempfile::Builder::new().prefix(".image-").tempdir_in(folder)?;
    let packed = image.pack(work.path(), |root| fill(root, &binary))?;
    fs::rename(packed, file).with_context(|| format!("cannot write {}", file.display()))
}

fn fill(root: &Path, binary: &Path) -> Result<()> {
    let (program, scratch) = (root.join(PROGRAM), root.join("tmp"));
    fs::copy(binary, &program)?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o755))?;
    fs::create_dir(&scratch)?;
    fs::set_permissions(scratch, fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

impl Profile {
    fn file(self) -> PathBuf {
        root().join("target/image").join(match self {
            Self::Dev => "skein-dev.tar",
            Self::Release => "skein.tar",
        })
    }

    /// What the compiler is told beside. The image has no C library, so the program brings its own.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Dev => &["-Ctarget-feature=+crt-static", "-Cdebuginfo=0", "-Cstrip=symbols"],
            Self::Release => &["-Ctarget-feature=+crt-static"],
        }
    }

    /// Builds the program, where cargo finds that it has to be, and gives its path.
    fn build(self) -> Result<PathBuf> {
        let (arguments, folder): (&[&str], _) = match self {
            Self::Dev => (&[], "debug"),
            Self::Release => (&["--release"], "release"),
        };
        // Naming the target, even if it is this machine, keeps the flags from what runs during the build, and what is built with
        // them apart from all else.
        let target = host()?;
        let mut command = cargo(&["build", "--package", "skein-kubernetes", "--target", &target]);
        command
            .args(arguments)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags().join("\u{1f}"));
        run_command(&mut command).with_context(|| {
            "cannot build a static `skein-operator` (where it is the linker that finds no -lc: that is the C library's libc.a, of \
             Debian's package libc6-dev)"
        })?;
        suite::built(&format!("{target}/{folder}"), PROGRAM)
    }
}

/// What Rust calls this machine.
fn host() -> Result<String> {
    let mut command = cargo(&["--version", "--verbose"]);
    let said = output(&mut command)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .with_context(|| format!("`{}` names no host", shown(&command)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_can_be_run_and_not_changed_by_who_it_runs_as() {
        let folder = tempfile::tempdir().unwrap();
        let binary = folder.path().join("built");
        fs::write(&binary, "").unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        fill(&root, &binary).unwrap();
        let mode = |name: &str| fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode(PROGRAM), mode("tmp")), (0o755, 0o1777));
    }

    #[test]
    fn this_machine_has_a_name() {
        assert!(host().unwrap().starts_with(std::env::consts::ARCH));
    }
}
