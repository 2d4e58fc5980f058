//! Walks one message from one broker through the lines it matches, as the brokers pass it on. Knows where it arrives,
//! how often and with which quality of service; does not judge.
//!
//! A broker passes a message on over every arc that leaves it and has a matching line, once per matching line (once in
//! all if it removes duplicates), except back over the link that the message came in on.

use skein_api::name::Qos;

use crate::model::{ArcId, Broker, FilterId, Model, link_of};

const NONE: usize = usize::MAX;

/// The state of the walks, kept to be used again: what a number was marked with tells whether its entry still holds.
pub(crate) struct Walker<'m, 'a> {
    model: &'m Model<'a>,
    message: u32,
    walk: u32,
    arcs: Vec<ArcState>,
    brokers: Vec<BrokerState>,
    /// Arcs that carry the message.
    carrying: Vec<ArcId>,
    /// Arcs walked; each after all that were walked because of it (unless there is a loop).
    order: Vec<ArcId>,
    stack: Vec<(ArcId, ArcId)>,
    /// The last arc of a round, and the first one that follows it again.
    circle: Option<(ArcId, ArcId)>,
    /// Each broker was reached once, by one copy.
    plain: bool,
}

#[derive(Clone, Copy)]
struct ArcState {
    message: u32,
    /// How many copies the tail sends for each it gets.
    times: u32,
    qos: Qos,
    /// The next arc that carries the message from the same tail.
    next: ArcId,
    walk: u32,
    /// The walk is still somewhere behind this arc.
    open: bool,
    /// The arc that the message came by when it was first sent here.
    parent: ArcId,
    arriving: Qos,
}

#[derive(Clone, Copy)]
struct BrokerState {
    message: u32,
    first: ArcId,
    walk: u32,
    /// The arc that brought the best copy; none at the entry.
    by: ArcId,
}

impl<'m, 'a> Walker<'m, 'a> {
    pub(crate) fn new(model: &'m Model<'a>) -> Self {
        let arc = ArcState {
            message: 0,
            times: 0,
            qos: Qos::ExactlyOnce,
            next: NONE,
            walk: 0,
            open: false,
            parent: NONE,
            arriving: Qos::ExactlyOnce,
        };
        let broker = BrokerState {
            message: 0,
            first: NONE,
            walk: 0,
            by: NONE,
        };
        Self {
            model,
            message: 0,
            walk: 0,
            arcs: vec![arc; model.arc_count()],
            brokers: vec![broker; model.broker_count()],
            carrying: Vec::new(),
            order: Vec::new(),
            stack: Vec::new(),
            circle: None,
            plain: true,
        }
    }

    /// Takes a message that matches these line filters.
    pub(crate) fn load(&mut self, matched: &[FilterId]) {
        self.message += 1;
        self.carrying.clear();
        for place in matched.iter().flat_map(|filter| self.model.places(*filter)) {
            let arc = &mut self.arcs[place.arc];
            if arc.message == self.message {
                // Which of several matching lines sets the quality is not promised: the lowest counts.
                arc.qos = arc.qos.min(place.qos);
                arc.times += u32::from(!self.model.deduplicates(place.arc));
            } else {
                arc.message = self.message;
                arc.times = 1;
                arc.qos = place.qos;
                let tail = &mut self.brokers[self.model.tail(place.arc)];
                if tail.message != self.message {
                    tail.message = self.message;
                    tail.first = NONE;
                }
                arc.next = std::mem::replace(&mut tail.first, place.arc);
                self.carrying.push(place.arc);
            }
        }
    }

    /// Arcs that carry the message that was taken.
    pub(crate) fn carrying(&self) -> &[ArcId] {
        &self.carrying
    }

    /// How many copies an arc carries for each that arrives at its tail; 0 if it does not carry the message.
    pub(crate) fn times(&self, arc: ArcId) -> u32 {
        if self.arcs[arc].message == self.message {
            self.arcs[arc].times
        } else {
            0
        }
    }

    /// With which quality an arc carries the message.
    pub(crate) fn qos(&self, arc: ArcId) -> Qos {
        self.arcs[arc].qos
    }

    fn first(&self, broker: Broker) -> ArcId {
        let broker = &self.brokers[broker];
        if broker.message == self.message {
            broker.first
        } else {
            NONE
        }
    }

    /// Publishes the message at a broker and follows every copy until none is on its way, or it goes round.
    pub(crate) fn walk(&mut self, entry: Broker) {
        self.walk += 1;
        self.order.clear();
        self.circle = None;
        self.plain = true;
        self.brokers[entry].walk = self.walk;
        self.brokers[entry].by = NONE;
        self.stack.push((NONE, self.first(entry)));
        while let Some(top) = self.stack.last_mut() {
            let (from, arc) = *top;
            if arc == NONE {
                self.stack.pop();
                if from != NONE {
                    self.arcs[from].open = false;
                    self.order.push(from);
                }
                continue;
            }
            top.1 = self.arcs[arc].next;
            if from == NONE || link_of(from) != link_of(arc) {
                self.step(from, arc);
            }
        }
    }

    fn step(&mut self, from: ArcId, arc: ArcId) {
        let before = if from == NONE {
            Qos::ExactlyOnce
        } else {
            self.arcs[from].arriving
        };
        let state = &mut self.arcs[arc];
        if state.walk == self.walk {
            self.plain = false;
            if state.open && self.circle.is_none() {
                self.circle = Some((from, arc));
            }
            return;
        }
        state.walk = self.walk;
        state.open = true;
        state.parent = from;
        state.arriving = before.min(state.qos);
        let (times, arriving) = (state.times, state.arriving);
        let head = self.model.head(arc);
        let broker = &mut self.brokers[head];
        if broker.walk == self.walk {
            self.plain = false;
            if broker.by != NONE && self.arcs[broker.by].arriving < arriving {
                broker.by = arc;
            }
        } else {
            broker.walk = self.walk;
            broker.by = arc;
        }
        self.plain &= times == 1;
        let first = self.first(head);
        self.stack.push((arc, first));
    }

    /// Whether the message got to a broker.
    pub(crate) fn reached(&self, broker: Broker) -> bool {
        self.brokers[broker].walk == self.walk
    }

    /// With which quality the best copy got to a broker, if any did.
    pub(crate) fn arrived(&self, broker: Broker) -> Option<Qos> {
        let state = &self.brokers[broker];
        let by = (state.walk == self.walk).then_some(state.by)?;
        Some(if by == NONE {
            Qos::ExactlyOnce
        } else {
            self.arcs[by].arriving
        })
    }

    /// The arc that brought the best copy to a broker other than the entry.
    pub(crate) fn arrived_by(&self, broker: Broker) -> Option<ArcId> {
        let state = &self.brokers[broker];
        (state.walk == self.walk && state.by != NONE).then_some(state.by)
    }

    /// Arcs that the message took; each after all that it took because of it.
    pub(crate) fn taken(&self) -> &[ArcId] {
        &self.order
    }

    /// The arc that the message came by when it was first sent over `arc`; none at the entry.
    pub(crate) fn came_by(&self, arc: ArcId) -> Option<ArcId> {
        Some(self.arcs[arc].parent).filter(|parent| *parent != NONE)
    }

    /// The arcs that a copy takes next after it came by `arc`.
    pub(crate) fn onward(&self, arc: ArcId) -> impl Iterator<Item = ArcId> {
        let next = |arc: ArcId| (arc != NONE).then_some(arc);
        let first = next(self.first(self.model.head(arc)));
        let all = std::iter::successors(first, move |arc| next(self.arcs[*arc].next));
        all.filter(move |other| link_of(*other) != link_of(arc))
    }

    /// The arcs by which the message first came to `arc`, from the entry, `arc` included.
    pub(crate) fn trail(&self, arc: ArcId) -> Vec<ArcId> {
        let mut trail: Vec<ArcId> = std::iter::successors(Some(arc), |arc| self.came_by(*arc)).collect();
        trail.reverse();
        trail
    }

    /// The round that the message goes for ever, with the arcs that lead into it; `None` if it comes to rest. The number
    /// tells where in the arcs the round begins.
    pub(crate) fn circle(&self) -> Option<(Vec<ArcId>, usize)> {
        let (last, first) = self.circle?;
        let mut arcs = self.trail(last);
        arcs.push(first);
        // The first broker it comes back to closes a round already, over another link than it left by.
        let (end, start) = arcs.iter().enumerate().find_map(|(end, arc)| {
            let broker = self.model.head(*arc);
            let start = arcs[..=end]
                .iter()
                .position(|arc| self.model.tail(*arc) == broker)?;
            (start < end).then_some((end, start))
        })?;
        arcs.truncate(end + 1);
        Some((arcs, start))
    }

    /// Whether each broker that the message got to got one copy.
    pub(crate) fn is_plain(&self) -> bool {
        self.plain
    }

    /// How many copies each broker got, one at the entry for the message itself, and how many each arc carried; for a
    /// walk that comes to rest.
    pub(crate) fn copies(&self, entry: Broker) -> (Vec<u64>, Vec<u64>) {
        let mut carried = vec![0_u64; self.arcs.len()];
        let mut copies = vec![0_u64; self.brokers.len()];
        copies[entry] = 1;
        for arc in &self.order {
            if self.model.tail(*arc) == entry {
                carried[*arc] = u64::from(self.arcs[*arc].times);
            }
        }
        for arc in self.order.iter().rev() {
            let arriving = carried[*arc];
            let head = self.model.head(*arc);
            copies[head] = copies[head].saturating_add(arriving);
            for next in self.onward(*arc) {
                let times = u64::from(self.arcs[next].times);
                carried[next] = carried[next].saturating_add(arriving.saturating_mul(times));
            }
        }
        (copies, carried)
    }
}
