//! The cluster's storage class and the volumes behind it: folders on the nodes' disks, so that what is lost with a node comes
//! back with it. It knows volumes, and not who claims them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::places::State;
use super::ready::Api;
use super::settings::Settings;

/// Where a node has them.
pub(super) const PLACE: &str = "/var/lib/volumes";
/// Which part of its disk they are.
pub(super) const PART: &str = "volumes";
const CLASS: &str = "skein-local";
/// On each node. A fleet of tests takes a few, and what it leaves behind is emptied for the next.
const COUNT: u8 = 20;

/// One volume, on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Volume {
    node: u8,
    number: u8,
}

/// Makes a node's own, if this is the first time that it is switched on.
pub(super) fn make(disk: &Path) -> Result<()> {
    for number in 1..=COUNT {
        // As on a new disk, only root may write there: who has to is given the group by Kubernetes (`fsGroup`).
        fs::create_dir_all(disk.join(PART).join(number.to_string()))?;
    }
    Ok(())
}

/// Tells Kubernetes of all.
pub(super) fn offer(settings: &Settings, api: &Api, state: &State) -> Result<()> {
    let manifest = state.volumes();
    let class = json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Retain",
    });
    let items: Vec<Value> = std::iter::once(class)
        .chain(all(settings).map(Volume::manifest))
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    fs::write(&manifest, list.to_string())?;
    api.apply(&manifest)
}

/// Empties those whose claims are gone, and lets others claim them; gives how many that were.
pub(super) fn recycle(settings: &Settings, api: &Api, state: &State) -> Result<usize> {
    let released = r#"jsonpath={.items[?(@.status.phase=="Released")].metadata.name}"#;
    let released = api.ask(&["get", "persistentvolumes", "--output", released])?;
    let released: Vec<&str> = released.split_whitespace().collect();
    let mut count = 0;
    for volume in all(settings) {
        let name = volume.name();
        if released.contains(&name.as_str()) {
            renew(&volume.folder(state))?;
            let free = r#"{"spec": {"claimRef": null}}"#;
            api.ask(&["patch", "persistentvolume", &name, "--patch", free])?;
            count += 1;
        }
    }
    Ok(count)
}

/// A new folder in the place of the old one: a pod that still has that, on a node that Kubernetes does not reach, writes where
/// nobody reads.
fn renew(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => fs::create_dir(folder),
    }
    .with_context(|| format!("cannot empty {}", folder.display()))
}

fn all(settings: &Settings) -> impl Iterator<Item = Volume> + use<> {
    settings
        .numbers()
        .flat_map(|node| (1..=COUNT).map(move |number| Volume { node, number }))
}

impl Volume {
    fn name(self) -> String {
        format!("{}-volume{}", Settings::node(self.node), self.number)
    }

    fn folder(self, state: &State) -> PathBuf {
        let disk = state.node(&Settings::node(self.node));
        disk.join(PART).join(self.number.to_string())
    }

    fn manifest(self) -> Value {
        let here = json!({
            "key": "kubernetes.io/hostname",
            "operator": "In",
            "values": [Settings::node(self.node)],
        });
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.name()},
            "spec": {
                "storageClassName": CLASS,
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "local": {"path": format!("{PLACE}/{}", self.number)},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_where_its_node_makes_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::find(Some(folder.path())).unwrap();
        let settings = Settings::default();
        for number in settings.numbers() {
            make(&state.node(&Settings::node(number))).unwrap();
        }
        let volumes: Vec<Volume> = all(&settings).collect();
        assert_eq!(volumes.len(), 3 * usize::from(COUNT));
        assert!(volumes.iter().all(|volume| volume.folder(&state).is_dir()));
        let manifest = Volume { node: 2, number: 7 }.manifest();
        assert_eq!(manifest["spec"]["local"]["path"], "/var/lib/volumes/7");
        assert!(manifest["spec"]["nodeAffinity"].to_string().contains("\"node2\""));
    }

    #[test]
    fn who_still_has_an_old_volume_writes_where_nobody_reads() {
        let folder = tempfile::tempdir().unwrap();
        let volume = folder.path().join("1");
        fs::create_dir(&volume).unwrap();
        fs::write(volume.join("old"), "").unwrap();
        let before = fs::File::open(&volume).unwrap();
        renew(&volume).unwrap();
        assert_eq!(fs::read_dir(&volume).unwrap().count(), 0);
        let inode = |file: &fs::File| std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap());
        assert_ne!(inode(&before), inode(&fs::File::open(&volume).unwrap()));
    }
}
