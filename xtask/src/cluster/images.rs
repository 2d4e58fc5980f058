//! The container images that a cluster needs and what is in them. It knows no nodes, and not how an image is packed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use skein_e2e::Series;

use super::places::Cache;
use super::stamp::Stamp;
use crate::command::output;
use crate::image::{Image, MOSQUITTO};
use crate::mosquitto;

/// Raised when what is packed changes other than by its version.
const EDITION: u8 = 1;

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
        made |= ensure_packed(&image, cache, &made_of, |root| {
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
    made |= ensure_packed(&image, cache, &version, |root| mosquitto_root(&folder, root))?;
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

fn ensure_packed(
    image: &Image<'_>,
    cache: &Cache,
    made_of: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<bool> {
    let stamp = Stamp::new(
        cache.stamp(&format!("image-{}", image.name)),
        format!("{EDITION} {} {}\n{made_of}", image.entry, image.user),
    );
    let archive = cache.images().join(format!("{}.tar", image.name));
    if stamp.is_fresh(std::slice::from_ref(&archive)) {
        return Ok(false);
    }
    println!("Packing the image of {}", image.name);
    fs::create_dir_all(cache.images())?;
    let work = tempfile::Builder::new()
        .prefix(".image-")
        .tempdir_in(cache.folder())?;
    let packed = image.pack(work.path(), fill)?;
    fs::rename(packed, &archive)?;
    stamp.set()?;
    Ok(true)
}
