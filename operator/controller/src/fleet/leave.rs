//! Brokers that are deleted, kept until nobody gets anything from them any more.
//!
//! A finalizer holds the Broker, and with it all that it owns, until the engine has led the links around it and taken what waited
//! there: it says when (`Directive::Retire`), and does so soon where the broker cannot be asked. Where the whole namespace is
//! deleted, there is nobody to lead links around anything and nowhere to note it, so all go at once.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::ApiResource;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use skein_api::name::BrokerName;
use skein_api::resources::Broker;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Fleet;
use crate::custom::Custom;
use crate::declared::Declaration;
use crate::names;
use crate::objects::Wanted;
use crate::writer::free;

/// Namespaces are asked so often whether they are being deleted, while there are Brokers that are.
const ASK: Duration = Duration::from_secs(2);

/// Where a fleet hears whether its namespace is being deleted.
pub(super) struct Ending {
    asked: Option<Instant>,
    answer: mpsc::UnboundedSender<Result<bool, kube::Error>>,
}

impl Ending {
    /// And where the answers come.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Result<bool, kube::Error>>) {
        let (answer, answers) = mpsc::unbounded_channel();
        (Self { asked: None, answer }, answers)
    }
}

impl Fleet {
    /// Has each broker that runs be held, before anything waits there.
    pub(super) fn hold(&mut self) {
        let hosted: Vec<Wanted> = self
            .hosted
            .iter()
            .map(|(name, declaration)| self.held(name, declaration))
            .collect();
        for wanted in hosted {
            self.writer.want(wanted);
        }
    }

    /// The uid, so that a Broker that is gone already is not made anew by this.
    fn held(&self, name: &BrokerName, declaration: &Declaration) -> Wanted {
        let metadata = json!({"uid": declaration.uid, "finalizers": [names::FINALIZER]});
        let body = json!({"metadata": metadata});
        Wanted::part::<Broker>(&self.setting.namespace, name.as_str(), body)
    }

    /// Takes note of who is being deleted. Those that the engine has nothing to do with may go at once.
    pub(super) fn take_leave(&mut self, leaving: BTreeMap<BrokerName, Declaration>) {
        self.leaving = leaving;
        self.leaving
            .retain(|_, declaration| !self.released.contains(&declaration.uid));
        let is_unknown = |name: &&BrokerName| {
            let given = self.given.get(*name);
            given.is_none_or(|given| given.kept.is_empty())
        };
        let unknown: Vec<BrokerName> = self.leaving.keys().filter(is_unknown).cloned().collect();
        for name in unknown {
            self.release(&name);
        }
        self.ask_whether_all_ends();
    }

    /// Asks whether the namespace is being deleted, if Brokers are.
    pub(super) fn ask_whether_all_ends(&mut self) {
        let now = Instant::now();
        if self.leaving.is_empty() || self.ending.asked.is_some_and(|asked| now < asked + ASK) {
            return;
        }
        self.ending.asked = Some(now);
        let answer = self.ending.answer.clone();
        let namespaces: Api<Namespace> = Api::all(self.setting.client.clone());
        let name = self.setting.namespace.clone();
        tokio::spawn(async move {
            let found = namespaces.get_metadata_opt(&name).await;
            let is_ending = |found: Option<_>| {
                found.is_none_or(|found: kube::core::PartialObjectMeta<_>| {
                    found.metadata.deletion_timestamp.is_some()
                })
            };
            // A fleet that has gone needs no answer.
            let _ = answer.send(found.map(is_ending));
        });
    }

    /// The namespace is being deleted, or is not.
    pub(super) fn all_ends(&mut self, answer: Result<bool, kube::Error>) {
        match answer {
            Ok(false) => {}
            Ok(true) => {
                let leaving: Vec<BrokerName> = self.leaving.keys().cloned().collect();
                for name in leaving {
                    self.release(&name);
                }
            }
            Err(error) => self.tell(&format!(
                "cannot ask whether the namespace is being deleted: {error}"
            )),
        }
    }

    /// Lets a deleted broker go; its objects go with it.
    pub(super) fn release(&mut self, name: &BrokerName) {
        if let Some(declaration) = self.leaving.remove(name) {
            self.released.insert(declaration.uid);
            self.writer
                .want_free(ApiResource::erase::<Broker>(&()), name.as_str());
        }
    }

    /// Whether a person has the objects of this broker left as they are.
    pub(super) fn is_paused(&self, name: &BrokerName) -> bool {
        self.hosted
            .get(name)
            .is_some_and(|declaration| declaration.is_paused)
    }
}

/// Lets all go that are being deleted, where all of a namespace is: nothing can be made there any more, and nothing kept.
pub(super) async fn let_go(setting: &super::Setting) {
    let [brokers, ..] = &setting.watched.declared;
    let in_it = |object: &Custom| object.namespace().as_ref() == Some(&setting.namespace) && is_held(object);
    for object in brokers.state().iter().filter(|object| in_it(object)) {
        let resource = ApiResource::erase::<Broker>(&());
        let name = object.name_any();
        if let Err(error) = free(setting.client.clone(), &setting.namespace, &resource, &name).await {
            crate::say(&format!(
                "{}: Broker/{name} cannot be let go: {error}; it is tried again",
                setting.namespace
            ));
        }
    }
}

/// Whether an object says that its reconciliation is paused.
pub(crate) fn pauses(object: &impl kube::ResourceExt) -> bool {
    object
        .annotations()
        .get(names::PAUSED)
        .is_some_and(|value| value == "true")
}

/// Whether it is being deleted, and waits for us.
pub(crate) fn is_held(object: &impl kube::ResourceExt) -> bool {
    object.meta().deletion_timestamp.is_some()
        && object.finalizers().iter().any(|one| one == names::FINALIZER)
}
