//! What is collected, from where.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Event, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, ListParams, LogParams};
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
/// The most of one log: a bundle is sent by mail.
const LOG_BYTES: i64 = 4 << 20;
/// Where controllers tell their metrics.
const METRICS_PORT: u16 = 8080;

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
        let texts = data.filter_map(|(key, value)| Some((key.as_str(), std::str::from_utf8(&value.0).ok()?)));
        self.redactor = Redactor::knowing(texts);
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

    async fn metrics(&self, namespace: &str, pod: &str) -> Result<String, Error> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{METRICS_PORT}/proxy/metrics");
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(Error::HttpError)?;
        self.cluster.client.request_text(request).await
    }

    /// Pods, and what they logged.
    async fn pods(
        &mut self,
        archive: &mut Archive,
        folder: &str,
        namespace: &str,
        selector: Option<&str>,
    ) -> Result<Vec<(String, String)>, Failure> {
        let pods = self.list::<Pod>(namespace, selector).await;
        self.objects(archive, &format!("{folder}/pods.yaml"), pods.clone())?;
        let mut logs = Vec::new();
        for pod in &pods {
            let Some(name) = pod.pointer("/metadata/name").and_then(Value::as_str) else {
                continue;
            };
            for (container, has_ended) in containers(pod) {
                for previous in [false, true].into_iter().take(1 + usize::from(has_ended)) {
                    let suffix = if previous { ".previous" } else { "" };
                    match self.log(namespace, name, &container, previous).await {
                        Ok(log) if log.is_empty() => {}
                        Ok(log) => {
                            self.clients.learn_log(&log);
                            logs.push((format!("{folder}/{name}.{container}{suffix}.log"), log));
                        }
                        Err(error) => {
                            let tried = Tried {
                                verb: "get",
                                resource: "pods/log",
                                namespace: Some(namespace),
                            };
                            let what = format!("the log of {container} in Pod/{name}");
                            self.lacks.push(format!("{what}: {}", tried.sentence(&error)));
                        }
                    }
                }
            }
        }
        Ok(logs)
    }

    async fn log(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
    ) -> Result<String, Error> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), namespace);
        let since = self.arguments.since.map(|since| since.get().as_secs());
        let parameters = LogParams {
            container: Some(container.to_owned()),
            previous,
            tail_lines: Some(self.arguments.lines),
            limit_bytes: Some(LOG_BYTES),
            since_seconds: since.and_then(|since| i64::try_from(since).ok()),
            timestamps: true,
            ..LogParams::default()
        };
        api.logs(pod, &parameters).await
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

    async fn versions(&mut self) -> Value {
        let server = self.cluster.client.apiserver_version().await;
        let api: Api<CustomResourceDefinition> = Api::all(self.cluster.client.clone());
        let mut definitions = serde_json::Map::new();
        for plural in [
            crate::objects::plural::<Broker>(),
            crate::objects::plural::<NodeRoute>(),
            crate::objects::plural::<Topic>(),
            crate::objects::plural::<Migration>(),
        ] {
            match api.get(&plural).await {
                Ok(definition) => {
                    let versions = definition.spec.versions.iter();
                    let versions: Vec<&str> = versions.map(|version| version.name.as_str()).collect();
                    let labels = &definition.metadata.labels;
                    definitions.insert(plural, json!({"versions": versions, "labels": labels}));
                }
                Err(error) => {
                    let tried = Tried {
                        verb: "get",
                        resource: "customresourcedefinitions.apiextensions.k8s.io",
                        namespace: None,
                    };
                    self.lacks.push(format!("{plural}: {}", tried.sentence(&error)));
                }
            }
        }
        json!({
            "kubectl-skein": env!("CARGO_PKG_VERSION"),
            "kubernetes": server.ok().map(|version| version.git_version),
            "definitions": definitions,
        })
    }

    fn manifest(&self, archive: &Archive, now: Timestamp) -> String {
        let Cluster { namespace, lease, .. } = self.cluster;
        let clients = if self.arguments.hide_clients {
            "Client ids are replaced by numbers, as far as Migrations and logs name them."
        } else {
            "Client ids are as they are."
        };
        let mut text = format!(
            "A fleet of Skein: namespace {namespace}, controllers by Lease {}/{}, collected at {}.\n\n\
             Of Secrets there are keys and sizes. Passwords and tokens in texts are struck out as {}. {clients}\n\
             Names of brokers, topics and nodes, and addresses, are as they are. Of each log there are the last {} lines.\n\nCollected:\n",
            lease.namespace,
            lease.name,
            now.strftime("%F %TZ"),
            super::redact::STRUCK,
            self.arguments.lines,
        );
        text += &archive
            .files()
            .iter()
            .map(|file| format!("  {file}\n"))
            .collect::<String>();
        if !self.lacks.is_empty() {
            text += "\nNot collected:\n";
            text += &self
                .lacks
                .iter()
                .map(|lack| format!("  {lack}\n"))
                .collect::<String>();
        }
        text
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

/// A pod's containers that have begun, and whether one was before that.
fn containers(pod: &Value) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    for list in ["/status/initContainerStatuses", "/status/containerStatuses"] {
        let statuses = pod.pointer(list).and_then(Value::as_array);
        for status in statuses.into_iter().flatten() {
            let has_begun =
                status.pointer("/state/waiting").is_none() || status["restartCount"].as_i64() > Some(0);
            if let (Some(name), true) = (status["name"].as_str(), has_begun) {
                found.push((name.to_owned(), status["restartCount"].as_i64() > Some(0)));
            }
        }
    }
    found
}
