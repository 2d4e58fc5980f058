//! The pod that a broker runs in, and the `StatefulSet` that keeps it there.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use fnv::FnvHasher;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetUpdateStrategy};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector,
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecurityContext, TCPSocketAction,
    TopologySpreadConstraint, Volume, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skein_api::resources::Durability;
use skein_sight::wire::METRICS;

use super::ports::numbers;
use super::{Hosted, Images, Settings, all_brokers, text};
use crate::names::{self, ASKED, PORT};

/// The annotation of a pod that says which template it is from: a [`template_hash`].
pub const TEMPLATE: &str = "mqtt.skein.dev/template";

/// The user and group of Mosquitto in its official image.
const MOSQUITTO: i64 = 1883;

/// How large a broker's volume is if nothing is said of it.
const VOLUME: &str = "1Gi";

const PROGRAM: (&str, &str) = ("program", "/skein-bin");
const STATE: (&str, &str) = ("state", "/var/lib/skein");
const DATA: (&str, &str) = ("data", "/var/lib/skein/data");
const SCRATCH: (&str, &str) = ("tmp", "/tmp");

/// The `StatefulSet` of a broker: one pod, which the controller alone replaces, as a planned restart. Of what is said here the API
/// server lets everything be changed that a declaration can change: a template of claims would not, so there is none
/// ([`volume_claim`]).
///
/// # Errors
/// None that is known: serialising could fail only on a map whose keys are no text.
pub fn stateful_set(hosted: &Hosted<'_>, settings: &Settings) -> Result<StatefulSet, serde_json::Error> {
    let pod = pod(hosted, &settings.images);
    Ok(StatefulSet {
        metadata: hosted.meta(hosted.name.to_string()),
        spec: StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(hosted.own()),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            selector: hosted.selector(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::labels(hosted.name)),
                    annotations: Some(text([
                        (TEMPLATE, &template_hash(&pod)?),
                        ("prometheus.io/scrape", "true"),
                        ("prometheus.io/port", &ASKED.0.to_string()),
                        ("prometheus.io/path", METRICS),
                    ])),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..StatefulSetSpec::default()
        },
        status: None,
    })
}

/// What tells pods of different templates apart: a digest of the pod's spec, 16 hexadecimal digits.
///
/// # Errors
/// None that is known: serialising could fail only on a map whose keys are no text.
pub fn template_hash(pod: &PodSpec) -> Result<String, serde_json::Error> {
    // FNV-1a: the same in every release, which std's hasher does not promise.
    let mut hash = FnvHasher::default();
    hash.write(&serde_json::to_vec(pod)?);
    Ok(format!("{:016x}", hash.finish()))
}

fn pod(hosted: &Hosted<'_>, images: &Images) -> PodSpec {
    let mut volumes: Vec<_> = [PROGRAM, STATE, SCRATCH].map(|(name, _)| empty(name)).into();
    volumes.push(if has_volume(hosted) {
        claimed(DATA.0, hosted.own())
    } else {
        empty(DATA.0)
    });
    let spread = |topology: &str| TopologySpreadConstraint {
        topology_key: topology.to_owned(),
        max_skew: 1,
        // A broker that has to share a node is better than none.
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(all_brokers()),
        ..TopologySpreadConstraint::default()
    };
    PodSpec {
        service_account_name: Some(hosted.own()),
        automount_service_account_token: Some(true),
        // Variables for every Service of the namespace: in a large fleet more than a process can be started with.
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(30),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(MOSQUITTO),
            run_as_group: Some(MOSQUITTO),
            fs_group: Some(MOSQUITTO),
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        init_containers: Some(vec![install(images)]),
        containers: vec![mosquitto(hosted, images)],
        volumes: Some(volumes),
        topology_spread_constraints: Some(
            ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
                .map(spread)
                .into(),
        ),
        ..PodSpec::default()
    }
}

/// Brings Skein's program into the pod, so that any image of Mosquitto will do.
fn install(images: &Images) -> Container {
    Container {
        name: "skein".to_owned(),
        image: Some(images.skein.clone()),
        image_pull_policy: images.skein_pull_policy.clone(),
        args: Some(words(&["install", PROGRAM.1])),
        volume_mounts: Some(vec![mount(PROGRAM)]),
        security_context: Some(restricted()),
        resources: Some(ResourceRequirements {
            requests: Some(amounts([("cpu", "10m"), ("memory", "16Mi")])),
            limits: Some(amounts([("cpu", "500m"), ("memory", "64Mi")])),
            claims: None,
        }),
        ..Container::default()
    }
}

fn mosquitto(hosted: &Hosted<'_>, images: &Images) -> Container {
    let program = VolumeMount {
        read_only: Some(true),
        ..mount(PROGRAM)
    };
    let port = |(name, port)| ContainerPort {
        name: Some(name),
        container_port: port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    let asked = (ASKED.1.to_owned(), i32::from(ASKED.0));
    let modest = || ResourceRequirements {
        requests: Some(amounts([("cpu", "50m"), ("memory", "64Mi")])),
        ..ResourceRequirements::default()
    };
    Container {
        name: "mosquitto".to_owned(),
        image: Some(images.mosquitto_of(hosted.spec)),
        image_pull_policy: images.mosquitto_pull_policy.clone(),
        command: Some(words(&["/skein-bin/skein-operator", "agent"])),
        args: Some(words(&[
            "--broker",
            hosted.name.as_str(),
            "--namespace",
            hosted.namespace,
        ])),
        env: Some(vec![EnvVar {
            name: "SKEIN_POD_UID".to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.uid".to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            value: None,
        }]),
        ports: Some(
            numbers(hosted.spec)
                .into_iter()
                .chain([asked])
                .map(port)
                .collect(),
        ),
        volume_mounts: Some(vec![program, mount(STATE), mount(DATA), mount(SCRATCH)]),
        security_context: Some(restricted()),
        resources: Some(hosted.spec.resources.clone().unwrap_or_else(modest)),
        // There is no liveness probe: the supervisor restarts a Mosquitto that hangs or dies, and a restart of the container
        // would take the supervisor with it, and then wait for longer each time.
        readiness_probe: Some(Probe {
            tcp_socket: Some(TCPSocketAction {
                port: IntOrString::String(PORT.1.to_owned()),
                host: None,
            }),
            period_seconds: Some(2),
            ..Probe::default()
        }),
        ..Container::default()
    }
}

/// A broker that keeps nothing needs no volume to keep it on.
fn has_volume(hosted: &Hosted<'_>) -> bool {
    hosted.spec.durability != Some(Durability::None)
}

/// The claim for the volume that a broker keeps its store on, if it keeps one. It may grow where its storage class lets it. It
/// goes with the broker only where `delete_volumes` says so.
#[must_use]
pub fn volume_claim(hosted: &Hosted<'_>, settings: &Settings) -> Option<PersistentVolumeClaim> {
    if !has_volume(hosted) {
        return None;
    }
    let storage = hosted.spec.storage.as_ref();
    let size = storage.map_or_else(|| VOLUME.to_owned(), |storage| storage.size.to_string());
    let mut metadata = hosted.meta(hosted.own());
    if !settings.delete_volumes {
        metadata.owner_references = None;
    }
    Some(PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(words(&["ReadWriteOnce"])),
            storage_class_name: storage.and_then(|storage| storage.class_name.clone()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(amounts([("storage", &size)])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// As the restricted profile of the Pod Security Standards asks for of each container.
fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(words(&["ALL"])),
            add: None,
        }),
        ..SecurityContext::default()
    }
}

fn empty(name: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }
}

fn claimed(name: &str, claim: String) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim,
            read_only: None,
        }),
        ..Volume::default()
    }
}

fn mount((name, path): (&str, &str)) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        ..VolumeMount::default()
    }
}

fn amounts<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, Quantity> {
    pairs
        .map(|(what, amount)| (what.to_owned(), Quantity(amount.to_owned())))
        .into()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
