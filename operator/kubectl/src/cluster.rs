//! The cluster and the namespace that are meant, and a client for them.

use std::sync::Arc;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use skein_commands::Failure;
use skein_controller::LeaseSettings;

use crate::arguments::Place;

/// A cluster that can be asked, and which fleet of it is meant.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// By which the fleet's controllers agree who acts.
    pub(crate) lease: LeaseSettings,
    /// How it is reached.
    pub(crate) server: Arc<Server>,
}

/// Where an API server is.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    /// The certificates that it is known by; none: those that the system trusts.
    pub(crate) roots: Option<Vec<Vec<u8>>>,
}

/// How long a server may take to take a connection: who types is waiting.
const CONNECT: Duration = Duration::from_secs(10);

impl Cluster {
    /// As the arguments and the environment say. Nothing is asked yet.
    pub(crate) async fn find(place: &Place) -> Result<Self, Failure> {
        let mut config = config(place).await?;
        config.connect_timeout = Some(CONNECT);
        let namespace = place
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = Server {
            url: config.cluster_url.to_string(),
            roots: config.root_cert.clone(),
        };
        let client = Client::try_from(config).map_err(|error| {
            Failure::could_not(format!("cannot make a client for {}: {error}", server.url))
        })?;
        Ok(Self {
            client,
            namespace,
            lease: place.lease.0.clone(),
            server: Arc::new(server),
        })
    }

    /// The same for another fleet.
    pub(crate) fn at(&self, namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            ..self.clone()
        }
    }
}

async fn config(place: &Place) -> Result<Config, Failure> {
    let options = KubeConfigOptions {
        context: place.context.clone(),
        ..KubeConfigOptions::default()
    };
    let found = match &place.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(kubeconfig) => Config::from_custom_kubeconfig(kubeconfig, &options).await,
            Err(error) => Err(error),
        },
        None => Config::from_kubeconfig(&options).await,
    };
    match found {
        Ok(config) => Ok(config),
        // In a pod there is no file, and none is needed.
        Err(error) if place.kubeconfig.is_none() && place.context.is_none() => {
            Config::incluster().map_err(|_| no_cluster(&error, place))
        }
        Err(error) => Err(no_cluster(&error, place)),
    }
}

fn no_cluster(error: &KubeconfigError, place: &Place) -> Failure {
    let remedy = "name a kubeconfig with --kubeconfig or KUBECONFIG";
    Failure::could_not(match (error, &place.context) {
        (KubeconfigError::LoadContext(_), Some(context)) => format!(
            "the kubeconfig has no context {context}; `kubectl config get-contexts` lists those that it has"
        ),
        (KubeconfigError::CurrentContextNotSet, _) => {
            "the kubeconfig has no current context; name one with --context, or set one with `kubectl config use-context`"
                .to_owned()
        }
        (KubeconfigError::ReadConfig(why, path), _) => {
            format!("no cluster: cannot read {}: {why}; {remedy}", path.display())
        }
        (error, _) => format!("no cluster: {error}; {remedy}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(kubeconfig: &std::path::Path, context: Option<&str>) -> Place {
        Place {
            namespace: None,
            context: context.map(str::to_owned),
            kubeconfig: Some(kubeconfig.to_owned()),
            lease: "skein/skein".parse().unwrap(),
        }
    }

    async fn said(kubeconfig: &std::path::Path, context: Option<&str>) -> String {
        match Cluster::find(&place(kubeconfig, context)).await {
            Ok(_) => panic!("a cluster was found"),
            Err(failure) => failure.to_string(),
        }
    }

    const KUBECONFIG: &str = "
apiVersion: v1
kind: Config
clusters: [{name: one, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: me, user: {}}]
contexts: [{name: here, context: {cluster: one, user: me, namespace: farm}}]
";

    #[tokio::test]
    async fn the_namespace_is_that_of_the_context_unless_it_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        std::fs::write(&file, KUBECONFIG).unwrap();
        let mut here = place(&file, Some("here"));
        assert_eq!(Cluster::find(&here).await.unwrap().namespace, "farm");
        here.namespace = Some("plant".to_owned());
        assert_eq!(Cluster::find(&here).await.unwrap().namespace, "plant");
    }

    #[tokio::test]
    async fn without_a_cluster_it_is_said_how_to_name_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let missing = said(&file, None).await;
        assert!(missing.contains("--kubeconfig"), "{missing}");
        std::fs::write(&file, KUBECONFIG).unwrap();
        let unset = said(&file, None).await;
        assert!(unset.contains("--context"), "{unset}");
        let unknown = said(&file, Some("there")).await;
        assert!(
            unknown.contains("no context there") && unknown.contains("get-contexts"),
            "{unknown}"
        );
    }
}
