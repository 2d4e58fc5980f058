use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;

const RICH: &str = r#"{
    "version": "2.0",
    "durability": "classic",
    "storage": {"size": "5Gi", "className": "fast"},
    "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
    "listeners": [{"name": "tls", "port": 8883}, {"name": "web", "port": 9001}],
    "allowAnonymous": true
}"#;

fn name(text: &str) -> BrokerName {
    BrokerName::new(text).unwrap()
}

fn spec(text: &str) -> ManagedSpec {
    serde_json::from_str(text).unwrap()
}

/// Broker `a` of namespace `plant`.
fn with<T>(spec: &ManagedSpec, then: impl FnOnce(&Hosted<'_>) -> T) -> T {
    then(&Hosted {
        owner: Owner {
            name: &name("a"),
            namespace: "plant",
            uid: "0a1b",
        },
        spec,
    })
}

fn set(text: &str, settings: &Settings) -> StatefulSet {
    with(&spec(text), |hosted| stateful_set(hosted, settings)).unwrap()
}

fn pod(text: &str) -> PodSpec {
    set(text, &Settings::default()).spec.template.spec.unwrap()
}

fn hash(text: &str, settings: &Settings) -> String {
    let template = set(text, settings).spec.template;
    template.metadata.unwrap().annotations.unwrap()[TEMPLATE].clone()
}

fn slice(clients_of: &str, family: Family, serving: Option<(&str, &str)>) -> Value {
    with(&spec(clients_of), |hosted| {
        let ports = client_service(hosted, numbers(hosted.spec))
            .spec
            .unwrap()
            .ports
            .unwrap();
        let serving = serving.map(|(ip, other)| Serving {
            ip: ip.parse().unwrap(),
            ports: super::ports(&spec(other)),
        });
        Wanted::of(&endpoint_slice(hosted, &ports, family, serving.as_ref()))
            .unwrap()
            .body
    })
}

fn read<T: DeserializeOwned>(wanted: &[Wanted], kind: &str) -> T {
    let found = wanted.iter().find(|wanted| wanted.resource.kind == kind).unwrap();
    serde_json::from_value(found.body.clone()).unwrap()
}

fn all(spec: &ManagedSpec, settings: &Settings, peer_address: Option<&str>) -> Vec<Wanted> {
    with(spec, |hosted| for_broker(hosted, settings, peer_address)).unwrap()
}

fn yaml(wanted: &[Wanted]) -> String {
    let each = wanted
        .iter()
        .map(|wanted| serde_saphyr::to_string(&wanted.body).unwrap());
    each.collect::<Vec<_>>().join("---\n")
}

#[test]
fn a_broker_that_says_everything() {
    let settings = Settings {
        images: Images {
            skein: "registry.example/skein:1".to_owned(),
            skein_pull_policy: Some("Always".to_owned()),
            mosquitto: "registry.example:5000/mosquitto".to_owned(),
            mosquitto_pull_policy: Some("IfNotPresent".to_owned()),
        },
        delete_volumes: true,
        admitted: vec![NetworkPolicyPeer {
            namespace_selector: Some(matching(text([("kubernetes.io/metadata.name", "devices")]))),
            ..NetworkPolicyPeer::default()
        }],
        ..Settings::default()
    };
    let spec = spec(RICH);
    let mut wanted = all(&spec, &settings, Some("10.0.0.7"));
    let data = BTreeMap::from([("mosquitto.conf".to_owned(), b"listener 1883\n".to_vec())]);
    with(&spec, |hosted| {
        wanted.push(Wanted::of(&secret(hosted, data.clone())).unwrap());
    });
    wanted.push(Wanted::of(&fleet_secret("plant", data)).unwrap());
    wanted.push(Wanted::of(&disruption_budget("plant")).unwrap());
    insta::assert_snapshot!(yaml(&wanted));
}

#[test]
fn a_broker_that_says_nothing() {
    let wanted = all(&spec("{}"), &Settings::default(), None);
    insta::assert_snapshot!(yaml(&wanted));
}

#[test]
fn a_broker_that_keeps_nothing_has_no_volume() {
    let set = set(r#"{"durability": "none"}"#, &Settings::default());
    let settings = Settings::default();
    assert!(
        with(&spec(r#"{"durability": "none"}"#), |hosted| volume_claim(
            hosted, &settings
        ))
        .is_none()
    );
    let volumes = set.spec.template.spec.unwrap().volumes.unwrap();
    assert!(
        volumes
            .iter()
            .any(|volume| volume.name == "data" && volume.empty_dir.is_some())
    );
}

#[test]
fn a_volume_goes_with_its_broker_only_where_that_is_wanted() {
    let owners = |delete_volumes| {
        let settings = Settings {
            delete_volumes,
            ..Settings::default()
        };
        let claim = with(&spec("{}"), |hosted| volume_claim(hosted, &settings)).unwrap();
        claim.metadata.owner_references.unwrap_or_default().len()
    };
    assert_eq!((owners(false), owners(true)), (0, 1));
}

#[test]
fn every_kind_that_is_written_is_watched() {
    let wanted = all(&spec("{}"), &Settings::default(), None);
    let watched = kinds();
    for wanted in &wanted {
        let kind = &wanted.resource.kind;
        assert!(watched.iter().any(|watched| watched.kind == *kind), "{kind}");
    }
    assert_eq!(template_of(&wanted), Some(hash("{}", &Settings::default())));
}

#[test]
fn every_mount_has_its_volume() {
    for text in ["{}", r#"{"durability": "none"}"#] {
        let set = set(text, &Settings::default());
        let pod = set.spec.template.spec.unwrap();
        let names: Vec<_> = pod
            .volumes
            .iter()
            .flatten()
            .map(|volume| volume.name.clone())
            .collect();
        for mount in containers(&pod).flat_map(|container| container.volume_mounts.iter().flatten()) {
            let volumes = names.iter().filter(|name| **name == mount.name).count();
            assert_eq!(volumes, 1, "{} of {text}", mount.name);
        }
    }
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted>
#[test]
fn pods_are_what_the_restricted_profile_admits() {
    for text in ["{}", RICH, r#"{"durability": "none"}"#] {
        let pod = pod(text);
        let context = pod.security_context.as_ref().unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert!(context.run_as_user.is_some_and(|user| user != 0));
        assert_eq!(context.seccomp_profile.as_ref().unwrap().type_, "RuntimeDefault");
        assert!(pod.host_network.is_none() && pod.host_pid.is_none() && pod.host_ipc.is_none());
        assert!(
            pod.volumes
                .iter()
                .flatten()
                .all(|volume| volume.host_path.is_none())
        );
        assert_eq!(containers(&pod).count(), 2);
        for container in containers(&pod) {
            let context = container.security_context.as_ref().unwrap();
            let capabilities = context.capabilities.as_ref().unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            assert_eq!(capabilities.drop.as_deref(), Some(&["ALL".to_owned()][..]));
            assert!(capabilities.add.is_none() && context.privileged.is_none());
            let ports = container.ports.iter().flatten();
            assert!(ports.into_iter().all(|port| port.host_port.is_none()));
        }
    }
}

#[test]
fn a_pod_is_found_by_what_never_changes() {
    let set = set(RICH, &Settings::default());
    let selected = set.spec.selector.match_labels.unwrap();
    assert_eq!(selected, text([(names::BROKER, "a")]));
    let labels = set.spec.template.metadata.unwrap().labels.unwrap();
    assert!(selected.iter().all(|(key, value)| labels.get(key) == Some(value)));
    let fleet = all_brokers().match_labels.unwrap();
    assert!(fleet.iter().all(|(key, value)| labels.get(key) == Some(value)));
}

#[test]
fn what_is_a_brokers_goes_with_it() {
    let settings = Settings {
        delete_volumes: true,
        ..Settings::default()
    };
    for wanted in all(&spec(RICH), &settings, None) {
        let metadata = &wanted.body["metadata"];
        let owner = json!({
            "apiVersion": "mqtt.skein.dev/v1alpha1", "kind": "Broker", "name": "a", "uid": "0a1b",
            "controller": true, "blockOwnerDeletion": true,
        });
        assert_eq!(
            metadata["ownerReferences"],
            json!([owner]),
            "{}",
            wanted.resource.kind
        );
        assert_eq!(metadata["namespace"], "plant");
        assert_eq!(metadata["name"], wanted.name.as_str());
        assert_eq!(wanted.body["kind"], wanted.resource.kind.as_str());
        assert_eq!(wanted.body["apiVersion"], wanted.resource.api_version.as_str());
    }
    let budget = disruption_budget("plant").metadata;
    let secret = fleet_secret("plant", BTreeMap::new()).metadata;
    for metadata in [budget, secret] {
        assert!(metadata.owner_references.is_none());
        assert_eq!(metadata.name.as_deref(), Some("skein-fleet"));
    }
}

#[test]
fn a_pod_may_touch_its_own_objects_only() {
    let wanted = all(&spec("{}"), &Settings::default(), None);
    let role: k8s_openapi::api::rbac::v1::Role = read(&wanted, "Role");
    for rule in role.rules.unwrap() {
        assert_eq!(rule.resource_names, Some(vec!["a-skein".to_owned()]));
        assert_eq!(rule.api_groups, Some(vec![String::new()]));
        assert!(
            rule.resources
                .unwrap()
                .iter()
                .all(|it| it == "secrets" || it == "configmaps")
        );
        // A name does not bound these.
        assert!(
            rule.verbs
                .iter()
                .all(|verb| !["*", "create", "deletecollection"].contains(&verb.as_str()))
        );
    }
    let binding: k8s_openapi::api::rbac::v1::RoleBinding = read(&wanted, "RoleBinding");
    assert_eq!(Some(binding.role_ref.name), role.metadata.name);
    let subject = binding.subjects.unwrap().remove(0);
    assert_eq!(
        (subject.name.as_str(), subject.namespace.as_deref()),
        ("a-skein", Some("plant"))
    );
    assert_eq!(pod("{}").service_account_name, Some(subject.name));
}

#[test]
fn clients_are_led_to_the_port_of_the_same_name() {
    let substitute = r#"{"listeners": [{"name": "tls", "port": 18883}, {"name": "other", "port": 9001}]}"#;
    let slice = slice(RICH, Family::V4, Some(("10.1.2.3", substitute)));
    assert_eq!(slice["addressType"], "IPv4");
    assert_eq!(
        slice["endpoints"],
        json!([{"addresses": ["10.1.2.3"], "conditions": {"ready": true}}])
    );
    // It listens for no "web", though it has a port of that number.
    let port = |name: &str, port: i32| json!({"name": name, "port": port, "protocol": "TCP"});
    assert_eq!(slice["ports"], json!([port("mqtt", 1883), port("tls", 18883)]));
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "a");
}

#[test]
fn while_nobody_serves_there_is_no_endpoint() {
    let slice = slice(RICH, Family::V6, None);
    assert_eq!(slice["endpoints"], json!([]));
    assert_eq!(slice["addressType"], "IPv6");
}

#[test]
fn a_pod_may_be_addressed_by_ipv6() {
    let slice = slice("{}", Family::V6, Some(("fd00::7", "{}")));
    assert_eq!(slice["addressType"], "IPv6");
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["fd00::7"]));
}

#[test]
fn no_port_is_said_twice() {
    let text = r#"{"listeners": [{"name": "plain", "port": 1883}, {"name": "tls", "port": 8883}]}"#;
    let wanted = all(&spec(text), &Settings::default(), None);
    let service = wanted
        .iter()
        .find(|it| it.resource.kind == "Service" && it.name == "a")
        .unwrap();
    let numbers: Vec<_> = service.body["spec"]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["port"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [1883, 8883]);
}

#[test]
fn a_pod_is_of_another_template_exactly_if_its_spec_is_another() {
    let settings = Settings::default();
    let plain = hash("{}", &settings);
    assert_eq!(plain.len(), 16);
    // What is not the pod's: Mosquitto's configuration, and the volume.
    for same in [
        r#"{"allowAnonymous": true, "settings": {"max_keepalive": 120}}"#,
        r#"{"storage": {"size": "9Gi"}, "queue": {"messages": 5, "bytes": "1Mi"}}"#,
        r#"{"version": "2.1"}"#,
    ] {
        assert_eq!(hash(same, &settings), plain, "{same}");
    }
    let deleting = Settings {
        delete_volumes: true,
        ..Settings::default()
    };
    assert_eq!(hash("{}", &deleting), plain);
    for other in [
        r#"{"version": "2.0"}"#,
        r#"{"image": "own/one"}"#,
        r#"{"durability": "none"}"#,
        r#"{"resources": {"requests": {"cpu": "51m"}}}"#,
        r#"{"listeners": [{"name": "tls", "port": 8883}]}"#,
    ] {
        assert_ne!(hash(other, &settings), plain, "{other}");
    }
    let mut newer = Settings::default();
    newer.images.skein = "skein:2".to_owned();
    assert_ne!(hash("{}", &newer), plain);
}

/// Should a release change this on purpose, it restarts every broker that runs.
#[test]
fn a_release_does_not_change_the_template_by_accident() {
    assert_eq!(hash("{}", &Settings::default()), "7a27f72d333958a4");
}

#[test]
fn resources_are_those_declared_or_modest() {
    let resources = |text: &str| pod(text).containers.remove(0).resources.unwrap();
    let modest = serde_json::to_value(resources("{}")).unwrap();
    assert_eq!(modest, json!({"requests": {"cpu": "50m", "memory": "64Mi"}}));
    let declared = serde_json::to_value(resources(RICH)).unwrap();
    assert_eq!(
        declared,
        json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}})
    );
}

#[test]
fn only_who_is_admitted_connects_and_always_the_fleet() {
    let from = |admitted: &[NetworkPolicyPeer]| {
        let policy = with(&spec("{}"), |hosted| network_policy(hosted, admitted));
        policy.spec.unwrap().ingress.unwrap().remove(0).from
    };
    assert_eq!(from(&[]), None);
    let devices = NetworkPolicyPeer {
        pod_selector: Some(matching(text([("app", "device")]))),
        ..NetworkPolicyPeer::default()
    };
    let peers = from(std::slice::from_ref(&devices)).unwrap();
    assert_eq!(peers[0], devices);
    assert_eq!(peers[1].pod_selector, Some(all_brokers()));
}

#[test]
fn a_pods_report_is_left_to_the_pod() {
    let map = with(&spec("{}"), |hosted| config_map(hosted));
    assert!(map.data.is_none() && map.binary_data.is_none());
}
