//! An envoy: connects under the client id of a bridge, subscribes or unsubscribes, acknowledges no message, and leaves.

use crate::air::{Air, ClientNumber, Conn, End};
use crate::names::Filter;
use crate::packet::Packet;

/// What an envoy is sent for.
#[derive(Clone, Debug)]
pub(crate) enum Mission {
    /// Make these subscriptions, with their QoS; what is retained is not sent for them.
    Subscribe {
        filters: Vec<(Filter, u8)>,
        /// As a bridge does.
        bridge: bool,
    },
    /// End these subscriptions; what waits stays.
    Unsubscribe(Vec<Filter>),
    /// End the session, with all that waits in it.
    Discard,
}

/// One errand over MQTT.
#[derive(Debug)]
pub(crate) struct Envoy {
    mission: Mission,
    /// Requests that are not acknowledged yet.
    open: usize,
}

impl Envoy {
    pub(crate) fn new(mission: Mission) -> Self {
        Self { mission, open: 0 }
    }

    /// It opens the session of a link that is to come.
    pub(super) fn is_for_link(&self) -> bool {
        matches!(self.mission, Mission::Subscribe { bridge: true, .. })
    }

    /// It hears something; true once it is done and leaves.
    pub(super) fn hear(&mut self, packet: Packet, conn: Conn, number: ClientNumber, air: &mut Air) -> bool {
        match packet {
            Packet::ConnAck { .. } => match &self.mission {
                Mission::Unsubscribe(filters) => {
                    self.open = filters.len();
                    for filter in filters {
                        air.send(conn, End::Opener, Packet::Unsubscribe { filter: *filter });
                    }
                }
                Mission::Subscribe { filters, .. } => {
                    self.open = filters.len();
                    for (filter, qos) in filters {
                        let (filter, qos, retained) = (*filter, *qos, false);
                        air.send(
                            conn,
                            End::Opener,
                            Packet::Subscribe {
                                filter,
                                qos,
                                retained,
                            },
                        );
                    }
                }
                Mission::Discard => {}
            },
            Packet::UnsubAck | Packet::SubAck => self.open = self.open.saturating_sub(1),
            _ => return false,
        }
        if self.open == 0 {
            air.errand_done(number, true);
        }
        self.open == 0
    }
}
