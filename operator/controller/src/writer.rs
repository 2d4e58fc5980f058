//! What is written to the API server: only what changed, one write of an object at a time, and again with growing pauses where it
//! is refused. What somebody else changed or deleted is written again. Knows no brokers.
//!
//! Everything is written by server-side apply, so a write may be repeated, and what others say of an object stays. An object of
//! a name that we want and that somebody else made is left alone, and said.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use kube::core::ApiResource;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::custom::Text;
use crate::metrics::METRICS;
use crate::names;
use crate::objects::Wanted;

#[cfg(test)]
mod tests;
mod version;

pub(crate) use version::Version;

/// Writes that are under way at a time, of one fleet.
const AT_ONCE: usize = 16;
/// Of statuses, so many more.
const SPARED: usize = 2;
/// A write that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
const SHORTEST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Who changes what is ours again and again is answered more and more seldom, until they have been quiet for so long.
const QUIET: Duration = Duration::from_mins(1);

/// Which part of which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its kind, as in `Secret`.
    pub(crate) kind: String,
    /// Its name.
    pub(crate) name: String,
    /// Its status, and not the rest of it.
    pub(crate) status: bool,
}

impl Key {
    /// Of an object but for its status.
    #[must_use]
    pub(crate) fn of(kind: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            status: false,
        }
    }
}

/// A write came to an end.
#[derive(Debug)]
pub(crate) struct Done {
    key: Key,
    wish: Arc<Wish>,
    result: Result<Option<Version>, Refusal>,
}

/// What came of a write.
#[derive(Debug)]
pub(crate) enum End {
    /// It is as it is wanted, or was.
    Written,
    /// It will be tried again, and is no trouble yet.
    Again,
    /// It was refused again.
    Refused(Refusal),
}

/// Why an object is not as it is wanted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Somebody else made it.
    #[error(
        "there is a {kind} {name} already that is not Skein's: rename or delete it, or give the broker another name"
    )]
    Foreign {
        /// Of what kind.
        kind: String,
        /// Its name.
        name: String,
    },
    /// The API server does not take it.
    #[error("{kind} {name} cannot be written: {source}")]
    Api {
        /// Of what kind.
        kind: String,
        /// Its name.
        name: String,
        /// What the server says.
        source: Box<kube::Error>,
    },
    /// The API server does not answer.
    #[error("{kind} {name} cannot be written: the API server gave no answer within {PATIENCE:?}")]
    NoAnswer {
        /// Of what kind.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl Refusal {
    /// In a word.
    #[must_use]
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Foreign { .. } => "foreign",
            Self::Api { .. } => "refused",
            Self::NoAnswer { .. } => "unanswered",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Wish {
    /// As this; whoever made it before. As text: there may be thousands.
    Be(ApiResource, Text),
    /// Gone.
    Gone(ApiResource),
    /// Not this one any more, which is of this uid: whoever keeps it there makes another.
    Replaced(ApiResource, String),
    /// Without the finalizer that is ours, which lets it go if it is being deleted.
    Free(ApiResource),
}

impl Wish {
    fn be(wanted: Wanted) -> Self {
        Self::Be(wanted.resource, Text::from(&wanted.body))
    }
}

#[derive(Debug, Default)]
struct Slot {
    /// As it was written last.
    written: Option<Arc<Wish>>,
    under_way: Option<Arc<Wish>>,
    next: Option<Arc<Wish>>,
    failures: u32,
    again: Option<Instant>,
    /// What our last write made of it, and the newest that was seen.
    made: Option<Version>,
    seen: Option<Version>,
    /// When it was last written again because of somebody else, and how often in a row.
    repaired: Option<Instant>,
    repairs: u32,
}

/// Which writes go first, where many wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    /// What brokers run by, who serves, and how a move goes on, by which another life takes it up.
    Urgent,
    /// All else that is.
    Objects,
    /// What is said of what is declared: there may be ten thousand.
    Statuses,
}

impl Lane {
    fn of(key: &Key) -> Self {
        match (key.kind.as_str(), key.status) {
            ("Secret" | "EndpointSlice" | "Migration", _) => Self::Urgent,
            (_, false) => Self::Objects,
            (_, true) => Self::Statuses,
        }
    }
}

/// Writes that wait for their turn. What of them is wanted may still change.
#[derive(Debug, Default)]
struct Waiting {
    keys: BTreeSet<Key>,
    lanes: BTreeMap<Lane, VecDeque<Key>>,
}

impl Waiting {
    fn push(&mut self, key: &Key) {
        if self.keys.insert(key.clone()) {
            let lane = self.lanes.entry(Lane::of(key)).or_default();
            lane.push_back(key.clone());
        }
    }

    /// The next one: of the first lane in which one waits, if there is a turn for it.
    fn pop(&mut self, has_turn: impl Fn(Lane) -> bool) -> Option<Key> {
        let mut lanes = self.lanes.iter_mut();
        let (_, lane) = lanes.find(|(lane, keys)| !keys.is_empty() && has_turn(**lane))?;
        let key = lane.pop_front()?;
        self.keys.remove(&key);
        Some(key)
    }
}

/// The objects of a namespace, as far as they are ours.
pub(crate) struct Writer {
    client: Client,
    namespace: String,
    slots: BTreeMap<Key, Slot>,
    waiting: Waiting,
    /// How many are under way, by lane.
    running: BTreeMap<Lane, usize>,
    /// What is to be tried again, and when.
    due: BTreeSet<(Instant, Key)>,
    done: mpsc::UnboundedSender<Done>,
}

impl Writer {
    /// And where it is told that a write ended, which is to be given to [`Self::heard`].
    #[must_use]
    pub(crate) fn new(client: Client, namespace: &str) -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (done, ended) = mpsc::unbounded_channel();
        let writer = Self {
            client,
            namespace: namespace.to_owned(),
            slots: BTreeMap::new(),
            waiting: Waiting::default(),
            running: BTreeMap::new(),
            due: BTreeSet::new(),
            done,
        };
        (writer, ended)
    }

    /// Has an object be so; nothing happens if it is already.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        let key = Key::of(&wanted.resource.kind, &wanted.name);
        self.wish(&key, Wish::be(wanted));
    }

    /// Has an object's status be so. Once it is, that is forgotten: who wants it compares it with what is there.
    pub(crate) fn want_status(&mut self, wanted: Wanted) {
        let key = Key {
            status: true,
            ..Key::of(&wanted.resource.kind, &wanted.name)
        };
        self.wish(&key, Wish::be(wanted));
    }

    /// Has an object be gone.
    pub(crate) fn want_gone(&mut self, resource: ApiResource, name: &str) {
        self.wish(&Key::of(&resource.kind, name), Wish::Gone(resource));
    }

    /// Has one object be gone, so that whoever keeps one of its name makes another.
    pub(crate) fn want_replaced(&mut self, resource: ApiResource, name: &str, uid: String) {
        self.wish(&Key::of(&resource.kind, name), Wish::Replaced(resource, uid));
    }

    /// Has our finalizer be gone from an object.
    pub(crate) fn want_free(&mut self, resource: ApiResource, name: &str) {
        self.wish(&Key::of(&resource.kind, name), Wish::Free(resource));
    }

    /// All that was ever wanted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.slots.keys()
    }

    /// An object was seen like this on the server, or gone: it is written again if somebody else did that.
    pub(crate) fn saw(&mut self, key: &Key, version: Option<Version>) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        match version {
            Some(version) => {
                slot.seen = Some(version);
                self.repair(key);
            }
            None if matches!(slot.written.as_deref(), Some(Wish::Be(..))) => {
                slot.seen = None;
                slot.made = None;
                self.write_again(key);
            }
            None => {}
        }
    }

    /// Writes again what is not as our last write left it.
    fn repair(&mut self, key: &Key) {
        let is_foreign = self.slots.get(key).is_some_and(|slot| {
            matches!(slot.written.as_deref(), Some(Wish::Be(..)))
                && match (&slot.made, &slot.seen) {
                    (Some(made), Some(seen)) => seen.is_changed_since(made),
                    _ => false,
                }
        });
        if is_foreign {
            self.write_again(key);
        }
    }

    fn write_again(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.next.is_some() || slot.under_way.is_some() {
            // What is wanted is written anyway.
            return;
        }
        let now = Instant::now();
        if slot.repaired.is_none_or(|last| last + QUIET <= now) {
            slot.repairs = 0;
        }
        slot.next = slot.written.take();
        slot.repaired = Some(now);
        slot.repairs += 1;
        let repairs = slot.repairs;
        if repairs == 1 {
            self.begin(key);
        } else {
            self.postpone(key, now + pause(repairs - 1));
        }
    }

    /// Something that is wanted of it is not written yet.
    #[must_use]
    pub(crate) fn is_pending(&self, key: &Key) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.next.is_some() || slot.under_way.is_some())
    }

    /// All that was wanted of it is written.
    #[must_use]
    pub(crate) fn is_written(&self, key: &Key) -> bool {
        let slot = self.slots.get(key);
        slot.is_some_and(|slot| slot.written.is_some()) && !self.is_pending(key)
    }

    /// Takes the end of a write; gives which object it was, and what came of it.
    pub(crate) fn heard(&mut self, done: Done) -> (Key, End) {
        let Done { key, wish, result } = done;
        let running = self.running.entry(Lane::of(&key)).or_default();
        *running = running.saturating_sub(1);
        let heard = self.take_in(key, wish, result);
        self.go_on();
        heard
    }

    fn take_in(&mut self, key: Key, wish: Arc<Wish>, result: Result<Option<Version>, Refusal>) -> (Key, End) {
        let Some(slot) = self.slots.get_mut(&key) else {
            return (key, End::Again);
        };
        slot.under_way = None;
        if key.status && result.is_ok() && slot.next.is_none() {
            self.slots.remove(&key);
            return (key, End::Written);
        }
        match result {
            Ok(version) => {
                slot.written = Some(wish);
                slot.made = version;
                slot.failures = 0;
                self.begin(&key);
                self.repair(&key);
                (key, End::Written)
            }
            Err(refusal) => {
                slot.next.get_or_insert(wish);
                let rest = pause(slot.failures);
                slot.failures += 1;
                // At first it is no trouble: what it refers to may be on its way.
                let end = if slot.failures > 2 {
                    End::Refused(refusal)
                } else {
                    End::Again
                };
                self.postpone(&key, Instant::now() + rest);
                (key, end)
            }
        }
    }

    /// When something is to be tried again.
    #[must_use]
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Tries again what is due.
    pub(crate) fn try_again(&mut self, now: Instant) {
        while let Some((at, key)) = self.due.first().cloned().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key.clone()));
            self.begin(&key);
        }
    }

    /// Has it be tried again then.
    fn postpone(&mut self, key: &Key, until: Instant) {
        if let Some(slot) = self.slots.get_mut(key) {
            let before = slot.again.replace(until);
            self.due.extend([(until, key.clone())]);
            self.due_no_more(before.filter(|before| *before != until), key);
        }
    }

    fn due_no_more(&mut self, at: Option<Instant>, key: &Key) {
        if let Some(at) = at {
            self.due.remove(&(at, key.clone()));
        }
    }

    fn wish(&mut self, key: &Key, wish: Wish) {
        let slot = self.slots.entry(key.clone()).or_default();
        let newest = slot
            .next
            .as_ref()
            .or(slot.under_way.as_ref())
            .or(slot.written.as_ref());
        if newest.is_some_and(|newest| **newest == wish) {
            return;
        }
        slot.next = Some(Arc::new(wish));
        slot.failures = 0;
        self.begin(key);
    }

    /// Has what is next have its turn, unless something is under way.
    fn begin(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        if slot.under_way.is_some() {
            return;
        }
        let again = slot.again.take();
        let has_next = slot.next.is_some();
        self.due_no_more(again, key);
        if has_next {
            self.waiting.push(key);
            self.go_on();
        }
    }

    /// Gives turns to those that wait.
    fn go_on(&mut self) {
        loop {
            let all: usize = self.running.values().sum();
            let statuses = self.running.get(&Lane::Statuses).copied().unwrap_or_default();
            // Who looks on sees something happen even if there is much to do.
            let is_spared = statuses < SPARED && all < AT_ONCE + SPARED;
            let has_turn = |lane| all < AT_ONCE || (lane == Lane::Statuses && is_spared);
            let Some(key) = self.waiting.pop(has_turn) else {
                return;
            };
            self.start(&key);
        }
    }

    fn start(&mut self, key: &Key) {
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let Some(wish) = slot.next.take() else { return };
        if slot.written.as_ref() == Some(&wish) {
            return;
        }
        slot.under_way = Some(wish.clone());
        *self.running.entry(Lane::of(key)).or_default() += 1;
        let is_first = slot.written.is_none();
        let (client, namespace) = (self.client.clone(), self.namespace.clone());
        let (done, key) = (self.done.clone(), key.clone());
        tokio::spawn(async move {
            let write = write(client, &namespace, &key, &wish, is_first);
            let result = match tokio::time::timeout(PATIENCE, write).await {
                Ok(result) => result,
                Err(_) => Err(Refusal::NoAnswer {
                    kind: key.kind.clone(),
                    name: key.name.clone(),
                }),
            };
            METRICS.wrote(&key.kind, result.as_ref().err().map_or("ok", Refusal::word));
            // Nobody listens only when the fleet has ended.
            let _ = done.send(Done { key, wish, result });
        });
    }
}

/// Before the next try, after so many that came to nothing.
fn pause(tries: u32) -> Duration {
    let pause = SHORTEST_PAUSE * 2_u32.saturating_pow(tries.min(10));
    pause.min(LONGEST_PAUSE)
}

/// Gives what it made of the object.
async fn write(
    client: Client,
    namespace: &str,
    key: &Key,
    wish: &Wish,
    is_first: bool,
) -> Result<Option<Version>, Refusal> {
    let failed = |source| Refusal::Api {
        kind: key.kind.clone(),
        name: key.name.clone(),
        source: Box::new(source),
    };
    match wish {
        Wish::Gone(resource) => {
            let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, resource);
            let there = api.get_metadata_opt(&key.name).await.map_err(failed)?;
            let Some(there) = there.filter(|there| is_labelled(there.labels())) else {
                return Ok(None);
            };
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: there.uid(),
                resource_version: None,
            });
            match api.delete(&key.name, &parameters).await {
                Err(error) if !is_not_found(&error) => Err(failed(error)),
                _ => Ok(None),
            }
        }
        Wish::Replaced(resource, uid) => {
            let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, resource);
            let parameters = DeleteParams::background().preconditions(Preconditions {
                uid: Some(uid.clone()),
                resource_version: None,
            });
            match api.delete(&key.name, &parameters).await {
                Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(failed(error)),
                _ => Ok(None),
            }
        }
        Wish::Free(resource) => free(client, namespace, resource, &key.name)
            .await
            .map(|()| None)
            .map_err(failed),
        Wish::Be(resource, body) => {
            let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, resource);
            let patch = Patch::Apply(body);
            if key.status {
                let parameters = PatchParams::apply(names::STATUS_MANAGER).force();
                let patched = api.patch_status(&key.name, &parameters, &patch).await;
                return patched.map(|_| None).map_err(failed);
            }
            if is_first
                && let Some(there) = api.get_metadata_opt(&key.name).await.map_err(failed)?
                && !is_ours(there.labels(), &body.parse().unwrap_or_default())
            {
                return Err(Refusal::Foreign {
                    kind: key.kind.clone(),
                    name: key.name.clone(),
                });
            }
            let parameters = PatchParams::apply(names::MANAGER).force();
            let patched = api.patch_metadata(&key.name, &parameters, &patch).await;
            if patched.as_ref().is_err_and(is_ending) {
                return Ok(None);
            }
            patched
                .map(|there| Some(Version::of(&there.metadata)))
                .map_err(failed)
        }
    }
}

/// Takes our finalizer from an object.
pub(crate) async fn free(
    client: Client,
    namespace: &str,
    resource: &ApiResource,
    name: &str,
) -> Result<(), kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(client, namespace, resource);
    let there = api.get_metadata_opt(name).await?;
    let is_ours = |finalizer: &String| finalizer == names::FINALIZER;
    let Some(there) = there.filter(|there| there.finalizers().iter().any(is_ours)) else {
        return Ok(());
    };
    let left: Vec<&String> = there.finalizers().iter().filter(|one| !is_ours(one)).collect();
    // Of what was read, and of nothing that came in between.
    let patch = json!({"metadata": {
        "finalizers": left, "resourceVersion": there.resource_version(), "uid": there.uid(),
    }});
    let parameters = PatchParams {
        field_manager: Some(names::MANAGER.to_owned()),
        ..PatchParams::default()
    };
    match api.patch(name, &parameters, &Patch::Merge(patch)).await {
        Err(error) if !is_not_found(&error) => Err(error),
        _ => Ok(()),
    }
}

/// We made it; or it is no object of ours to begin with, but one that a person makes.
fn is_ours(labels: &BTreeMap<String, String>, body: &Value) -> bool {
    let (label, ours) = names::MANAGED_BY;
    body["metadata"]["labels"][label] != ours || is_labelled(labels)
}

fn is_labelled(labels: &BTreeMap<String, String>) -> bool {
    let (label, ours) = names::MANAGED_BY;
    labels.get(label).is_some_and(|value| value == ours)
}

fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Nothing can be made where everything goes: that is as it should be.
pub(crate) fn is_ending(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else {
        return false;
    };
    let mut causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403 && causes.any(|cause| cause.reason == "NamespaceTerminating")
}
