//! What a controller does while another leads: it remembers what brokers keep of their clients.
//!
//! Once a broker is gone nobody can be asked for that, and it may go together with the controller that leads: with the node that
//! both are on. Whoever leads next has to know it then.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kube::{Client, ResourceExt as _};
use skein_api::name::BrokerName;
use skein_api::resources::{BrokerSpec, Control};
use skein_engine::event::Event;
use skein_engine::sessions::ClientSessions;
use skein_mosquitto::security::FleetSecret;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::custom::Custom;
use crate::fleet::fleet_secret;
use crate::names;
use crate::pods::Pods;
use crate::watching::Watched;

/// What is remembered of a fleet's brokers.
pub(crate) type Memory = BTreeMap<BrokerName, Arc<ClientSessions>>;

/// How often is looked for pods that came or went.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// Longer than this the API server is not waited for: it may be our turn to lead.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the head of this module.
pub(crate) struct Standby {
    client: Client,
    watched: Watched,
    fleets: BTreeMap<String, Followed>,
}

/// The brokers of one namespace.
struct Followed {
    secret: FleetSecret,
    pods: Pods,
    told: mpsc::UnboundedReceiver<Event>,
    addresses: BTreeMap<BrokerName, IpAddr>,
}

impl Standby {
    /// Follows nobody yet.
    pub(crate) fn new(client: Client, watched: Watched) -> Self {
        Self {
            client,
            watched,
            fleets: BTreeMap::new(),
        }
    }

    /// Takes in what pods told, and follows those that are there now.
    pub(crate) async fn look(&mut self) {
        for fleet in self.fleets.values_mut() {
            while let Ok(event) = fleet.told.try_recv() {
                fleet.pods.heard(&event);
            }
        }
        let mut there: BTreeMap<String, BTreeMap<BrokerName, IpAddr>> = BTreeMap::new();
        for pod in self.watched.pods.state() {
            let broker = pod.labels().get(names::BROKER).map(|name| BrokerName::new(name));
            let ip = pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.as_ref()?.parse().ok());
            if let (Some(namespace), Some(Ok(broker)), Some(ip)) = (pod.namespace(), broker, ip) {
                there.entry(namespace).or_default().insert(broker, ip);
            }
        }
        let [brokers, ..] = &self.watched.declared;
        for broker in brokers.state() {
            if let (Some(namespace), Some((name, ip))) = (broker.namespace(), attended(&broker)) {
                there.entry(namespace).or_default().insert(name, ip);
            }
        }
        let is_fleet = |namespace: &String| {
            let in_it = |object: &Custom| object.namespace().as_ref() == Some(namespace);
            self.watched
                .declared
                .iter()
                .any(|store| store.find(in_it).is_some())
        };
        self.fleets.retain(|namespace, _| is_fleet(namespace));
        for (namespace, addresses) in there {
            if !self.fleets.contains_key(&namespace) {
                let secret = timeout(PATIENCE, fleet_secret(&self.client, &namespace)).await;
                // The one that leads makes it; it is asked for again.
                let Ok(Ok(Some(secret))) = secret else { continue };
                let (events, told) = mpsc::unbounded_channel();
                let followed = Followed {
                    secret,
                    pods: Pods::new(events),
                    told,
                    addresses: BTreeMap::new(),
                };
                self.fleets.insert(namespace.clone(), followed);
            }
            if let Some(fleet) = self.fleets.get_mut(&namespace) {
                fleet.follow(addresses);
            }
        }
    }

    /// All that is known by now; nobody is followed any more.
    pub(crate) fn remembered(self) -> BTreeMap<String, Memory> {
        let fleets = self.fleets.into_iter();
        fleets
            .map(|(namespace, mut fleet)| {
                while let Ok(event) = fleet.told.try_recv() {
                    fleet.pods.heard(&event);
                }
                (namespace, fleet.pods.told())
            })
            .collect()
    }
}

/// Where an agent runs this broker, if one does.
fn attended(object: &Custom) -> Option<(BrokerName, IpAddr)> {
    let external = object.spec.parse::<BrokerSpec>()?.external?;
    let (host, _) = external.host_and_port().ok()?;
    let is_attended = external.control == Control::Agent;
    let name = BrokerName::new(&object.name_any()).ok()?;
    is_attended.then_some((name, host.parse().ok()?))
}

impl Followed {
    /// A pod that is not there any more is remembered as it was.
    fn follow(&mut self, addresses: BTreeMap<BrokerName, IpAddr>) {
        for (broker, ip) in addresses {
            if self.addresses.insert(broker.clone(), ip) != Some(ip) {
                let at = SocketAddr::new(ip, skein_sight::wire::PORT);
                self.pods.follow(&broker, Some(at), &self.secret.token(&broker));
            }
        }
    }
}
