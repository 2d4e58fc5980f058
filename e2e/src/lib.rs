//! Support for whole-system tests: real Mosquitto processes, a whole fleet run by `skein`, and clients that keep count.
//!
//! It knows processes, ports and MQTT clients; it does not know plans or engines, so that what it reports is evidence
//! from outside. The tests themselves are in `tests/`.
//!
//! ```no_run
//! # async fn story() -> anyhow::Result<()> {
//! use skein_e2e::{Fleet, Ledger, Publisher, Series, Subscriber};
//! use std::time::Duration;
//!
//! let fleet = Fleet::sample("farm", Series::Newest)?;
//! let up = fleet.up()?;
//! up.wait_ready(Duration::from_secs(20)).await?;
//! let ledger = Ledger::new();
//! let a = up.client_address("a").await?;
//! let subscriber = Subscriber::start(&a, "office", "farm/+/soil", 1, &ledger).await?;
//! let i = up.client_address("i").await?;
//! let publisher = Publisher::start(&i, "sensor", "farm/7/soil", 1, 100, &ledger).await?;
//! up.skein(&["break", "c"]).await?;
//! publisher.finish(Duration::from_secs(10)).await?;
//! subscriber.wait_caught_up(Duration::from_secs(10)).await?;
//! println!("{}", subscriber.summary());
//! # Ok(()) }
//! ```

mod broker;
mod client;
mod clients;
mod cluster;
mod declare;
mod fleet;
mod flow;
mod kubernetes;
mod ledger;
mod measure;
mod middle;
mod mosquitto;
mod place;
mod processes;
mod prometheus;
mod proxy;
mod publisher;
mod raw;
mod scene;
mod secured;
mod story;
mod subscriber;
mod wait;
mod wire;

pub use broker::PlainBroker;
pub use client::{Listener, Message, echo, publish_once};
pub use clients::{Sender, Taker, client, flows, wait_known, wait_known_at};
pub use cluster::{Cluster, Namespace};
pub use declare::Manifest;
pub use fleet::{Fleet, Up};
pub use kubernetes::{
    SOON, START, all_ready, condition, definitions, get, install, leader, migration, pod_of, sample, service,
};
pub use ledger::{Ledger, Summary};
pub use measure::{Burners, connect_options, cores, from_environment, is_bench, quantile};
pub use middle::{Controller, LEASE, Middle};
pub use mosquitto::{Series, find_mosquitto, mosquitto, plugin, version_of};
pub use place::{free_port, free_ports, kubectl_skein, operator, repository, skein, user_folder};
pub use processes::{broker_processes, pod_process, process};
pub use prometheus::{Prometheus, Series as SampledSeries};
pub use proxy::ApiProxy;
pub use publisher::Publisher;
pub use raw::RawClient;
pub use scene::{Traffic, newest_migration};
pub use secured::{
    Control, PASSWORD, Secured, UNBOUNDED, UNSAVED, acl, anonymous_rights, bridge, careful, durable, rights,
    security_file,
};
pub use subscriber::Subscriber;
pub use wait::{PATIENCE, wait_for, wait_until};
