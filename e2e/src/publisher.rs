//! A client that publishes numbered messages at a steady rate and repeats each until a broker has acknowledged it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rumqttc::{Packet, PubRel, Publish, QoS};

use crate::ledger::Ledger;
use crate::wait::{wait_for, wait_until};
use crate::wire::{Client, Presence, Role};

/// Unacknowledged messages at a time. Mosquitto discards a QoS 2 message of a 3.1.1 client beyond the 20th in flight.
const WINDOW: usize = 20;

/// Publishes until [`Publisher::finish`], or until it is dropped.
#[derive(Debug)]
pub struct Publisher {
    client: Client<Sending>,
}

impl Publisher {
    /// Connects to `address` (`host:port`) and begins: messages `CLIENT-ID NUMBER` on `topic` at this QoS, so many per
    /// second. Messages made while it is disconnected are sent later. At QoS 0, which nobody acknowledges, a message counts
    /// as acknowledged once a connection takes it. Waits until the first connection stands.
    pub async fn start(
        address: &str,
        client_id: &str,
        topic: &str,
        qos: u8,
        per_second: u32,
        ledger: &Ledger,
    ) -> Result<Self> {
        let qos = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            2 => QoS::ExactlyOnce,
            other => bail!("QoS is 0, 1 or 2, not {other}"),
        };
        ledger.open(client_id);
        let role = Sending::new(client_id, topic, qos, per_second, ledger.clone());
        let client = Client::start(address, role);
        let what = format!("the publisher {client_id} to connect to {address}");
        wait_until(&what, Duration::from_secs(10), async || {
            client.with(|role| role.has_connected)
        })
        .await?;
        Ok(Self { client })
    }

    /// Stops making messages and waits until all made are acknowledged, then disconnects.
    pub async fn finish(self, timeout: Duration) -> Result<()> {
        let waiting = || {
            self.client.with(|role| {
                role.making = false;
                role.in_flight.len() + role.queue.len()
            })
        };
        if wait_until("acknowledgements", timeout, async || waiting() == 0)
            .await
            .is_err()
        {
            bail!(
                "{} messages are still unacknowledged after {:.1} s",
                waiting(),
                timeout.as_secs_f64()
            );
        }
        self.client.set_presence(Presence::Left);
        Ok(())
    }

    /// Waits until so many more messages than now are acknowledged.
    pub async fn wait_acknowledged(&self, more: u64, timeout: Duration) -> Result<()> {
        let start = self.client.with(|role| role.acknowledged);
        let done = async || {
            self.client
                .with(|role| (role.acknowledged >= start + more).then_some(()))
        };
        wait_for(&format!("{more} more acknowledgements"), timeout, done).await
    }
}

#[derive(Debug)]
struct InFlight {
    packet_id: u16,
    number: u64,
    /// QoS 2: the broker has it, and waits for the release.
    released: bool,
}

#[derive(Debug)]
struct Sending {
    client_id: String,
    topic: String,
    qos: QoS,
    per_second: f64,
    ledger: Ledger,
    making: bool,
    has_connected: bool,
    since: Option<Instant>,
    made: f64,
    acknowledged: u64,
    queue: VecDeque<u64>,
    in_flight: VecDeque<InFlight>,
    last_packet_id: u16,
}

impl Sending {
    fn new(client_id: &str, topic: &str, qos: QoS, per_second: u32, ledger: Ledger) -> Self {
        Self {
            client_id: client_id.to_owned(),
            topic: topic.to_owned(),
            qos,
            per_second: f64::from(per_second),
            ledger,
            making: true,
            has_connected: false,
            since: None,
            made: 0.0,
            acknowledged: 0,
            queue: VecDeque::new(),
            in_flight: VecDeque::new(),
            last_packet_id: 0,
        }
    }

    fn publish(&self, packet_id: u16, number: u64, again: bool) -> Packet {
        let mut publish = Publish::new(&self.topic, self.qos, format!("{} {number}", self.client_id));
        publish.pkid = packet_id;
        publish.dup = again;
        Packet::Publish(publish)
    }

    fn next_packet_id(&mut self) -> u16 {
        // The window is far smaller than the number of ids, so a free one is near.
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if self
                .in_flight
                .iter()
                .all(|message| message.packet_id != self.last_packet_id)
            {
                return self.last_packet_id;
            }
        }
    }

    fn acknowledge(&mut self, number: u64) {
        self.acknowledged += 1;
        self.ledger.acknowledge(&self.client_id, number);
    }

    fn position(&self, packet_id: u16) -> Option<usize> {
        self.in_flight
            .iter()
            .position(|message| message.packet_id == packet_id)
    }
}

impl Role for Sending {
    fn client_id(&self) -> &str {
        &self.client_id
    }

    fn clean_session(&self) -> bool {
        false
    }

    fn connected(&mut self, session_present: bool) -> Vec<Packet> {
        self.has_connected = true;
        if !session_present {
            // This broker knows none of it: what an earlier one took is done, the rest is new.
            self.in_flight.retain(|message| !message.released);
        }
        let repeat = |message: &InFlight| {
            if message.released {
                Packet::PubRel(PubRel::new(message.packet_id))
            } else {
                self.publish(message.packet_id, message.number, session_present)
            }
        };
        self.in_flight.iter().map(repeat).collect()
    }

    fn heard(&mut self, packet: Packet, _: Instant) -> Vec<Packet> {
        match packet {
            Packet::PubAck(ack) => {
                if let Some(message) = self.position(ack.pkid).and_then(|at| self.in_flight.remove(at)) {
                    self.acknowledge(message.number);
                }
                Vec::new()
            }
            Packet::PubRec(received) => {
                if let Some(at) = self.position(received.pkid)
                    && !self.in_flight[at].released
                {
                    self.in_flight[at].released = true;
                    self.acknowledge(self.in_flight[at].number);
                }
                vec![Packet::PubRel(PubRel::new(received.pkid))]
            }
            Packet::PubComp(complete) => {
                if let Some(at) = self.position(complete.pkid) {
                    self.in_flight.remove(at);
                }
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn due(&mut self, connected: bool, now: Instant) -> Vec<Packet> {
        let since = *self.since.get_or_insert(now);
        while self.making && self.made < (now - since).as_secs_f64() * self.per_second {
            self.made += 1.0;
            self.queue.push_back(self.ledger.send(&self.client_id));
        }
        let mut packets = Vec::new();
        while connected && self.in_flight.len() < WINDOW {
            let Some(number) = self.queue.pop_front() else {
                break;
            };
            if self.qos == QoS::AtMostOnce {
                self.acknowledge(number);
                packets.push(self.publish(0, number, false));
                continue;
            }
            let packet_id = self.next_packet_id();
            self.in_flight.push_back(InFlight {
                packet_id,
                number,
                released: false,
            });
            packets.push(self.publish(packet_id, number, false));
        }
        packets
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{PubAck, PubRec};

    use super::*;

    fn sending(qos: QoS) -> (Sending, Ledger) {
        let ledger = Ledger::new();
        let mut sending = Sending::new("sensor", "t", qos, 10, ledger.clone());
        let start = Instant::now();
        sending.connected(false);
        sending.due(true, start);
        let first = sending.due(true, start + Duration::from_millis(150));
        assert_eq!(first.len(), 2, "10 per second for 150 ms");
        (sending, ledger)
    }

    #[test]
    fn an_unacknowledged_message_is_repeated_marked_as_such_on_the_same_session() {
        let (mut sending, ledger) = sending(QoS::AtLeastOnce);
        sending.heard(Packet::PubAck(PubAck::new(1)), Instant::now());
        assert_eq!((ledger.sent(), ledger.acknowledged()), (2, 1));
        let again = sending.connected(true);
        let [Packet::Publish(publish)] = again.as_slice() else {
            panic!("one is repeated: {again:?}")
        };
        assert!(publish.dup && publish.payload.as_ref() == b"sensor 1");
    }

    #[test]
    fn with_qos_0_a_message_is_sent_once_and_nobody_is_waited_for() {
        let (mut sending, ledger) = sending(QoS::AtMostOnce);
        assert_eq!((ledger.sent(), ledger.acknowledged()), (2, 2));
        assert_eq!(sending.connected(true), Vec::new());
    }

    #[test]
    fn what_a_lost_session_had_taken_with_qos_2_is_not_sent_to_the_next_broker() {
        let (mut sending, ledger) = sending(QoS::ExactlyOnce);
        sending.heard(Packet::PubRec(PubRec::new(1)), Instant::now());
        assert_eq!(ledger.acknowledged(), 1);
        let again = sending.connected(false);
        let [Packet::Publish(publish)] = again.as_slice() else {
            panic!("one is sent anew: {again:?}")
        };
        assert!(!publish.dup && publish.payload.as_ref() == b"sensor 1");
    }
}
