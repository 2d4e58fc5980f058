//! What waits in sessions that links left is passed on to whoever stands where their holder stood.

use std::collections::BTreeSet;

use skein_api::name::BrokerName;
use skein_filters::TopicFilter;

use super::execute::Purpose;
use super::{Flaw, World, number};
use crate::air::ClientNumber;
use crate::clients::{Carrier, Hand, Mission, Role, Target};
use crate::packet::{Message, PacketId, SECOND};

impl World {
    pub(super) fn adopt(
        &mut self,
        broker: BrokerName,
        upstream: &BrokerName,
        client_id: String,
        filters: &[TopicFilter],
        to: &BTreeSet<BrokerName>,
    ) {
        self.tell(|| format!("pass on what waits in {client_id} at {upstream} to {to:?}"));
        if self.flaw == Some(Flaw::PurgesForAdoption) {
            self.send_envoy(Purpose::Adopt, broker, client_id, upstream, Mission::Discard);
            return;
        }
        let Some(at) = number(upstream) else { return };
        let air = &mut self.fabric.air;
        let filters = filters.iter();
        let filters = filters.map(|filter| air.names.filter(filter.as_str())).collect();
        let carrier = Role::Carrier(Carrier::new(&client_id, filters, to.len(), air));
        let id = air.names.client(&client_id);
        let carrier = self.fabric.add_client(id, Target::Broker(at), false, carrier);
        self.fabric.turn_after(carrier, 5 * SECOND);
        let hands = to.iter().filter_map(number).map(|to| {
            let id = format!("skein-adopts-{to}-{client_id}");
            let id = self.fabric.air.names.client(&id);
            self.fabric
                .add_client(id, Target::Broker(to), true, Role::Hand(Hand::new(carrier)))
        });
        let hands = hands.collect();
        self.adoptions.insert(carrier, hands);
        let envoy = super::Envoy {
            purpose: Purpose::Adopt,
            broker,
            client_id,
        };
        self.envoys.insert(carrier, envoy);
    }

    pub(super) fn carry(&mut self, carrier: ClientNumber, message: Message, id: PacketId, qos: u8) {
        for hand in self.adoptions.get(&carrier).into_iter().flatten() {
            let client = &mut self.fabric.clients[*hand];
            if let Role::Hand(hand) = &mut client.role {
                hand.publish(message, id, qos, client.conn, &mut self.fabric.air);
            }
        }
    }

    pub(super) fn delivered(&mut self, carrier: ClientNumber, id: PacketId) {
        let client = &mut self.fabric.clients[carrier];
        if let Role::Carrier(carrier) = &mut client.role {
            carrier.deliver(id, client.conn, &mut self.fabric.air);
        }
    }

    /// All who took part in an adoption leave; what was not acknowledged stays where it is.
    pub(super) fn end_adoption(&mut self, carrier: ClientNumber) {
        let Some(hands) = self.adoptions.remove(&carrier) else {
            return;
        };
        for client in hands.into_iter().chain([carrier]) {
            self.fabric.clients[client].set_online(false, &mut self.fabric.air);
        }
    }
}
