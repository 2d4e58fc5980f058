//! A fleet's custom resources, looked at again whenever one of them changes.

use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll, StreamExt as _};
use jiff::Timestamp;
use kube::api::DynamicObject;
use kube::core::ApiResource;
use kube::runtime::reflector::store::{Store, Writer};
use kube::runtime::watcher::{self, Event, watcher};
use kube::runtime::{WatchStreamExt as _, reflector};
use kube::{Api, Resource};
use skein_api::resources::{Broker, Migration, NodeRoute, Topic};
use skein_commands::Failure;
use skein_commands::drain::Seen;
use skein_commands::views::StatusView;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::keeper::Keeper;
use crate::objects::{Objects, plural, typed};
use crate::refusal::Tried;
use crate::status;

/// How often it is looked whether a controller acts: that none does changes no custom resource.
const PULSE: Duration = Duration::from_secs(5);
/// What changes at once is shown at once: one step of a controller writes many statuses.
const TOGETHER: Duration = Duration::from_millis(50);
/// A Migration that no controller has noticed for so long has none: longer than another one takes to lead.
const NOTICE: Duration = Duration::from_secs(20);

/// What came from a watch; of a failure, which resource could not be watched.
type Told = Result<(), (String, watcher::Error)>;

/// A fleet that is looked at again and again.
pub(crate) struct Watch {
    cluster: Cluster,
    stores: [(Store<DynamicObject>, ApiResource); 4],
    told: SelectAll<BoxStream<'static, Told>>,
    keeper: Keeper,
    /// When it is looked at next.
    pulse: Instant,
    begun: Instant,
    fresh: bool,
}

impl Watch {
    /// Begins to mirror a namespace. What may not be listed was found out before.
    pub(crate) async fn begin(cluster: &Cluster) -> Self {
        let mut told = SelectAll::new();
        let stores = [
            mirror::<Broker>(cluster, &mut told),
            mirror::<NodeRoute>(cluster, &mut told),
            mirror::<Topic>(cluster, &mut told),
            mirror::<Migration>(cluster, &mut told),
        ];
        Self {
            cluster: cluster.clone(),
            stores,
            told,
            keeper: Keeper::look(cluster).await,
            pulse: Instant::now() + PULSE,
            begun: Instant::now(),
            fresh: true,
        }
    }

    /// Resolves with what is there, first as it is, then each time that something changed, and at each pulse. May be given up.
    async fn next(&mut self) -> Result<Objects, Failure> {
        if !self.fresh {
            tokio::select! {
                told = self.told.next() => self.judge(told)?,
                () = tokio::time::sleep_until(self.pulse) => {}
            }
            let end = Instant::now() + TOGETHER;
            while let Ok(told) = tokio::time::timeout_at(end, self.told.next()).await {
                self.judge(told)?;
            }
        }
        while !self.is_ready() {
            let told = self.told.next().await;
            self.judge(told)?;
        }
        if Instant::now() >= self.pulse {
            self.keeper = Keeper::look(&self.cluster).await;
            self.pulse = Instant::now() + PULSE;
        }
        self.fresh = false;
        Ok(self.objects())
    }

    fn is_ready(&self) -> bool {
        use futures_util::FutureExt as _;
        let ready = |(store, _): &(Store<_>, _)| store.wait_until_ready().now_or_never().is_some();
        self.stores.iter().all(ready)
    }

    /// A connection that is lost is made again by itself; what is refused stays so.
    fn judge(&self, told: Option<Told>) -> Result<(), Failure> {
        match told {
            Some(Err((
                resource,
                watcher::Error::WatchStartFailed(error) | watcher::Error::InitialListFailed(error),
            ))) if matches!(&error, kube::Error::Api(status) if matches!(status.code, 401 | 403 | 404)) => {
                let tried = Tried {
                    verb: "watch",
                    resource: &resource,
                    namespace: Some(&self.cluster.namespace),
                };
                Err(tried.failure(&error))
            }
            Some(_) => Ok(()),
            None => Err(Failure::could_not("the watches of the cluster have ended")),
        }
    }

    fn objects(&self) -> Objects {
        let of = |index: usize| {
            let (store, resource) = &self.stores[index];
            let mut objects: Vec<DynamicObject> = store
                .state()
                .iter()
                .map(|object| typed(object.as_ref().clone(), resource))
                .collect();
            objects.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
            objects
        };
        Objects {
            brokers: of(0),
            routes: of(1),
            topics: of(2),
            migrations: of(3),
        }
    }

    /// For `status --watch`.
    pub(crate) async fn next_status(&mut self) -> Result<StatusView, Failure> {
        let objects = self.next().await?;
        let (namespace, keeper) = (&self.cluster.namespace, &self.keeper);
        let mut view = status::view(&objects, namespace, keeper, Timestamp::now());
        if view.running != Some(false) {
            // What is the same is not shown again because it is later.
            view.updated_at = latest(&objects).unwrap_or_default();
        }
        Ok(view)
    }

    /// For following a drain. A Migration of this name has to be taken notice of in time.
    pub(crate) async fn next_seen(&mut self, migration: &str) -> Result<Seen, Failure> {
        let objects = self.next().await?;
        let mut of_it = objects.migrations.iter();
        let is_noticed = of_it
            .find(|object| object.metadata.name.as_deref() == Some(migration))
            .is_none_or(|object| {
                let observed = object.data.pointer("/status/observedGeneration");
                observed.and_then(serde_json::Value::as_i64) == object.metadata.generation
            });
        let is_late = !is_noticed && self.begun.elapsed() >= NOTICE;
        Ok(Seen {
            records: objects.records(),
            drains: objects.drains(),
            acts: !matches!(self.keeper, Keeper::Nobody(_)) && !is_late,
        })
    }
}

/// The last time that a condition changed.
fn latest(objects: &Objects) -> Option<String> {
    let all = [
        &objects.brokers,
        &objects.routes,
        &objects.topics,
        &objects.migrations,
    ];
    let conditions = all.into_iter().flatten().filter_map(|object| {
        let conditions = object.data.pointer("/status/conditions")?.as_array()?;
        conditions
            .iter()
            .filter_map(|condition| condition["lastTransitionTime"].as_str())
            .max()
            .map(str::to_owned)
    });
    conditions.max()
}

fn mirror<K: Resource<DynamicType = ()>>(
    cluster: &Cluster,
    told: &mut SelectAll<BoxStream<'static, Told>>,
) -> (Store<DynamicObject>, ApiResource) {
    let resource = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &resource);
    let writer = Writer::new(resource.clone());
    let store = writer.as_reader();
    let name = plural::<K>();
    let events = reflector(writer, watcher(api, watcher::Config::default()).default_backoff());
    let events = events.filter_map(move |event| {
        let event = match event {
            // The first reading is whole with this one.
            Ok(Event::Init | Event::InitApply(_)) => None,
            Ok(_) => Some(Ok(())),
            Err(error) => Some(Err((name.clone(), error))),
        };
        std::future::ready(event)
    });
    told.push(events.boxed());
    (store, resource)
}
