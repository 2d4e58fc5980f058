//! What a broker's pod may do, who may reach it, and how many pods may be evicted at a time.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::ports::numbers;
use super::{Hosted, Owner, all_brokers, fleet_meta};

/// Who a broker's pod is. Its token is given by the pod that asks for it, to no other that borrows the account.
#[must_use]
pub fn service_account(owner: &Owner<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: owner.meta(owner.own()),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// What a broker's pod may do: read its own Secret and write its own `ConfigMap`.
///
/// A list or a watch is allowed by name only if it asks for that name (`fieldSelector=metadata.name=...`).
#[must_use]
pub fn role(owner: &Owner<'_>) -> Role {
    let rule = |resource: &str, verbs: &[&str]| PolicyRule {
        api_groups: Some(vec![String::new()]),
        resources: Some(vec![resource.to_owned()]),
        resource_names: Some(vec![owner.own()]),
        verbs: verbs.iter().map(|&verb| verb.to_owned()).collect(),
        ..PolicyRule::default()
    };
    Role {
        metadata: owner.meta(owner.own()),
        rules: Some(vec![
            rule("secrets", &["get", "list", "watch"]),
            rule("configmaps", &["get", "patch", "update"]),
        ]),
    }
}

/// Gives the account of a broker's pod the [`role`].
#[must_use]
pub fn role_binding(owner: &Owner<'_>) -> RoleBinding {
    RoleBinding {
        metadata: owner.meta(owner.own()),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "Role".to_owned(),
            name: owner.own(),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".to_owned(),
            name: owner.own(),
            namespace: Some(owner.namespace.to_owned()),
            api_group: None,
        }]),
    }
}

/// Who may connect to a broker's pod: at the ports of MQTT, those that are `admitted` and the fleet's brokers, or everybody if
/// none is named; where its supervisor is asked what it sees, whoever knows the token, as the controller may be anywhere; at others,
/// nobody.
///
/// Nothing is said of where the pod connects to: brokers that someone else runs are anywhere, and so is the API server.
#[must_use]
pub fn network_policy(hosted: &Hosted<'_>, admitted: &[NetworkPolicyPeer]) -> NetworkPolicy {
    let port = |port| NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some("TCP".to_owned()),
        end_port: None,
    };
    let numbers = numbers(hosted.spec).into_iter().map(|(_, number)| port(number));
    let peers = NetworkPolicyPeer {
        pod_selector: Some(all_brokers()),
        ..NetworkPolicyPeer::default()
    };
    let from = (!admitted.is_empty()).then(|| admitted.iter().cloned().chain([peers]).collect());
    NetworkPolicy {
        metadata: hosted.meta(hosted.own()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(hosted.selector()),
            policy_types: Some(vec!["Ingress".to_owned()]),
            ingress: Some(vec![
                NetworkPolicyIngressRule {
                    from,
                    ports: Some(numbers.collect()),
                },
                NetworkPolicyIngressRule {
                    from: None,
                    ports: Some(vec![port(i32::from(skein_sight::wire::PORT))]),
                },
            ]),
            egress: None,
        }),
    }
}

/// No two brokers of a fleet are evicted at a time. One budget for all of them, as each has one pod only: a budget of its own
/// would either hold up every drain of a node or allow every eviction.
#[must_use]
pub fn disruption_budget(namespace: &str) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: fleet_meta(namespace),
        spec: Some(PodDisruptionBudgetSpec {
            selector: Some(all_brokers()),
            max_unavailable: Some(IntOrString::Int(1)),
            // A broker that is down already would else hold up the drain of its own node.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            min_available: None,
        }),
        status: None,
    }
}
