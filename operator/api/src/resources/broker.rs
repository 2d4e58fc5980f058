//! `Broker`: one Mosquitto, run by Skein or by someone else.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Period, Size};
use crate::name::BrokerName;

/// A broker: exactly one of `managed` and `external`.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "mqtt.skein.dev",
    version = "v1alpha1",
    kind = "Broker",
    plural = "brokers",
    namespaced,
    status = "BrokerStatus",
    derive = "PartialEq",
    shortname = "mqb",
    category = "skein",
    doc = "One Mosquitto broker of the fleet, run by Skein (managed) or given by its address (external).",
    validation = Rule::new("self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')")
        .message("a broker's name has at most 63 characters: a-z, 0-9 and '-'"),
    validation = Rule::new(
        "!has(self.spec.failover.substitutes) || !(self.metadata.name in self.spec.failover.substitutes)"
    )
    .message("a broker cannot substitute itself: name another one in spec.failover.substitutes"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Served by", type_ = "string", json_path = ".status.servedBy"),
    printcolumn(
        name = "Substitute",
        type_ = "string",
        json_path = ".status.substitute.broker"
    ),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.managed) != has(self.external)").message("exactly one of managed and external is needed"))]
pub struct BrokerSpec {
    /// Skein runs this broker. Write `managed: {}` for the defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedSpec>,
    /// Someone else runs this broker; Skein is given its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalSpec>,
    /// How the broker is watched.
    #[serde(default)]
    pub heartbeat: HeartbeatSpec,
    /// What happens when the broker dies.
    #[serde(default)]
    pub failover: FailoverSpec,
}

/// A broker that Skein runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.version) || !has(self.durability) || self.durability != 'durable' || !self.version.matches('^2[.]0([.]|$)')").message("durable needs Mosquitto 2.1: write version \"2.1\", or durability classic"))]
pub struct ManagedSpec {
    /// The Mosquitto series, such as "2.1" (in quotes: it is text). Without it: the default image's, or whatever
    /// `mosquitto` this machine has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 16), regex(pattern = r"^[0-9]+\.[0-9]+(\.[0-9]+)?$"))]
    #[x_kube(validation = Rule::new("!self.matches('^([01][.]|2[.]0[.]([0-9]|10)$)')").message("Skein needs Mosquitto 2.0.11 or later"))]
    pub version: Option<String>,
    /// The container image, on Kubernetes only. Without it: the official image of the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,
    /// What survives a killed process. Without it: `durable` on 2.1 and later, else `classic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// How much one session's queue may hold.
    #[serde(default)]
    pub queue: QueueSpec,
    /// The volume that holds the broker's store, on Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,
    /// CPU and memory, on Kubernetes only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Further listeners for clients, beside the one that every broker has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(
        merge_strategy = ListMerge::Map(vec!["name".to_string()]),
        validation = Rule::new("self.all(one, self.exists_one(other, other.port == one.port))").message("give each listener its own port")
    )]
    pub listeners: Vec<ListenerSpec>,
    /// Clients without a user name may connect. Default: false.
    #[serde(default)]
    pub allow_anonymous: bool,
    /// Where the users are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<SecretReference>,
    /// Mosquitto options passed through, such as `max_keepalive: 120`. Values are text or whole numbers; write "true"
    /// in quotes. Options that Skein depends on are refused with a reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub settings: BTreeMap<String, IntOrString>,
}

/// What a broker keeps when its process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Everything acknowledged; needs Mosquitto 2.1.
    Durable,
    /// All but the last moments.
    Classic,
    /// Nothing.
    None,
}

/// Limits of one session's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueSpec {
    /// Messages, 1 to 100,000,000. Default: 100,000.
    #[serde(default = "queue_messages")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub messages: i64,
    /// Bytes, such as `64Mi`, at least 1Ki. Default: 64Mi.
    #[serde(default = "queue_bytes")]
    #[x_kube(validation = Rule::new("quantity(string(self)).compareTo(quantity('1Ki')) >= 0").message("write at least 1Ki; the default is 64Mi"))]
    pub bytes: Size,
}

fn queue_messages() -> i64 {
    100_000
}

fn queue_bytes() -> Size {
    Size::from_bytes(64 << 20)
}

impl Default for QueueSpec {
    fn default() -> Self {
        Self {
            messages: queue_messages(),
            bytes: queue_bytes(),
        }
    }
}

/// The volume of a managed broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageSpec {
    /// Its size, such as `5Gi`. Default: 1Gi.
    #[serde(default = "storage_size")]
    pub size: Size,
    /// Its storage class. Without it: the cluster's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
}

fn storage_size() -> Size {
    Size::from_bytes(1 << 30)
}

/// A further listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListenerSpec {
    /// Its name: a-z, 0-9 and '-', at most 15 characters (a Kubernetes port name).
    #[schemars(length(min = 1, max = 15), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Its TCP port, 1 to 65535.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: i32,
}

/// A Secret in the fleet's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// The Secret's name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$")
    )]
    pub secret_name: String,
}

/// A broker that someone else runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.control == 'Agent' || !(has(self.durability) || has(self.queue) || has(self.allowAnonymous) || has(self.settings))").message("durability, queue, allowAnonymous and settings are for control: Agent: without an agent, Skein does not configure this broker"))]
pub struct ExternalSpec {
    /// Where it is: `host:port`, `1.2.3.4:1883` or `[::1]:1883`. Without a port: 1883.
    #[schemars(length(min = 1, max = 259))]
    #[x_kube(validation = Rule::new("!self.contains('/')").message("write host:port, not a URL"))]
    pub address: String,
    /// Speak TLS to it. Default: false.
    #[serde(default)]
    pub tls: bool,
    /// The Secret with the keys `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<SecretReference>,
    /// Whether Skein's agent runs beside it. Default: None.
    #[serde(default)]
    pub control: Control,
    /// With an agent: what survives a killed process. Without it: `durable` on 2.1 and later, else `classic`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// With an agent: how much one session's queue may hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueSpec>,
    /// With an agent: clients without a user name may connect. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow_anonymous: Option<bool>,
    /// With an agent: Mosquitto options passed through, as of a managed broker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 128))]
    pub settings: BTreeMap<String, IntOrString>,
}

impl ExternalSpec {
    /// Host and port of its address.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub fn host_and_port(&self) -> Result<(String, u16), &'static str> {
        let text = self.address.as_str();
        if text.contains("://") {
            return Err("it is a URL");
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or("the bracket is not closed")?;
            host.parse::<Ipv6Addr>()
                .map_err(|_| "there is no IPv6 address in the brackets")?;
            let port = match after {
                "" => None,
                _ => Some(
                    after
                        .strip_prefix(':')
                        .ok_or("behind the bracket only a port may follow")?,
                ),
            };
            (host, port)
        } else if text.matches(':').count() > 1 {
            return Err("an IPv6 address stands in brackets");
        } else {
            text.split_once(':')
                .map_or((text, None), |(host, port)| (host, Some(port)))
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if host.is_empty() {
            return Err("the host is empty");
        }
        if host.len() > 253 || !host.bytes().all(allowed) {
            return Err("the host holds characters that no host name has");
        }
        let digits = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            None => 1883,
            Some(port) => Some(port)
                .filter(digits)
                .and_then(|port| port.parse().ok())
                .filter(|port| *port > 0)
                .ok_or("the port is not a number from 1 to 65535")?,
        };
        Ok((host.to_owned(), port))
    }
}

/// Whether Skein can change an external broker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Control {
    /// It cannot: its neighbours hold every connection, and it is never fenced, drained or a substitute.
    #[default]
    None,
    /// `skein-operator agent` runs it there, and it is like a managed one.
    Agent,
}

/// How a broker is watched: down after `misses` heartbeats in a row went unanswered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatSpec {
    /// Time between two heartbeats, 50ms to 1h. Default: 1s.
    #[serde(default = "heartbeat_interval")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('50ms') && duration(self) <= duration('1h')").message("write 50ms to 1h; the default is 1s"))]
    pub interval: Period,
    /// How many may be missed, 1 to 100. Default: 3.
    #[serde(default = "heartbeat_misses")]
    #[schemars(range(min = 1, max = 100))]
    pub misses: i32,
}

fn heartbeat_interval() -> Period {
    Period::from_millis(1000)
}

fn heartbeat_misses() -> i32 {
    3
}

impl Default for HeartbeatSpec {
    fn default() -> Self {
        Self {
            interval: heartbeat_interval(),
            misses: heartbeat_misses(),
        }
    }
}

/// What happens when a broker dies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverSpec {
    /// Who decides that its sessions move. Default: Automatic.
    #[serde(default)]
    pub policy: FailoverPolicy,
    /// How long a dead process may take to come back in place, at most 24h. Default: 5s.
    #[serde(default = "failover_after")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('24h')").message("write 0s to 24h; the default is 5s"))]
    pub after: Period,
    /// Only these brokers may take over. Without it: any that Skein controls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub substitutes: Option<Vec<BrokerName>>,
    /// What holds where its clients' subscriptions overlap with those of the substitute's clients on topics that no Topic
    /// declares for both brokers, so that each would get the other's messages. Only for policy Automatic. Default: Manual.
    #[serde(default)]
    pub collisions: CollisionPolicy,
    /// Who decides that it is taken back once it has returned. Default: Automatic.
    #[serde(default)]
    pub failback: Failback,
}

fn failover_after() -> Period {
    Period::from_millis(5000)
}

impl Default for FailoverSpec {
    fn default() -> Self {
        Self {
            policy: FailoverPolicy::default(),
            after: failover_after(),
            substitutes: None,
            collisions: CollisionPolicy::default(),
            failback: Failback::default(),
        }
    }
}

/// Who decides that a dead broker's sessions move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailoverPolicy {
    /// Skein.
    #[default]
    Automatic,
    /// A person, by approving the migration.
    Manual,
    /// Nobody: the broker is routed around and its sessions wait.
    Disabled,
}

/// What holds where clients would get each other's messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CollisionPolicy {
    /// A person approves the migration, as if the policy were Manual.
    #[default]
    Manual,
    /// It goes on.
    Accept,
}

/// Who decides that a returned broker is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Failback {
    /// Skein, once it is stable.
    #[default]
    Automatic,
    /// A person, by ending the migration.
    Manual,
}

/// What Skein observed of a broker. It changes when something happens, not all the time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BrokerStatus {
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<BrokerPhase>,
    /// `Configured`, `Matched`, `Operational`, `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Who takes over if it dies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub substitute: Option<SubstituteStatus>,
    /// The Mosquitto version it runs, such as `2.1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Configurations given and loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<EpochStatus>,
    /// The broker that serves its clients now, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<BrokerName>,
}

/// Where a broker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BrokerPhase {
    /// Not answering yet.
    Starting,
    /// Answering.
    Up,
    /// Not answering, evidence is being gathered.
    Suspect,
    /// Declared down.
    Down,
    /// Shut off from its neighbours after another broker took over.
    Fenced,
    /// Back, being refilled before it serves again.
    Returning,
}

/// The planned substitute of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SubstituteStatus {
    /// Its name.
    pub broker: BrokerName,
    /// How well it covers.
    pub equivalence: Equivalence,
    /// What it would miss: names of topics. Of more than 255, the last entry says how many more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub missing: Vec<String>,
}

/// How well a substitute covers the broker it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Equivalence {
    /// It publishes and subscribes the same topic sets.
    Strong,
    /// Its sets cover those of the broker it replaces.
    Weak,
    /// It covers some; the rest is added as paths.
    Partial,
}

/// Configurations given to a broker and loaded by it, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EpochStatus {
    /// The last one given.
    #[serde(default)]
    pub given: i64,
    /// The last one it reported as loaded.
    #[serde(default)]
    pub loaded: i64,
}
