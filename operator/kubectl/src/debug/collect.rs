//! What is collected, from where.

mod about;
mod pods;

use std::fmt::Debug;
use std::io::Read as _;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DynamicObject, ListParams};
use kube::core::ApiResource;
use kube::{Api, Error, Resource, ResourceExt as _};
use serde_json::{Value, json};
use skein_api::resources::{Broker, Migration, NodeRoute, Topic};
use skein_commands::Failure;
use skein_controller::names;

use super::archive::Archive;
use super::clients::Clients;
use super::redact::Redactor;
use crate::arguments;
use crate::cluster::Cluster;
use crate::objects::typed;
use crate::refusal::Tried;

/// What the controllers' objects are labelled with.
const CONTROLLERS: &str = "app.kubernetes.io/name=skein";

pub(super) struct Collection<'a> {
    cluster: &'a Cluster,
    arguments: &'a arguments::Debug,
    redactor: Redactor,
    clients: Clients,
    lacks: Vec<String>,
    migrations: Vec<Value>,
}

impl<'a> Collection<'a> {
    /// Reads first what has to be struck out of all else.
    pub(super) async fn begin(
        cluster: &'a Cluster,
        arguments: &'a arguments::Debug,
    ) -> Result<Self, Failure> {
        let mut collection = Self {
            cluster,
            arguments,
            redactor: Redactor::default(),
            clients: if arguments.hide_clients {
                Clients::hidden()
            } else {
                Clients::default()
            },
            lacks: Vec::new(),
            migrations: Vec::new(),
        };
        let brokers = Api::<DynamicObject>::namespaced_with(
            cluster.client.clone(),
            &cluster.namespace,
            &ApiResource::erase::<Broker>(&()),
        );
        if let Err(error) = brokers.list_metadata(&ListParams::default().limit(1)).await
            && !matches!(&error, Error::Api(status) if matches!(status.code, 403 | 404))
        {
            let resource = crate::objects::plural::<Broker>();
            let tried = Tried {
                verb: "list",
                resource: &resource,
                namespace: Some(&cluster.namespace),
            };
            return Err(tried.failure(&error));
        }
        collection.migrations = collection.list::<Migration>(&cluster.namespace, None).await;
        for migration in &collection.migrations {
            collection.clients.learn_migration(migration);
        }
        Ok(collection)
    }

    /// Puts all of it into an archive; says what is not in it.
    pub(super) async fn into(
        mut self,
        archive: &mut Archive,
        now: Timestamp,
    ) -> Result<Vec<String>, Failure> {
        let (fleet, controllers) = (
            self.cluster.namespace.clone(),
            self.cluster.lease.namespace.clone(),
        );
        self.secrets(archive, &fleet).await?;
        let logs = self.fleet(archive, &fleet).await?;
        self.controllers(archive, &controllers).await?;
        for (name, log) in logs {
            let log = self.clients.text(&self.redactor.text(&log));
            archive.add(&name, &log)?;
        }
        // Last, for logs name most of the clients.
        let migrations = std::mem::take(&mut self.migrations);
        self.objects(archive, "fleet/migrations.yaml", migrations)?;
        let events = self.list::<Event>(&fleet, None).await;
        self.objects(archive, "fleet/events.yaml", events)?;
        let versions = self.versions().await;
        self.objects(archive, "versions.yaml", vec![versions])?;
        let manifest = self.manifest(archive, now);
        archive.add("MANIFEST.txt", &manifest)?;
        Ok(self.lacks)
    }

    /// Keys and sizes of the fleet's Secrets, and what is in them to be struck out elsewhere.
    async fn secrets(&mut self, archive: &mut Archive, namespace: &str) -> Result<(), Failure> {
        let api: Api<Secret> = Api::namespaced(self.cluster.client.clone(), namespace);
        let secrets = match api.list(&ours()).await {
            Ok(secrets) => secrets.items,
            Err(error) => {
                let tried = Tried {
                    verb: "list",
                    resource: "secrets",
                    namespace: Some(namespace),
                };
                let lack = format!(
                    "keys and sizes of Secrets, and what is in them was struck out by its looks only: {}",
                    tried.sentence(&error)
                );
                self.lacks.push(lack);
                return Ok(());
            }
        };
        let data = secrets.iter().filter_map(|secret| secret.data.as_ref()).flatten();
        let texts: Vec<(&str, String)> = data
            .filter_map(|(key, value)| Some((key.as_str(), text(key, &value.0)?)))
            .collect();
        self.redactor = Redactor::knowing(texts.iter().map(|(key, text)| (*key, text.as_str())));
        let sizes = |secret: &Secret| {
            let data = secret.data.iter().flatten();
            let bytes: serde_json::Map<String, Value> = data
                .map(|(key, value)| (key.clone(), json!(value.0.len())))
                .collect();
            json!({
                "kind": "Secret",
                "name": secret.metadata.name,
                "labels": secret.metadata.labels,
                "created": secret.metadata.creation_timestamp,
                "resourceVersion": secret.metadata.resource_version,
                "bytes": bytes,
            })
        };
        let sizes: Vec<Value> = secrets.iter().map(sizes).collect();
        archive.add("fleet/secrets.yaml", &yaml(&sizes))
    }

    /// The fleet's objects; its logs, to be written once all clients are known.
    async fn fleet(
        &mut self,
        archive: &mut Archive,
        namespace: &str,
    ) -> Result<Vec<(String, String)>, Failure> {
        self.kind::<Broker>(archive, "fleet", namespace, None).await?;
        self.kind::<NodeRoute>(archive, "fleet", namespace, None).await?;
        self.kind::<Topic>(archive, "fleet", namespace, None).await?;
        let ours = label();
        let ours = Some(ours.as_str());
        self.kind::<ConfigMap>(archive, "fleet", namespace, ours).await?;
        self.kind::<Service>(archive, "fleet", namespace, ours).await?;
        self.kind::<EndpointSlice>(archive, "fleet", namespace, None)
            .await?;
        self.kind::<StatefulSet>(archive, "fleet", namespace, ours)
            .await?;
        self.kind::<PersistentVolumeClaim>(archive, "fleet", namespace, Some(names::BROKER))
            .await?;
        self.kind::<NetworkPolicy>(archive, "fleet", namespace, None)
            .await?;
        self.kind::<PodDisruptionBudget>(archive, "fleet", namespace, None)
            .await?;
        self.pods(archive, "fleet", namespace, ours).await
    }

    async fn controllers(&mut self, archive: &mut Archive, namespace: &str) -> Result<(), Failure> {
        let selector = Some(CONTROLLERS);
        self.kind::<Deployment>(archive, "controller", namespace, selector)
            .await?;
        let lease = self.list::<Lease>(namespace, None).await;
        self.objects(archive, "controller/leases.yaml", lease)?;
        self.kind::<Event>(archive, "controller", namespace, None).await?;
        let logs = self.pods(archive, "controller", namespace, selector).await?;
        for (name, log) in logs {
            let log = self.clients.text(&self.redactor.text(&log));
            archive.add(&name, &log)?;
        }
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let Ok(pods) = api.list(&ListParams::default().labels(CONTROLLERS)).await else {
            // It was said when they were listed.
            return Ok(());
        };
        for pod in pods {
            let name = pod.name_any();
            match self.metrics(namespace, &name).await {
                Ok(text) => archive.add(&format!("controller/{name}.metrics"), &self.redactor.text(&text))?,
                Err(error) => self.lacks.push(format!("metrics of Pod/{name}: {error}")),
            }
        }
        Ok(())
    }

    async fn kind<K>(
        &mut self,
        archive: &mut Archive,
        folder: &str,
        namespace: &str,
        selector: Option<&str>,
    ) -> Result<(), Failure>
    where
        K: Resource<DynamicType = ()> + Debug,
    {
        let objects = self.list::<K>(namespace, selector).await;
        self.objects(archive, &format!("{folder}/{}.yaml", K::plural(&())), objects)
    }

    /// Objects of a kind; of those that may not be read it is said.
    async fn list<K: Resource<DynamicType = ()>>(
        &mut self,
        namespace: &str,
        selector: Option<&str>,
    ) -> Vec<Value> {
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.cluster.client.clone(), namespace, &resource);
        let parameters = match selector {
            Some(selector) => ListParams::default().labels(selector),
            None => ListParams::default(),
        };
        match api.list(&parameters).await {
            Ok(listed) => listed
                .items
                .into_iter()
                .filter_map(|object| serde_json::to_value(typed(object, &resource)).ok())
                .collect(),
            Err(error) => {
                let name = match resource.group.as_str() {
                    "" => resource.plural.clone(),
                    group => format!("{}.{group}", resource.plural),
                };
                let tried = Tried {
                    verb: "list",
                    resource: &name,
                    namespace: Some(namespace),
                };
                self.lacks.push(tried.sentence(&error));
                Vec::new()
            }
        }
    }

    fn objects(&self, archive: &mut Archive, name: &str, mut objects: Vec<Value>) -> Result<(), Failure> {
        for object in &mut objects {
            self.redactor.object(object);
        }
        if objects.is_empty() {
            return Ok(());
        }
        archive.add(name, &self.clients.text(&yaml(&objects)))
    }
}

fn label() -> String {
    let (label, ours) = names::MANAGED_BY;
    format!("{label}={ours}")
}

fn ours() -> ListParams {
    ListParams::default().labels(&label())
}

fn yaml(objects: &[Value]) -> String {
    let one = |object: &Value| serde_saphyr::to_string(object).unwrap_or_else(|error| format!("# {error}\n"));
    objects.iter().map(one).collect::<Vec<_>>().join("---\n")
}

/// What a Secret says, unpacked.
fn text(key: &str, value: &[u8]) -> Option<String> {
    if key.strip_suffix(".gz").is_none() {
        return std::str::from_utf8(value).ok().map(str::to_owned);
    }
    let mut text = String::new();
    let unpacked = GzDecoder::new(value).read_to_string(&mut text);
    unpacked.is_ok().then_some(text)
}
