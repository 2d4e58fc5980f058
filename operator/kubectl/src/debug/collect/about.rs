//! What a bundle says of itself.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use serde_json::{Value, json};
use skein_api::resources::{Broker, Migration, NodeRoute, Topic};

use super::{Archive, Cluster, Collection, Tried};
use crate::debug::redact::STRUCK;
use crate::objects::plural;

impl Collection<'_> {
    /// Who made it, of what.
    pub(super) async fn versions(&mut self) -> Value {
        let server = self.cluster.client.apiserver_version().await;
        let api: Api<CustomResourceDefinition> = Api::all(self.cluster.client.clone());
        let mut definitions = serde_json::Map::new();
        for plural in [
            plural::<Broker>(),
            plural::<NodeRoute>(),
            plural::<Topic>(),
            plural::<Migration>(),
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

    /// What is in it, and what is not.
    pub(super) fn manifest(&self, archive: &Archive, now: Timestamp) -> String {
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
            STRUCK,
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
