//! What is on the API server, mirrored: custom resources, and the objects by which brokers run. Tells that something changed, in
//! which namespace and what about; what it is now is for the reader to look up.

mod caution;

use std::cell::RefCell;
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
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

use self::caution::{Asked, Caution, Verdict};
use crate::custom::Custom;
use crate::hearing::Ear;
use crate::writer::{Key, Version};
use crate::{names, objects};

/// The server ends a watch after so many seconds, and it goes on where it was: one whose connection died unnoticed lasts no
/// longer. The client gives up a little later ([`crate::client`]).
pub(crate) const ROUND: u32 = 30;

/// How long the server may take to say what became of one object.
const PATIENCE: Duration = Duration::from_secs(5);

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// What is declared: brokers, routes, topics.
    Declared,
    /// What is said of that, and no more.
    Statuses,
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
    pub(crate) declared: [Store<Custom>; 3],
    /// Migrations.
    pub(crate) migrations: Store<Custom>,
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
    fn custom<K: Resource<DynamicType = ()>>(&self, about: About) -> Store<Custom> {
        let resource = ApiResource::erase::<K>(&());
        let ear = Ear::new(&resource.plural);
        let api: Api<Custom> = match self.namespace {
            Some(namespace) => Api::namespaced_with(ear.at(self.client), namespace, &resource),
            None => Api::all_with(ear.at(self.client), &resource),
        };
        let (client, kind) = (self.client.clone(), resource.clone());
        let one = One {
            api: move |namespace: &str| Api::namespaced_with(client.clone(), namespace, &kind),
            is_watched: |_| true,
        };
        let what = move |before: Option<&Custom>, now: &Custom| match before {
            // Most of what happens to thousands of them is what we say of them ourselves.
            Some(before) if before.is_declared_like(now) => About::Statuses,
            _ => about,
        };
        self.mirror(
            (api, watcher::Config::default()),
            one,
            resource,
            (about, what),
            ear,
        )
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
        let client = self.client.clone();
        let one = One {
            api: move |namespace: &str| Api::namespaced(client.clone(), namespace),
            is_watched: |object: &K| {
                let (label, value) = names::MANAGED_BY;
                object.labels().get(label).is_some_and(|found| found == value)
            },
        };
        self.mirror((api, ours()), one, (), (about, move |_, _| about), ear)
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
        (api, config): (Api<K>, watcher::Config),
        one: One<K, impl Fn(&str) -> Api<K> + Send + Sync + 'static>,
        kind: K::DynamicType,
        (all, about): (About, impl Fn(Option<&K>, &K) -> About + Send + 'static),
        ear: Ear,
    ) -> Store<K>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Eq + Hash + Clone + Send + Sync,
    {
        let mut writer = Writer::new(kind.clone());
        let store = writer.as_reader();
        let changes = self.changes.clone();
        let events = watch(api, config.timeout(ROUND)).default_backoff();
        let events = cautious(events, Caution::new(store.clone(), kind.clone()), one);
        let known = store.clone();
        self.listen(events, ear, move |mut event| {
            if let Event::Apply(object) | Event::InitApply(object) = &mut event {
                object.managed_fields_mut().clear();
            }
            let about = match &event {
                Event::Apply(object) => {
                    let before = known.get(&ObjectRef::from_obj_with(object, kind.clone()));
                    about(before.as_deref(), object)
                }
                Event::Delete(object) => about(None, object),
                // What a list has anew, nobody says.
                _ => all,
            };
            writer.apply_watcher_event(&event);
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

/// How one object is asked for.
struct One<K, A> {
    /// Where, by namespace.
    api: A,
    /// It is among those that are watched.
    is_watched: fn(&K) -> bool,
}

/// Of what a watch tells, what is to be believed.
fn cautious<K>(
    events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
    caution: Caution<K>,
    one: One<K, impl Fn(&str) -> Api<K> + Send + Sync + 'static>,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let begin = (Box::pin(events), caution, one);
    let believed = stream::unfold(begin, async |(mut events, mut caution, one)| {
        let believed = match events.next().await? {
            Err(error) => vec![Err(error)],
            Ok(event) => {
                let events = match caution.judge(event) {
                    Verdict::Believed(events) => events,
                    Verdict::Ask(missing) => {
                        let mut answers = Vec::new();
                        for known in missing {
                            let asked = one.ask(known.as_ref()).await;
                            answers.push((known, asked));
                        }
                        caution.told(answers)
                    }
                };
                events.into_iter().map(Ok).collect()
            }
        };
        Some((stream::iter(believed), (events, caution, one)))
    });
    believed.flatten()
}

impl<K, A> One<K, A>
where
    K: Resource + Clone + Debug + DeserializeOwned,
    A: Fn(&str) -> Api<K>,
{
    /// What became of an object, as the server has it now, and not as it had it once.
    async fn ask(&self, known: &K) -> Asked<K> {
        let api = (self.api)(&known.namespace().unwrap_or_default());
        match tokio::time::timeout(PATIENCE, api.get_opt(&known.name_any())).await {
            Ok(Ok(Some(object))) if (self.is_watched)(&object) => Asked::There(object),
            Ok(Ok(_)) => Asked::Gone,
            Ok(Err(_)) | Err(_) => Asked::Unknown,
        }
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
