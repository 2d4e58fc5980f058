//! Where brokers are, what their pods say, and who is reached at their addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Service};
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use serde_json::json;
use skein_adapter::{Ground as _, translate};
use skein_agent::{BrokerDirectory, ProcessState, Report};
use skein_api::fleet::{External, Hosting};
use skein_api::name::BrokerName;
use skein_engine::event::{Epoch, Event, Placement, Process};
use tokio::time::Instant;

use super::{DATA, Fleet, GATHER, REST};
use crate::names;
use crate::objects::{self, Serving};

/// Names who serves a broker's clients, on the slice that leads to them.
pub(super) const SERVED_BY: &str = "mqtt.skein.dev/served-by";

/// The port of clients and bridges, of Services and of pods.
const PORT: u16 = 1883;

/// Names who reports, beside the report.
const SPEAKER: &str = "pod";

/// What a pod, or an agent elsewhere, said last, and which.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// The pod that is there.
    pod: Option<String>,
    /// Its address.
    ip: Option<IpAddr>,
    /// What was taken in of what it said.
    report: Option<Report>,
    text: Option<String>,
}

impl Heard {
    /// Its pod is there.
    pub(super) fn has_pod(&self) -> bool {
        self.pod.is_some()
    }

    /// Its broker is up and can be asked.
    pub(super) fn runs(&self) -> bool {
        let process = self.report.as_ref().map(|report| report.process);
        self.has_pod() && matches!(process, Some(ProcessState::Running { .. }))
    }
}

impl Fleet {
    /// What of a mirror is in this namespace.
    pub(super) fn here<K>(&self, store: &Store<K>) -> Vec<Arc<K>>
    where
        K: Resource + Clone + 'static,
        K::DynamicType: Eq + std::hash::Hash + Clone,
    {
        store.state_filter(|object| object.meta().namespace.as_deref() == Some(&self.setting.namespace))
    }

    /// A broker is up and can be asked.
    pub(super) fn runs(&self, broker: &BrokerName) -> bool {
        self.heard.get(broker).is_some_and(Heard::runs)
    }

    /// A broker's pod, as it is on the server.
    pub(super) fn pod_of(&self, broker: &BrokerName) -> Option<Arc<Pod>> {
        let reference = ObjectRef::<Pod>::new(&names::pod(broker)).within(&self.setting.namespace);
        self.setting.watched.pods.get(&reference)
    }

    /// The address of a Service, if it has one yet.
    pub(super) fn cluster_ip(&self, name: &str) -> Option<String> {
        let reference = ObjectRef::<Service>::new(name).within(&self.setting.namespace);
        let service = self.setting.watched.services.get(&reference)?;
        let ip = service.spec.as_ref()?.cluster_ip.clone()?;
        ip.parse::<IpAddr>().ok().map(|_| ip)
    }

    /// Finds where brokers are, as soon as that is known: what the engine is to be told.
    pub(super) fn place(&mut self) -> Vec<Event> {
        let fleet = self.conductor.fleet.clone();
        let mut placed = Vec::new();
        for (name, broker) in &fleet.brokers {
            let placement = match &broker.hosting {
                Hosting::Managed(_) => self.pod_placement(name),
                Hosting::Agent(_, external) => self.agent_placement(name, external),
                Hosting::External(external) => {
                    let address = (external.host.clone(), external.port);
                    Some(Placement {
                        listen: String::new(),
                        peer: address.clone(),
                        client: address,
                        data_directory: String::new(),
                    })
                }
            };
            let Some(placement) = placement else { continue };
            if self.conductor.placed.get(name) == Some(&placement) {
                continue;
            }
            self.conductor.placed.insert(name.clone(), placement.clone());
            placed.push(Event::Placed {
                broker: name.clone(),
                placement,
            });
            self.point(name);
        }
        if !placed.is_empty() {
            self.watch_brokers();
            // An object may name the address that its broker was given, and those come one after the other.
            let pause = GATHER.max(self.objects_took * REST);
            self.objects_due.get_or_insert_with(|| Instant::now() + pause);
        }
        placed
    }

    /// By the addresses of its Services and not by their names: to look up a name, a broker would stop serving until it is
    /// answered, and bridges would depend on the cluster's DNS.
    fn pod_placement(&self, name: &BrokerName) -> Option<Placement> {
        let peer = (self.cluster_ip(&names::own(name))?, PORT);
        let client = (self.cluster_ip(name.as_str())?, PORT);
        Some(placement(peer, client))
    }

    /// Peers reach it where it is declared to be; clients in the cluster at a Service, as those of any other.
    fn agent_placement(&self, name: &BrokerName, external: &External) -> Option<Placement> {
        let peer = (external.host.clone(), external.port);
        let client = (self.cluster_ip(name.as_str())?, PORT);
        Some(placement(peer, client))
    }

    /// Takes in what pods say, and which of them are there: what the engine is to be told.
    pub(super) fn hear_pods(&mut self) -> Vec<Event> {
        let declared = self.conductor.fleet.brokers.keys();
        let known = declared
            .chain(self.conductor.placed.keys())
            .chain(self.heard.keys());
        let known: BTreeSet<BrokerName> = known.cloned().collect();
        let mut events = Vec::new();
        for broker in known {
            if !self.conductor.is_foreign(&broker) {
                self.hear_pod(&broker, &mut events);
            }
        }
        events
    }

    /// Which pod of a broker is there, and its address. An agent elsewhere is there once it has said something: that it has gone
    /// nobody tells, but heartbeats go unanswered then.
    fn pod_and_address(&self, broker: &BrokerName) -> (Option<String>, Option<IpAddr>) {
        if self.is_attended(broker) {
            let speaker = self
                .said(broker)
                .and_then(|said| said.data.as_ref()?.get(SPEAKER).cloned());
            let placed = self.conductor.placed.get(broker);
            let ip = placed.and_then(|placement| placement.peer.0.parse().ok());
            return (speaker, ip);
        }
        let pod = self.pod_of(broker).filter(|pod| is_alive(pod));
        let pod = pod.as_deref();
        (
            pod.and_then(|pod| pod.metadata.uid.clone()),
            pod.and_then(|pod| pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok()),
        )
    }

    /// What a broker's pod or agent reports.
    fn said(&self, broker: &BrokerName) -> Option<Arc<ConfigMap>> {
        let reference = ObjectRef::new(&names::own(broker)).within(&self.setting.namespace);
        self.setting.watched.reports.get(&reference)
    }

    fn hear_pod(&mut self, broker: &BrokerName, events: &mut Vec<Event>) {
        let (uid, ip) = self.pod_and_address(broker);
        let before = self.heard.entry(broker.clone()).or_default();
        let (was, was_at) = (before.pod.clone(), before.ip);
        before.pod.clone_from(&uid);
        before.ip = ip;
        if was != uid {
            before.report = None;
            before.text = None;
            if was.is_some() {
                events.push(Event::SupervisorLost {
                    broker: broker.clone(),
                });
            }
        }
        if was_at != ip {
            let at = ip.map(|ip| SocketAddr::new(ip, skein_sight::wire::PORT));
            self.pods.follow(broker, at, &self.users.secret().token(broker));
            self.point_all_to(broker);
        }
        if uid.is_some() {
            self.hear_report(broker, uid.as_deref(), events);
        } else if !self.conductor.fleet.brokers.contains_key(broker)
            && !self.conductor.placed.contains_key(broker)
        {
            self.heard.remove(broker);
            self.pods.forget(broker);
            events.push(Event::Supervisor {
                broker: broker.clone(),
                report: skein_engine::event::Report {
                    loaded: None,
                    rejected: None,
                    version: None,
                    process: Process::Stopped,
                },
            });
        }
    }

    /// Takes a report in, if it is of the pod that is there.
    fn hear_report(&mut self, broker: &BrokerName, pod: Option<&str>, events: &mut Vec<Event>) {
        let Some(said) = self.said(broker) else {
            return;
        };
        let data = |key: &str| said.data.as_ref()?.get(key).cloned();
        let (Some(text), speaker) = (data(BrokerDirectory::REPORT), data(SPEAKER)) else {
            return;
        };
        let Some(heard) = self.heard.get_mut(broker) else {
            return;
        };
        if speaker.as_deref() != pod || heard.text.as_ref() == Some(&text) {
            return;
        }
        let trouble = format!("report/{broker}");
        match serde_json::from_str::<Report>(&text) {
            Ok(report) => {
                let before = heard.report.replace(report.clone());
                heard.text = Some(text);
                self.conductor.trouble(trouble, None);
                let obstacle = report
                    .obstacle
                    .as_ref()
                    .map(|text| format!("Broker/{broker}: {text}"));
                self.conductor.trouble(format!("obstacle/{broker}"), obstacle);
                self.users
                    .heard(broker, report.all_barred.as_deref(), report.started_at);
                if before.and_then(|before| before.started_at) != report.started_at {
                    self.users.doubt(broker);
                }
                events.push(Event::Supervisor {
                    broker: broker.clone(),
                    report: translate::report(&report),
                });
            }
            Err(error) => {
                let text = format!("Broker/{broker}: its pod's report cannot be read: {error}");
                self.conductor.trouble(trouble, Some(text));
            }
        }
    }

    /// The configuration that a broker said it uses.
    pub(super) fn loaded(&self, broker: &BrokerName) -> Option<Epoch> {
        self.heard.get(broker)?.report.as_ref()?.loaded
    }

    /// A pod has another address now: whoever it serves is led there.
    fn point_all_to(&mut self, to: &BrokerName) {
        let hosted: Vec<BrokerName> = self.hosted.keys().cloned().collect();
        for broker in hosted {
            if self.serving.get(&broker).unwrap_or(&broker) == to {
                self.point(&broker);
            }
        }
    }

    /// The ports of a broker where it is, by name.
    fn ports_at(&self, broker: &BrokerName) -> Option<BTreeMap<String, i32>> {
        if let Some(hosted) = self.hosted(broker) {
            return Some(objects::ports(hosted.spec));
        }
        let placement = self.conductor.placed.get(broker)?;
        let (_, name) = names::PORT;
        Some(BTreeMap::from([(name.to_owned(), i32::from(placement.peer.1))]))
    }

    /// Leads a broker's client address to whoever serves.
    pub(super) fn point(&mut self, broker: &BrokerName) {
        let Some(owner) = self.owner(broker) else {
            return;
        };
        let to = self.serving.get(broker).unwrap_or(broker);
        let ip = self.heard.get(to).and_then(|heard| heard.ip);
        let serving = ip.zip(self.ports_at(to)).map(|(ip, ports)| Serving { ip, ports });
        let asked = self.hosted(broker).map(|hosted| objects::numbers(hosted.spec));
        let asked = asked.unwrap_or_else(objects::own_number);
        let service = objects::client_service(&owner, asked);
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let family = self.setting.objects.family;
        let slice = objects::endpoint_slice(&owner, &ports, family, serving.as_ref());
        if let Ok(mut wanted) = objects::Wanted::of(&slice) {
            wanted.body["metadata"]["annotations"] = json!({SERVED_BY: to});
            self.writer.want(wanted);
        }
    }
}

/// Reached by others and by its clients there, wherever it listens.
fn placement(peer: (String, u16), client: (String, u16)) -> Placement {
    let is_v6 = peer.0.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
    Placement {
        listen: if is_v6 { "::" } else { "0.0.0.0" }.to_owned(),
        peer,
        client,
        data_directory: DATA.to_owned(),
    }
}

/// It runs, as far as its node says: one that has ended is not there any more.
fn is_alive(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}
