//! What was published, acknowledged and received, how often, and in which order. It judges nothing but what must never be.

use std::collections::BTreeSet;

use crate::air::{BrokerId, MOST_BROKERS};
use crate::names::ClientId;
use crate::packet::{Message, Time};

/// A message that passes a broker more often than any redelivery explains goes round.
const MOST_PASSES: u8 = 60;

/// The origin of probes and markers.
pub(crate) const PROBES: u16 = 0;

/// One message of an origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Time,
    pub(crate) acknowledged: Option<Time>,
    passes: [u8; MOST_BROKERS],
}

/// Who publishes.
#[derive(Debug, Default)]
pub(crate) struct Origin {
    pub(crate) name: String,
    pub(crate) sent: Vec<Sent>,
}

/// How often each message of an origin came, and how.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// By number.
    pub(crate) copies: Vec<u8>,
    /// The highest number that came so far, plus one.
    highest: u32,
    /// First deliveries that came after a later message.
    pub(crate) late: u32,
}

/// Who subscribes.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    pub(crate) name: String,
    /// When its subscription was first acknowledged.
    pub(crate) since: Option<Time>,
    pub(crate) fresh_sessions: u32,
    /// By origin.
    pub(crate) received: Vec<Received>,
    /// Messages that it took for others, by origin and number.
    mistaken: BTreeSet<(u16, u32)>,
}

/// A client id went from hand to hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takeovers {
    pub(crate) broker: BrokerId,
    pub(crate) client: ClientId,
    pub(crate) count: u32,
    since: Time,
}

/// Everything that clients can tell.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) origins: Vec<Origin>,
    pub(crate) receivers: Vec<Receiver>,
    /// The message that goes round, and where.
    pub(crate) loops: Option<(Message, BrokerId)>,
    pub(crate) takeovers: Vec<Takeovers>,
    /// What must not be, in sentences.
    pub(crate) complaints: Vec<String>,
}

impl Ledger {
    pub(crate) fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// When a message was published.
    pub(crate) fn sent_at(&self, origin: u16, number: u32) -> Time {
        let sent = self.origins[usize::from(origin)].sent.get(number as usize);
        sent.map_or(0, |sent| sent.at)
    }

    pub(crate) fn origin(&mut self, name: &str) -> u16 {
        self.origins.push(Origin {
            name: name.to_owned(),
            sent: Vec::new(),
        });
        (self.origins.len() - 1) as u16
    }

    pub(crate) fn receiver(&mut self, name: &str) -> usize {
        self.receivers.push(Receiver {
            name: name.to_owned(),
            ..Receiver::default()
        });
        self.receivers.len() - 1
    }

    /// How many messages an origin has published.
    pub(crate) fn count(&self, origin: u16) -> u32 {
        self.origins[usize::from(origin)].sent.len() as u32
    }

    /// A message is published; its number.
    pub(crate) fn send(&mut self, origin: u16, at: Time) -> u32 {
        let sent = &mut self.origins[usize::from(origin)].sent;
        sent.push(Sent {
            at,
            acknowledged: None,
            passes: [0; MOST_BROKERS],
        });
        (sent.len() - 1) as u32
    }

    pub(crate) fn acknowledge(&mut self, origin: u16, number: u32, at: Time) {
        if let Some(sent) = self.origins[usize::from(origin)].sent.get_mut(number as usize) {
            sent.acknowledged.get_or_insert(at);
        }
    }

    pub(crate) fn subscribed(&mut self, receiver: usize, at: Time) {
        self.receivers[receiver].since.get_or_insert(at);
    }

    pub(crate) fn fresh_session(&mut self, receiver: usize) {
        self.receivers[receiver].fresh_sessions += 1;
    }

    pub(crate) fn receive(&mut self, receiver: usize, message: Message) {
        let by_origin = &mut self.receivers[receiver].received;
        let origin = usize::from(message.origin);
        if by_origin.len() <= origin {
            by_origin.resize_with(origin + 1, Received::default);
        }
        let known = &mut by_origin[origin];
        let number = message.number as usize;
        if known.copies.len() <= number {
            known.copies.resize(number + 1, 0);
        }
        let copies = &mut known.copies[number];
        if *copies == 0 {
            if message.number < known.highest {
                known.late += 1;
            }
            known.highest = known.highest.max(message.number + 1);
        }
        *copies = copies.saturating_add(1);
    }

    /// A receiver took a message for another that it has, and will not look at it.
    pub(crate) fn mistake(&mut self, receiver: usize, message: Message) {
        let mistaken = &mut self.receivers[receiver].mistaken;
        mistaken.insert((message.origin, message.number));
    }

    /// Whether a receiver took a message for another.
    pub(crate) fn is_mistaken(&self, receiver: usize, origin: u16, number: usize) -> bool {
        let mistaken = &self.receivers[receiver].mistaken;
        mistaken.contains(&(origin, number as u32))
    }

    /// A broker passes a message on.
    pub(crate) fn passes(&mut self, broker: BrokerId, message: Message) {
        let origin = self.origins.get_mut(usize::from(message.origin));
        if let Some(sent) = origin.and_then(|origin| origin.sent.get_mut(message.number as usize)) {
            let passes = &mut sent.passes[broker];
            *passes = passes.saturating_add(1);
            if *passes > MOST_PASSES && self.loops.is_none() {
                self.loops = Some((message, broker));
            }
        }
    }

    /// A client came with an id that was in use.
    pub(crate) fn takeover(&mut self, broker: BrokerId, client: ClientId, now: Time) {
        let known = self
            .takeovers
            .iter_mut()
            .find(|takeovers| takeovers.broker == broker && takeovers.client == client);
        if let Some(takeovers) = known {
            // Long ago is another story.
            if now.saturating_sub(takeovers.since) > 20 * crate::packet::SECOND {
                takeovers.count = 0;
                takeovers.since = now;
            }
            takeovers.count += 1;
        } else {
            self.takeovers.push(Takeovers {
                broker,
                client,
                count: 1,
                since: now,
            });
        }
    }

    /// How often a message came to a receiver.
    pub(crate) fn copies(&self, receiver: usize, origin: u16, number: usize) -> u8 {
        self.receivers[receiver]
            .received
            .get(usize::from(origin))
            .and_then(|received| received.copies.get(number))
            .copied()
            .unwrap_or(0)
    }
}
