//! The custom resources as users write them and Kubernetes stores them: group `mqtt.skein.dev`, version `v1alpha1`,
//! namespaced, a namespace being a fleet.
//!
//! Here are shapes, defaults and documentation. What spans several fields or objects is checked by `manifest`.

// Clippy takes the fields of one print column for repetitions of another's.
#![allow(clippy::duplicated_attributes)]
// `KubeSchema` repeats each type in a scope of its own, to derive its schema.
#![allow(unreachable_pub)]

mod broker;
mod crd;
mod migration;
mod name;
mod quantity;
mod route;
mod topic;

pub use broker::{
    Broker, BrokerPhase, BrokerSpec, BrokerStatus, CollisionPolicy, Control, Durability, EpochStatus,
    Equivalence, ExternalSpec, Failback, FailoverPolicy, FailoverSpec, HeartbeatSpec, ListenerSpec,
    ManagedSpec, QueueSpec, SecretReference, StorageSpec, SubstituteStatus,
};
pub use crd::crds;
pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
pub use migration::{
    Evidence, Migration, MigrationPhase, MigrationReason, MigrationSpec, MigrationStatus, MovedSessions,
    NotMoved, PhaseTime, Waiting,
};
pub(crate) use name::NAME_PATTERN;
pub(crate) use quantity::{PERIOD_PATTERN, SIZE_PATTERN};
pub use quantity::{Period, QuantityError, Size};
pub use route::{CarriedLink, NodeRoute, NodeRouteSpec, NodeRouteStatus};
pub use topic::{End, ExpectedLoad, LabelSelector, PathStatus, Receipts, Topic, TopicSpec, TopicStatus};

/// The API group of every resource.
pub const GROUP: &str = "mqtt.skein.dev";
/// The version of every resource.
pub const VERSION: &str = "v1alpha1";
/// Group and version, as manifests write it.
pub const API_VERSION: &str = "mqtt.skein.dev/v1alpha1";
/// The label that says which failure zone a broker is in.
pub const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
