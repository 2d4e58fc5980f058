//! What is on the API server, mirrored: custom resources, and the objects by which brokers run. Tells that something changed, in
//! which namespace and what about; what it is now is for the reader to look up.

use std::cell::RefCell;
use std::fmt::Debug;
use std::hash::Hash;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::DynamicObject;
use kube::core::{ApiResource, PartialObjectMeta};
use kube::runtime::reflector::store::{Writer, WriterDropped};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use skein_api::resources::{Broker, Migration, NodeRoute, Topic};
use tokio::sync::mpsc;

use crate::hearing::Ear;
use crate::writer::{Key, Version};
use crate::{names, objects};

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
    /// That objects are as they were written.
    Objects,
}

/// Something changed.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// Where; none: anywhere.
    pub(crate) namespace: Option<String>,
    /// What.
    pub(crate) about: About,
    /// An object that we write, as it is now; without one, any.
    pub(crate) seen: Option<Seen>,
}

/// An object that was seen on the server.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) key: Key,
    /// None: it is gone.
    pub(crate) version: Option<Version>,
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
    /// Of all kinds of objects that we write, that they are there, and in which state.
    pub(crate) objects: Vec<Kind>,
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
            objects: objects::kinds()
                .into_iter()
                .map(|kind| begin.written(kind))
                .collect(),
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
        self.slices.wait_until_ready().await?;
        for kind in &self.objects {
            kind.store.wait_until_ready().await?;
        }
        Ok(())
    }
}

/// The objects of one kind that we write.
#[derive(Clone)]
pub(crate) struct Kind {
    resource: ApiResource,
    store: Store<PartialObjectMeta<DynamicObject>>,
}

impl Kind {
    /// How an object is now, as far as that is ours to say; `None` if this is not its kind.
    pub(crate) fn see(&self, namespace: &str, key: &Key) -> Option<Seen> {
        if self.resource.kind != key.kind || key.status {
            return None;
        }
        let reference = ObjectRef::new_with(&key.name, self.resource.clone()).within(namespace);
        let there = self.store.get(&reference);
        Some(Seen {
            key: key.clone(),
            version: there.map(|there| Version::of(&there.metadata)),
        })
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
        self.mirror(api, ours(), Writer::new(()), about, ear)
    }

    /// The objects of a kind that we write, by what is said about them: their contents are not read.
    fn written(&self, resource: ApiResource) -> Kind {
        let ear = Ear::new(&format!("{} (as written)", resource.plural));
        let client = ear.at(self.client);
        let api: Api<PartialObjectMeta<DynamicObject>> = match self.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let writer = Writer::new(resource.clone());
        let store = writer.as_reader();
        let events = watch(api, ours().timeout(ROUND))
            .default_backoff()
            .modify(slim)
            .reflect(writer);
        let changes = self.changes.clone();
        let kind = resource.kind.clone();
        self.listen(events, ear, move |event| {
            let seen = |object: &PartialObjectMeta<DynamicObject>, version| Change {
                namespace: object.namespace(),
                about: About::Objects,
                seen: Some(Seen {
                    key: Key::of(&kind, &object.name_any()),
                    version,
                }),
            };
            let change = match event {
                Event::Apply(object) => seen(&object, Some(Version::of(&object.metadata))),
                Event::Delete(object) => seen(&object, None),
                Event::InitDone => Change {
                    namespace: None,
                    about: About::Objects,
                    seen: None,
                },
                Event::Init | Event::InitApply(_) => return true,
            };
            changes.send(change).is_ok()
        });
        Kind { resource, store }
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
        let events = watch(api, config.timeout(ROUND))
            .default_backoff()
            .modify(|object: &mut K| object.managed_fields_mut().clear())
            .reflect(writer);
        self.listen(events, ear, move |event| {
            let namespace = match event {
                Event::Apply(object) | Event::Delete(object) => ResourceExt::namespace(&object),
                Event::InitDone => None,
                Event::Init | Event::InitApply(_) => return true,
            };
            let change = Change {
                namespace,
                about,
                seen: None,
            };
            changes.send(change).is_ok()
        });
        store
    }

    /// Takes what a watch tells for as long as that is wanted; says once that it cannot be watched.
    fn listen<K: Send + 'static>(
        &self,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        ear: Ear,
        mut take: impl FnMut(Event<K>) -> bool + Send + 'static,
    ) {
        self.ears.borrow_mut().push(ear.clone());
        tokio::spawn(async move {
            let mut events = std::pin::pin!(events);
            let mut said = None;
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => {
                        said = None;
                        ear.hears();
                        if !take(event) {
                            return;
                        }
                    }
                    Err(error) => {
                        let text = format!("cannot watch {}: {error}; it is tried again", ear.of());
                        if said.as_ref() != Some(&text) {
                            crate::say(&text);
                            said = Some(text);
                        }
                    }
                }
            }
        });
    }
}

/// What has the label of our objects.
fn ours() -> watcher::Config {
    let (label, value) = names::MANAGED_BY;
    watcher::Config::default().labels(&format!("{label}={value}"))
}

/// Leaves what tells an object and its state from others: there may be thousands.
fn slim(object: &mut PartialObjectMeta<DynamicObject>) {
    let whole = std::mem::take(&mut object.metadata);
    object.metadata = ObjectMeta {
        name: whole.name,
        namespace: whole.namespace,
        uid: whole.uid,
        generation: whole.generation,
        resource_version: whole.resource_version,
        ..ObjectMeta::default()
    };
}
