//! Container images without docker: a folder packed as the one layer of an archive that containerd, docker, podman and kind
//! take. It knows the format, and nothing of what is in an image.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::command::output;

/// The same files give the same bytes, whoever packs them and when.
const REPRODUCIBLE: [&str; 5] = [
    "--sort=name",
    "--numeric-owner",
    "--owner=0",
    "--group=0",
    "--mtime=@0",
];

/// What a container made of an image runs.
pub(crate) struct Image<'a> {
    /// Pods name it `localhost/NAME:1`.
    pub(crate) name: &'a str,
    /// The program, by its path in the image.
    pub(crate) entry: &'a str,
    /// Number of user and group; root if it is empty.
    pub(crate) user: &'a str,
}

impl Image<'_> {
    /// The archive of an image with what `fill` puts into an empty folder. It lies in the folder of the work, to be moved from
    /// there.
    pub(crate) fn pack(&self, work: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let root = work.join("root");
        fs::create_dir(&root)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755))?;
        fill(&root).with_context(|| format!("cannot fill the image of {}", self.name))?;
        let layer = work.join("layer.tar");
        tar(&layer, &root, &["."])?;
        let said = output(Command::new("sha256sum").arg(&layer))?;
        let digest = said.split_whitespace().next().context("sha256sum says nothing")?;
        let write = |name: &str, text: String| {
            let path = work.join(name);
            fs::write(&path, text)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        };
        write("config.json", self.config(digest).to_string())?;
        write("manifest.json", self.manifest().to_string())?;
        fs::set_permissions(&layer, fs::Permissions::from_mode(0o644))?;
        let archive = work.join("archive.tar");
        tar(&archive, work, &["manifest.json", "config.json", "layer.tar"])?;
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
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask"}],
        })
    }
}

fn tar(archive: &Path, folder: &Path, names: &[&str]) -> Result<()> {
    let mut command = Command::new("tar");
    command
        .args(REPRODUCIBLE)
        .arg("--create")
        .arg("--file")
        .arg(archive)
        .arg("--directory")
        .arg(folder)
        .args(names);
    output(&mut command).map(drop)
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
    use std::fs::File;
    use std::io::Write as _;

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
    fn the_same_files_give_the_same_archive_whenever_they_were_written() {
        let archive = |age| {
            let folder = tempfile::tempdir().unwrap();
            let fill = |root: &Path| {
                for name in ["b", "a"] {
                    let mut file = File::create(root.join(name))?;
                    file.write_all(name.as_bytes())?;
                    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_hours(age))?;
                }
                Ok(())
            };
            fs::read(IMAGE.pack(folder.path(), fill).unwrap()).unwrap()
        };
        assert!(archive(0) == archive(5));
    }
}
