//! What is on the API server, mirrored: custom resources, and the objects by which brokers run. Tells that something changed, in
//! which namespace and what about; what it is now is for the reader to look up.

use std::cell::RefCell;
use std::fmt::Debug;
use std::hash::Hash;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::Store;
use kube::runtime::reflector::store::{Writer, WriterDropped};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use skein_api::resources::{Broker, Migration, NodeRoute, Topic};
use tokio::sync::mpsc;

use crate::hearing::Ear;
use crate::names;

/// The server ends a watch after so many seconds, and it goes on where it was: one whose connection died unnoticed lasts no
/// longer. The client gives up a little later ([`crate::client`]).
pub(crate) const ROUND: u32 = 30;

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// What is declared: brokers, routes, topics.
    Declared,
    /// What people want moved.
    Migrations,
    /// What pods report.
    Reports,
    /// Where pods are.
    Pods,
    /// Where brokers are reached.
    Services,
}

/// Something changed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Where; none: anywhere.
    pub(crate) namespace: Option<String>,
    /// What.
    pub(crate) about: About,
}

/// The mirror.
#[derive(Clone)]
pub(crate) struct Watched {
    /// Custom resources, as the server has them: what is wrong with one must not keep the others from being read.
    pub(crate) declared: [Store<DynamicObject>; 3],
    /// Migrations.
    pub(crate) migrations: Store<DynamicObject>,
    /// What pods report.
    pub(crate) reports: Store<ConfigMap>,
    /// Our Services.
    pub(crate) services: Store<Service>,
    /// Brokers' pods.
    pub(crate) pods: Store<Pod>,
    /// Who serves whom.
    pub(crate) slices: Store<EndpointSlice>,
    /// When each of the watches was last answered.
    pub(crate) ears: Vec<Ear>,
}

impl Watched {
    /// Begins to mirror a namespace, or all; and where changes are told.
    #[must_use]
    pub(crate) fn start(client: &Client, namespace: Option<&str>) -> (Self, mpsc::UnboundedReceiver<Change>) {
        let (changes, told) = mpsc::unbounded_channel();
        let begin = Begin {
            client,
            namespace,
            changes: &changes,
            ears: RefCell::default(),
        };
        let mut watched = Self {
            declared: [
                begin.custom::<Broker>(About::Declared),
                begin.custom::<NodeRoute>(About::Declared),
                begin.custom::<Topic>(About::Declared),
            ],
            migrations: begin.custom::<Migration>(About::Migrations),
            reports: begin.ours(About::Reports),
            services: begin.ours(About::Services),
            pods: begin.ours(About::Pods),
            slices: begin.ours(About::Services),
            ears: Vec::new(),
        };
        watched.ears = begin.ears.into_inner();
        (watched, told)
    }

    /// Resolves when all that there is has been read once.
    ///
    /// # Errors
    /// If the watches have ended, which they do with the process only.
    pub(crate) async fn ready(&self) -> Result<(), WriterDropped> {
        for store in self.declared.iter().chain([&self.migrations]) {
            store.wait_until_ready().await?;
        }
        self.reports.wait_until_ready().await?;
        self.services.wait_until_ready().await?;
        self.pods.wait_until_ready().await?;
        self.slices.wait_until_ready().await
    }
}

struct Begin<'a> {
    client: &'a Client,
    namespace: Option<&'a str>,
    changes: &'a mpsc::UnboundedSender<Change>,
    ears: RefCell<Vec<Ear>>,
}

impl Begin<'_> {
    fn custom<K: Resource<DynamicType = ()>>(&self, about: About) -> Store<DynamicObject> {
        let resource = ApiResource::erase::<K>(&());
        let ear = Ear::new(&resource.plural);
        let api: Api<DynamicObject> = match self.namespace {
            Some(namespace) => Api::namespaced_with(ear.at(self.client), namespace, &resource),
            None => Api::all_with(ear.at(self.client), &resource),
        };
        self.mirror(api, watcher::Config::default(), Writer::new(resource), about, ear)
    }

    fn ours<K>(&self, about: About) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let ear = Ear::new(&K::plural(&()));
        let api: Api<K> = match self.namespace {
            Some(namespace) => Api::namespaced(ear.at(self.client), namespace),
            None => Api::all(ear.at(self.client)),
        };
        let (label, value) = names::MANAGED_BY;
        let ours = watcher::Config::default().labels(&format!("{label}={value}"));
        self.mirror(api, ours, Writer::new(()), about, ear)
    }

    fn mirror<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
        writer: Writer<K>,
        about: About,
        ear: Ear,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Send + Sync,
    {
        let store = writer.as_reader();
        let changes = self.changes.clone();
        self.ears.borrow_mut().push(ear.clone());
        let events = watch(api, config.timeout(ROUND))
            .default_backoff()
            .modify(|object: &mut K| object.managed_fields_mut().clear())
            .reflect(writer);
        tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            let mut said = None;
            while let Some(event) = events.next().await {
                let namespace = match event {
                    Ok(Event::Apply(object) | Event::Delete(object)) => ResourceExt::namespace(&object),
                    Ok(Event::InitDone) => None,
                    Ok(Event::Init | Event::InitApply(_)) => continue,
                    Err(error) => {
                        let text = format!("cannot watch {about:?}: {error}; it is tried again");
                        if said.as_ref() != Some(&text) {
                            crate::say(&text);
                            said = Some(text);
                        }
                        continue;
                    }
                };
                said = None;
                ear.hears();
                if changes.send(Change { namespace, about }).is_err() {
                    return;
                }
            }
        });
        store
    }
}
