//! What a configuration means to the model, in numbers.

use skein_mosquitto::config::{Config, Persistence};
use skein_mosquitto::link::Direction;

use crate::air::BrokerId;
use crate::names::{ClientId, Filter, Names};

/// What survives a killed process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Profile {
    #[default]
    None,
    Classic,
    Durable,
}

/// A configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) profile: Profile,
    /// 0: no limit.
    pub(crate) most_queued: usize,
    pub(crate) inflight: usize,
    pub(crate) queue_qos0: bool,
    pub(crate) allow_duplicates: bool,
    pub(crate) sections: Vec<Section>,
}

/// One line of a connection: what passes, which way, and at most with which QoS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BridgeLine {
    pub(crate) filter: Filter,
    pub(crate) direction: Direction,
    pub(crate) qos: u8,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) to: Option<BrokerId>,
    pub(crate) remote: ClientId,
    pub(crate) local: ClientId,
    pub(crate) lines: Vec<BridgeLine>,
    pub(crate) forgotten: Vec<Filter>,
    pub(crate) marker: Option<Filter>,
    pub(crate) unsubscribes: bool,
    pub(crate) outgoing_retain: bool,
}

impl Setup {
    /// Reads a configuration; `place` says which broker listens at an address.
    pub(crate) fn of(
        config: &Config,
        names: &mut Names,
        place: &dyn Fn(&str, u16) -> Option<BrokerId>,
    ) -> Self {
        let sections = config
            .connections
            .iter()
            .map(|held| Section {
                name: held.name.clone(),
                to: place(&held.host, held.port),
                remote: names.client(&held.remote_client_id),
                local: names.client(&held.local_client_id),
                lines: held
                    .lines
                    .iter()
                    .map(|line| BridgeLine {
                        filter: names.filter(line.filter.as_str()),
                        direction: line.direction,
                        qos: line.qos as u8,
                    })
                    .collect(),
                forgotten: held
                    .forgotten
                    .iter()
                    .map(|filter| names.filter(filter.as_str()))
                    .collect(),
                marker: held.marker(&config.broker).map(|topic| names.filter(&topic)),
                unsubscribes: held.unsubscribes,
                outgoing_retain: held.outgoing_retain,
            })
            .collect();
        Self {
            profile: match config.persistence {
                Persistence::None => Profile::None,
                Persistence::Classic { .. } => Profile::Classic,
                Persistence::Durable { .. } => Profile::Durable,
            },
            most_queued: config.limits.max_queued_messages as usize,
            inflight: config.limits.max_inflight_messages as usize,
            queue_qos0: config.limits.queue_qos0_messages,
            allow_duplicates: config.limits.allow_duplicate_messages,
            sections,
        }
    }

    /// Messages on their way per session and direction.
    pub(crate) fn most_under_way(&self) -> usize {
        if self.inflight == 0 {
            usize::MAX
        } else {
            self.inflight
        }
    }
}
