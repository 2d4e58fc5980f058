//! Container images without docker: a folder packed as the one layer of an archive that containerd imports. It knows which
//! images a cluster needs and what is in them, and no nodes.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;
use skein_e2e::Series;

use super::places::Cache;
use super::stamp::Stamp;
use crate::command::output;
use crate::mosquitto;

/// Raised when what is packed changes other than by its version.
const EDITION: u8 = 1;
/// Who Mosquitto runs as: the number that its own image has.
const MOSQUITTO: &str = "1883:1883";

/// What a container made of an image runs.
struct Image<'a> {
    /// Pods name it `localhost/NAME:1`.
    name: &'a str,
    entry: &'a str,
    /// Number of user and group; root if it is empty.
    user: &'a str,
}

/// Packs what is missing; gives whether anything was.
pub(super) fn ensure(cache: &Cache, mirror: Option<&str>) -> Result<bool> {
    let mut made = false;
    for name in ["pause", "coredns"] {
        let program = cache.program(name);
        let made_of = fs::read_to_string(cache.stamp(name)).unwrap_or_default();
        let entry = format!("/{name}");
        let image = Image {
            name,
            entry: &entry,
            user: "",
        };
        made |= image.ensure(cache, &made_of, |root| {
            // CoreDNS keeps nothing, but looks for a folder to keep it in.
            fs::create_dir(root.join("tmp"))?;
            fs::copy(&program, root.join(name)).map(drop)?;
            Ok(())
        })?;
    }
    let (folder, version) = mosquitto::packaged(Series::Newest, mirror)?;
    let image = Image {
        name: "mosquitto",
        entry: "/usr/sbin/mosquitto",
        user: MOSQUITTO,
    };
    made |= image.ensure(cache, &version, |root| mosquitto_root(&folder, root))?;
    Ok(made)
}

/// Mosquitto, its clients and their libraries where they look for them by themselves, and nothing else, not even a shell.
fn mosquitto_root(packaged: &Path, root: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("--archive").arg(packaged.join("usr")).arg(root);
    output(&mut copy)?;
    for useless in [
        "usr/share",
        "usr/lib/systemd",
        "usr/lib/tmpfiles.d",
        "usr/lib/sysusers.d",
    ] {
        let folder = root.join(useless);
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    for folder in ["lib", "lib64"] {
        let unpacked = packaged.join(folder);
        if unpacked.is_dir() {
            output(Command::new("cp").arg("--archive").arg(&unpacked).arg(root))?;
        } else if root.join("usr").join(folder).exists() {
            // Debian's newer packages take it for granted that these are one.
            symlink(format!("usr/{folder}"), root.join(folder))?;
        }
    }
    for folder in ["etc", "tmp", "mosquitto/data"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777))?;
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0::/:/\nmosquitto:x:1883:1883::/:/\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nmosquitto:x:1883:\n")?;
    Ok(())
}

impl Image<'_> {
    fn archive(&self, cache: &Cache) -> PathBuf {
        cache.images().join(format!("{}.tar", self.name))
    }

    fn ensure(&self, cache: &Cache, made_of: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<bool> {
        let stamp = Stamp::new(
            cache.stamp(&format!("image-{}", self.name)),
            format!("{EDITION} {} {}\n{made_of}", self.entry, self.user),
        );
        let archive = self.archive(cache);
        if stamp.is_fresh(std::slice::from_ref(&archive)) {
            return Ok(false);
        }
        println!("Packing the image of {}", self.name);
        fs::create_dir_all(cache.images())?;
        let work = tempfile::Builder::new()
            .prefix(".image-")
            .tempdir_in(cache.folder())?;
        let root = work.path().join("root");
        fs::create_dir(&root)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        fill(&root).with_context(|| format!("cannot fill the image of {}", self.name))?;
        let packed = self.pack(&root, work.path())?;
        fs::rename(packed, &archive)?;
        stamp.set()?;
        Ok(true)
    }

    /// The archive of an image whose files are these.
    fn pack(&self, root: &Path, work: &Path) -> Result<PathBuf> {
        let layer = work.join("layer.tar");
        // The same files give the same bytes, so that an image is what its digest says.
        output(
            Command::new("tar")
                .args([
                    "--sort=name",
                    "--numeric-owner",
                    "--owner=0",
                    "--group=0",
                    "--mtime=@0",
                ])
                .arg("--create")
                .arg("--file")
                .arg(&layer)
                .arg("--directory")
                .arg(root)
                .arg("."),
        )?;
        let said = output(Command::new("sha256sum").arg(&layer))?;
        let digest = said.split_whitespace().next().context("sha256sum says nothing")?;
        let write = |name: &str, text: String| -> Result<()> {
            let mut file = File::create(work.join(name))?;
            Ok(file.write_all(text.as_bytes())?)
        };
        write("config.json", self.config(digest).to_string())?;
        write("manifest.json", self.manifest().to_string())?;
        let archive = work.join("archive.tar");
        output(
            Command::new("tar")
                .arg("--create")
                .arg("--file")
                .arg(&archive)
                .arg("--directory")
                .arg(work)
                .args(["manifest.json", "config.json", "layer.tar"]),
        )?;
        Ok(archive)
    }

    fn manifest(&self) -> serde_json::Value {
        json!([{
            "Config": "config.json",
            "RepoTags": [format!("localhost/{}:1", self.name)],
            "Layers": ["layer.tar"],
        }])
    }

    fn config(&self, digest: &str) -> serde_json::Value {
        json!({
            "architecture": architecture(std::env::consts::ARCH),
            "os": "linux",
            "config": {
                "Entrypoint": [self.entry],
                "User": self.user,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask cluster build"}],
        })
    }
}

/// What images call this machine's architecture.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Image<'_> = Image {
        name: "broker",
        entry: "/bin/broker",
        user: "1883:1883",
    };

    #[test]
    fn an_image_says_who_it_runs_as_and_what_it_is_called() {
        let config = IMAGE.config("abc");
        assert_eq!(config["config"]["User"], "1883:1883");
        assert_eq!(config["config"]["Entrypoint"], json!(["/bin/broker"]));
        assert_eq!(config["rootfs"]["diff_ids"], json!(["sha256:abc"]));
        assert_eq!(IMAGE.manifest()[0]["RepoTags"], json!(["localhost/broker:1"]));
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        let digest = || {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("root");
            fs::create_dir(&root).unwrap();
            fs::write(root.join("b"), "2").unwrap();
            fs::write(root.join("a"), "1").unwrap();
            IMAGE.pack(&root, folder.path()).unwrap();
            fs::read_to_string(folder.path().join("config.json")).unwrap()
        };
        assert_eq!(digest(), digest());
    }
}
