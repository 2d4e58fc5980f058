//! The objects that a broker runs by, as they should be: pure functions of what is declared.
//!
//! Knows how Kubernetes is told of a pod, of how it is reached and of what it may do. Does not know what there is already, nor
//! what the configuration of a broker says. Equal input gives equal objects.

use std::collections::BTreeMap;
use std::ops::Deref;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Secret, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::Resource as _;
use kube::core::ApiResource;
use skein_api::name::BrokerName;
use skein_api::resources::{Broker, ManagedSpec};

use crate::names;

mod access;
mod images;
mod keeping;
mod ports;
mod services;
#[cfg(test)]
mod tests;
mod wanted;
mod workload;

pub use access::{disruption_budget, network_policy, role, role_binding, service_account};
pub use images::Images;
pub use keeping::{config_map, fleet_secret, secret};
pub use ports::{numbers, objection, own_number, ports};
pub use services::{Family, Serving, client_service, endpoint_slice, peer_service};
pub use wanted::Wanted;
pub use workload::{TEMPLATE, stateful_set, template_hash, volume_claim};

/// A broker that Skein configures, by what its objects are known by.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Its name.
    pub name: &'a BrokerName,
    /// The namespace of its fleet.
    pub namespace: &'a str,
    /// The uid of its custom resource, with which all of it goes.
    pub uid: &'a str,
}

/// One that runs in a pod, by what its objects follow from.
#[derive(Clone, Copy, Debug)]
pub struct Hosted<'a> {
    /// Whose they are.
    pub owner: Owner<'a>,
    /// What is declared of it.
    pub spec: &'a ManagedSpec,
}

impl<'a> Deref for Hosted<'a> {
    type Target = Owner<'a>;

    fn deref(&self) -> &Owner<'a> {
        &self.owner
    }
}

/// What holds for all brokers of a fleet, and is no broker's to say.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// What pods are made from.
    pub images: Images,
    /// A deleted broker's volume goes with it.
    pub delete_volumes: bool,
    /// How pods are addressed.
    pub family: Family,
    /// Who may connect, beside the fleet's own brokers; the controller has to be among them. Empty: whoever reaches the pod.
    pub admitted: Vec<NetworkPolicyPeer>,
}

/// The objects that follow from a broker's declaration alone, in the order in which to apply them: a pod finds its rights and
/// what it reports to when it starts.
///
/// What the engine decides is not among them: [`secret`] and [`endpoint_slice`].
///
/// # Errors
/// None that is known: serialising could fail only on a map whose keys are no text.
pub fn for_broker(
    hosted: &Hosted<'_>,
    settings: &Settings,
    peer_address: Option<&str>,
) -> Result<Vec<Wanted>, serde_json::Error> {
    let mut wanted = vec![
        Wanted::of(&service_account(hosted))?,
        Wanted::of(&role(hosted))?,
        Wanted::of(&role_binding(hosted))?,
        Wanted::of(&network_policy(hosted, &settings.admitted))?,
        Wanted::of(&config_map(hosted))?,
        Wanted::of(&client_service(hosted, numbers(hosted.spec)))?,
        Wanted::of(&peer_service(hosted, peer_address))?,
    ];
    if let Some(claim) = volume_claim(hosted, settings) {
        wanted.push(Wanted::of(&claim)?);
    }
    wanted.push(Wanted::of(&stateful_set(hosted, settings)?)?);
    Ok(wanted)
}

/// The same for a broker that an agent runs elsewhere: what the agent may do, and where it reports; and how its clients in the
/// cluster find whoever serves.
///
/// # Errors
/// As [`for_broker`].
pub fn for_agent(owner: &Owner<'_>) -> Result<Vec<Wanted>, serde_json::Error> {
    Ok(vec![
        Wanted::of(&service_account(owner))?,
        Wanted::of(&role(owner))?,
        Wanted::of(&role_binding(owner))?,
        Wanted::of(&config_map(owner))?,
        Wanted::of(&client_service(owner, own_number()))?,
    ])
}

/// The digest of the template of pods that is among these objects.
#[must_use]
pub fn template_of(objects: &[Wanted]) -> Option<String> {
    let set = objects
        .iter()
        .find(|wanted| wanted.resource.kind == "StatefulSet")?;
    let hash = set
        .body
        .pointer("/spec/template/metadata/annotations")?
        .get(TEMPLATE)?;
    hash.as_str().map(str::to_owned)
}

/// The kinds of the objects that are written for brokers and fleets.
#[must_use]
pub fn kinds() -> Vec<ApiResource> {
    vec![
        ApiResource::erase::<StatefulSet>(&()),
        ApiResource::erase::<PersistentVolumeClaim>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<EndpointSlice>(&()),
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<NetworkPolicy>(&()),
        ApiResource::erase::<PodDisruptionBudget>(&()),
        ApiResource::erase::<RoleBinding>(&()),
        ApiResource::erase::<Role>(&()),
        ApiResource::erase::<ServiceAccount>(&()),
    ]
}

/// All that a broker may run by, to be deleted: what each is, and its name. Its volume is not among them.
#[must_use]
pub fn all_of(broker: &BrokerName) -> Vec<(ApiResource, String)> {
    let own = names::own(broker);
    vec![
        (ApiResource::erase::<StatefulSet>(&()), broker.to_string()),
        (ApiResource::erase::<Service>(&()), broker.to_string()),
        (ApiResource::erase::<Service>(&()), own.clone()),
        (ApiResource::erase::<EndpointSlice>(&()), own.clone()),
        (ApiResource::erase::<Secret>(&()), own.clone()),
        (ApiResource::erase::<ConfigMap>(&()), own.clone()),
        (ApiResource::erase::<NetworkPolicy>(&()), own.clone()),
        (ApiResource::erase::<RoleBinding>(&()), own.clone()),
        (ApiResource::erase::<Role>(&()), own.clone()),
        (ApiResource::erase::<ServiceAccount>(&()), own),
    ]
}

impl Owner<'_> {
    /// What is not called as the broker itself.
    fn own(&self) -> String {
        names::own(self.name)
    }

    fn selector(&self) -> LabelSelector {
        matching(names::selector(self.name))
    }

    /// The metadata of an object that goes when the broker's custom resource does.
    fn meta(&self, name: String) -> ObjectMeta {
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(names::labels(self.name)),
            owner_references: Some(vec![OwnerReference {
                api_version: Broker::api_version(&()).into_owned(),
                kind: Broker::kind(&()).into_owned(),
                name: self.name.to_string(),
                uid: self.uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: Some(true),
            }]),
            ..ObjectMeta::default()
        }
    }
}

/// The metadata of an object that is the whole fleet's, and stays when a broker goes.
fn fleet_meta(namespace: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(names::FLEET.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels: Some(text([PART_OF, names::MANAGED_BY])),
        ..ObjectMeta::default()
    }
}

/// The label that all of Skein's objects have.
const PART_OF: (&str, &str) = ("app.kubernetes.io/part-of", "skein");

/// Selects the pods of all brokers that Skein runs.
fn all_brokers() -> LabelSelector {
    matching(text([("app.kubernetes.io/name", "mosquitto"), PART_OF]))
}

fn matching(labels: BTreeMap<String, String>) -> LabelSelector {
    LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    }
}

fn text<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
