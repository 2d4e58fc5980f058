//! `drain`, `undrain` and `approve`: Migrations, made, changed and followed.

use std::collections::BTreeMap;
use std::process::ExitCode;

use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use skein_adapter::approvals::Step;
use skein_adapter::moves::{Drain as Wished, DrainWish, Standing, approvable};
use skein_api::fleet::{Broker, Fleet};
use skein_api::name::BrokerName;
use skein_api::resources::{Migration, Period};
use skein_commands::drain::{self as shown, Follow, Goal};
use skein_commands::{Failure, output};
use skein_controller::names;
use skein_engine::directive::BrokerPhase;

use crate::arguments::{Approve, Drain, Undrain};
use crate::cluster::Cluster;
use crate::keeper::Keeper;
use crate::objects::{Objects, phase, plural};
use crate::refusal::Tried;
use crate::voice::VOICE;
use crate::watching::Watch;

/// What the Migration is called by which this program has a broker drained.
fn name_of(broker: &BrokerName) -> String {
    format!("drain-{broker}")
}

/// A fleet whose clients are to move.
struct Scene {
    cluster: Cluster,
    objects: Objects,
    fleet: Fleet,
    phases: BTreeMap<BrokerName, BrokerPhase>,
    drains: Vec<Wished>,
}

impl Scene {
    async fn read(cluster: &Cluster, broker: &BrokerName) -> Result<Self, Failure> {
        let objects = Objects::read(cluster).await?;
        let phases = objects.broker_statuses().into_iter();
        let scene = Self {
            cluster: cluster.clone(),
            fleet: (*objects.reading().fleet).clone(),
            phases: phases.map(|(name, status)| (name, phase(status.phase))).collect(),
            drains: objects.drains(),
            objects,
        };
        scene.check(broker)?;
        Ok(scene)
    }

    /// There is such a broker, and Skein configures it.
    fn check(&self, broker: &BrokerName) -> Result<(), Failure> {
        let declared = self.fleet.brokers.get(broker);
        if declared.is_some_and(Broker::is_controlled) {
            return Ok(());
        }
        let brokers = self.fleet.brokers.iter();
        let known: Vec<&str> = brokers
            .filter(|(_, broker)| broker.is_controlled())
            .map(|(name, _)| name.as_str())
            .collect();
        let namespace = &self.cluster.namespace;
        Err(Failure::bad_input(format!(
            "there is no broker {broker:?} in namespace {namespace} that Skein runs; there are: {}",
            known.join(", "),
            broker = broker.as_str()
        )))
    }

    /// The drain of a broker that counts, if one is wished.
    fn wished(&self, broker: &BrokerName) -> Option<&str> {
        let wished = self.drains.iter().find(|drain| drain.broker == *broker)?;
        wished.declared_by.as_deref()
    }

    fn migrations(&self) -> Api<Migration> {
        Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace)
    }

    fn refused(&self, verb: &'static str, error: &kube::Error) -> Failure {
        let resource = plural::<Migration>();
        let tried = Tried {
            verb,
            resource: &resource,
            namespace: Some(&self.cluster.namespace),
        };
        tried.failure(error)
    }

    /// Refuses a drain that cannot be meant.
    fn judge(&self, broker: &BrokerName, wish: &DrainWish) -> Result<(), Failure> {
        if let Some(other) = self.wished(broker).filter(|name| **name != name_of(broker)) {
            return Err((VOICE.overruled)(broker, other));
        }
        let standing = Standing {
            fleet: &self.fleet,
            phases: &self.phases,
            drains: &self.drains,
        };
        if let Some(to) = &wish.to
            && let Some(why) = standing.not_there(broker, to)
        {
            return Err(Failure::bad_input(format!(
                "Broker/{broker} --to {to}: it {why}; name one of {}, or leave --to out for the planned substitute",
                standing.targets(broker).join(", ")
            )));
        }
        if standing.is_out(broker) {
            return Err(Failure::bad_input(format!(
                "Broker/{broker}: it is down, so its clients cannot be led away in order; wait until it is back (see what keeps \
                 Pod/{pod} with `kubectl describe pod {pod}`), or see with `kubectl skein status` who serves them",
                pod = names::pod(broker)
            )));
        }
        Ok(())
    }

    /// Has a broker drained as wished. Of an earlier drain that is over nothing is left.
    async fn wish(&mut self, broker: &BrokerName, wish: &DrainWish) -> Result<(), Failure> {
        let (api, name) = (self.migrations(), name_of(broker));
        let resources = self.objects.migrations();
        let known = resources.iter().find(|resource| resource.name_any() == name);
        if let Some(known) = known {
            let records = self.objects.records();
            let is_over = records
                .iter()
                .any(|record| record.migration.name == name && record.is_over());
            if !is_over {
                // Null takes a field away.
                let spec = json!({"to": wish.to, "abandon": wish.abandon, "end": false});
                return self.patch(&name, &spec).await;
            }
            let this = Preconditions {
                uid: known.uid(),
                resource_version: None,
            };
            let deleted = api
                .delete(&name, &DeleteParams::default().preconditions(this))
                .await;
            match deleted {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(self.refused("delete", &error)),
            }
            let is_other = |object: &kube::api::DynamicObject| object.metadata.name.as_deref() != Some(&name);
            self.objects.migrations.retain(is_other);
        }
        let migration = made(broker, wish);
        let migration: Migration = serde_json::from_value(migration).map_err(|error| {
            Failure::could_not(format!("Migration/{name} cannot be written down: {error}"))
        })?;
        let created = api.create(&PostParams::default(), &migration).await;
        created.map(drop).map_err(|error| self.refused("create", &error))
    }

    async fn patch(&self, name: &str, spec: &Value) -> Result<(), Failure> {
        let patch = Patch::Merge(json!({"spec": spec}));
        let patched = self
            .migrations()
            .patch(name, &PatchParams::default(), &patch)
            .await;
        patched.map(drop).map_err(|error| self.refused("patch", &error))
    }
}

fn made(broker: &BrokerName, wish: &DrainWish) -> Value {
    let mut spec = json!({"broker": broker, "reason": "Drain"});
    if let Some(to) = &wish.to {
        spec["to"] = json!(to);
    }
    if wish.abandon {
        spec["abandon"] = json!(true);
    }
    json!({
        "apiVersion": "mqtt.skein.dev/v1alpha1",
        "kind": "Migration",
        "metadata": {"name": name_of(broker), "labels": {names::BROKER: broker}},
        "spec": spec,
    })
}

pub(crate) async fn drain(cluster: &Cluster, arguments: &Drain) -> Result<ExitCode, Failure> {
    let broker = &arguments.broker;
    let wish = DrainWish {
        to: arguments.to.clone(),
        abandon: arguments.abandon,
    };
    let mut scene = Scene::read(cluster, broker).await?;
    scene.judge(broker, &wish)?;
    if let Some(lack) = Keeper::look(cluster).await.lack(cluster) {
        return Err(Failure::could_not(format!(
            "Broker/{broker}: {lack}; until one does, nobody can lead clients anywhere, and no drain is asked for"
        )));
    }
    scene.wish(broker, &wish).await?;
    if arguments.waiting.no_wait {
        return shown::asked(broker, &VOICE);
    }
    // What was over is deleted by now; what is under way may be told to go on otherwise.
    let mut follow = Follow::new(&scene.objects.records(), broker, Goal::Drained(wish));
    let mut watch = Watch::begin(cluster).await;
    let timeout = arguments.waiting.timeout.map(Period::get);
    let name = name_of(broker);
    let ended = follow
        .until_its_end(timeout, async || watch.next_seen(&name).await)
        .await?;
    shown::drained(broker, ended, arguments.output.format, &VOICE)
}

pub(crate) async fn undrain(cluster: &Cluster, arguments: &Undrain) -> Result<ExitCode, Failure> {
    let broker = &arguments.broker;
    let scene = Scene::read(cluster, broker).await?;
    let mut follow = Follow::new(&scene.objects.records(), broker, Goal::Undrained);
    let name = name_of(broker);
    match scene.wished(broker) {
        Some(wished) if wished == name => {
            // Whether what waits on the way back is given up is another question, which `approve --abandon` answers.
            let spec = json!({"end": true, "abandon": false});
            scene.patch(&name, &spec).await?;
        }
        Some(other) => {
            return Err(Failure::bad_input(format!(
                "Broker/{broker}: Migration/{other} says whether it is drained, and goes before this command; set its spec.end to \
                 true, or delete it: `kubectl delete migration {other}`"
            )));
        }
        None if !follow.is_under_way() => return shown::not_drained(broker, arguments.output.format),
        None => {}
    }
    if let Some(lack) = Keeper::look(cluster).await.lack(cluster) {
        return Err(Failure::could_not(format!(
            "Broker/{broker}: the drain is called off, and its clients go back to it once a controller acts again: {lack}"
        )));
    }
    if arguments.waiting.no_wait {
        return shown::taken_back(broker, &VOICE);
    }
    let mut watch = Watch::begin(cluster).await;
    let timeout = arguments.waiting.timeout.map(Period::get);
    let ended = follow
        .until_its_end(timeout, async || watch.next_seen(&name).await)
        .await?;
    shown::undrained(broker, ended, arguments.output.format, &VOICE)
}

pub(crate) async fn approve(cluster: &Cluster, arguments: &Approve) -> Result<ExitCode, Failure> {
    let broker = &arguments.broker;
    let scene = Scene::read(cluster, broker).await?;
    let records = scene.objects.records();
    let mut newest = records.iter().rev().map(|record| &record.migration);
    let newest = newest.find(|migration| migration.broker == *broker);
    let failback = scene.fleet.brokers[broker].failover.failback;
    let phase = scene.phases.get(broker).copied().unwrap_or(BrokerPhase::Pending);
    let approval = approvable(phase, newest, failback, arguments.abandon).map_err(|why| {
        let why = why.map(|why| format!(": {why}")).unwrap_or_default();
        Failure::bad_input(format!(
            "Broker/{broker}: nothing waits for approval there{why}; `kubectl skein status` shows what does, as a migration in \
             phase Pending or a broker in phase Returning"
        ))
    })?;
    let spec = match approval.step {
        Step::Move | Step::TakeBack => json!({"approved": true}),
        Step::Abandon => json!({"abandon": true}),
    };
    scene.patch(&approval.migration, &spec).await?;
    if let Some(lack) = Keeper::look(cluster).await.lack(cluster) {
        output::tell(&format!("{lack}; it is heard of once one does"));
    }
    shown::approved(broker, &approval, &VOICE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_a_migration_that_says_no_more_than_was_asked() {
        let broker = BrokerName::new("i").unwrap();
        let plain = made(&broker, &DrainWish::default());
        assert_eq!(plain["metadata"]["name"], "drain-i");
        assert_eq!(plain["spec"], json!({"broker": "i", "reason": "Drain"}));
        let wish = DrainWish {
            to: Some(BrokerName::new("i2").unwrap()),
            abandon: true,
        };
        let full = made(&broker, &wish);
        assert_eq!(
            full["spec"],
            json!({"broker": "i", "reason": "Drain", "to": "i2", "abandon": true})
        );
        serde_json::from_value::<Migration>(full).unwrap();
    }
}
