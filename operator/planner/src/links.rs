//! Gathers what the classes put on links, and makes the links of it.
//!
//! A link that changes is woven of what stays of the link before and of what the changed classes put there now.

use std::cmp::Ordering;
use std::sync::Arc;

use skein_api::name::ClassName;
use skein_mosquitto::link::{Link, Mode};

use crate::filters::ClassFilters;
use crate::laid::{Head, Parts, View};
use crate::topology::Topology;
use crate::weave::{Span, Weave};

/// A class as links see it.
#[derive(Clone, Copy)]
pub(crate) struct Carried<'a> {
    pub(crate) name: &'a ClassName,
    pub(crate) filters: &'a ClassFilters,
    pub(crate) parts: &'a Parts,
}

/// All links, and which of them must be made anew.
#[derive(Clone, Debug, Default)]
pub(crate) struct Links {
    /// By link: two for each arc from the holder to the other, in the order of modes. So they stand as the plan has them.
    entries: Vec<Entry>,
    made: Vec<Option<Arc<Link>>>,
    stale: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    seats: Vec<Seat>,
    stale: bool,
}

/// One class on a link.
#[derive(Clone, Debug)]
struct Seat {
    class: u32,
    /// The place of its part when it was put there.
    part: u32,
    /// Where its lines are on the link as made last; `None` if they are not, or not in one piece.
    lines: Option<Span>,
    control: Option<Span>,
    /// It leaves with the next link.
    gone: bool,
}

impl Links {
    /// The class at a place puts `new` on links where it had put `old`.
    pub(crate) fn replace(&mut self, topology: &Topology, class: usize, old: &Parts, new: &Parts) {
        let (mut before, mut after) = (old.iter().peekable(), (0..).zip(new.iter()).peekable());
        let key = |head: &Head| (head.pair, head.held_by_larger, head.mode);
        let class = u32::try_from(class).unwrap_or(u32::MAX);
        loop {
            let order = match (before.peek(), after.peek()) {
                (Some(old), Some((_, new))) => key(&old.head).cmp(&key(&new.head)),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            let gone = before.next_if(|_| order.is_le());
            let come = after.next_if(|_| order.is_ge());
            let same = matches!((gone, come), (Some(gone), Some((_, come))) if gone == come);
            let Some(head) = gone.or(come.map(|(_, part)| part)).map(|part| part.head) else {
                return;
            };
            let entry = if same { None } else { self.touch(topology, head) };
            let Some(entry) = entry else { continue };
            if gone.is_some() {
                for seat in entry.seats.iter_mut().filter(|seat| seat.class == class) {
                    seat.gone = true;
                }
            }
            if let Some((part, _)) = come {
                entry.seats.push(Seat {
                    class,
                    part,
                    lines: None,
                    control: None,
                    gone: false,
                });
            }
        }
    }

    /// The entry of a link that changes.
    fn touch(&mut self, topology: &Topology, head: Head) -> Option<&mut Entry> {
        if self.entries.len() < 2 * topology.arc_count() {
            self.entries.resize(2 * topology.arc_count(), Entry::default());
            self.made.resize(2 * topology.arc_count(), None);
        }
        let (holder, other) = head.ends(topology);
        let number = 2 * topology.place(holder, other)? + usize::from(head.mode == Mode::Duplex);
        let entry = self.entries.get_mut(number)?;
        if !entry.stale {
            entry.stale = true;
            self.stale.push(number);
        }
        Some(entry)
    }

    /// The links, sorted; those that changed are made anew.
    pub(crate) fn list<'a>(
        &mut self,
        topology: &Topology,
        class: impl Fn(u32) -> Option<Carried<'a>>,
    ) -> Vec<Arc<Link>> {
        let mut weave = Weave::default();
        for number in std::mem::take(&mut self.stale) {
            let old = self.made[number].take();
            self.made[number] =
                self.entries[number].make(topology, number, &class, old.as_deref(), &mut weave);
        }
        self.made.iter().flatten().cloned().collect()
    }
}

impl Entry {
    /// Makes the link anew.
    fn make<'a>(
        &mut self,
        topology: &Topology,
        number: usize,
        class: impl Fn(u32) -> Option<Carried<'a>>,
        old: Option<&Link>,
        weave: &mut Weave,
    ) -> Option<Arc<Link>> {
        self.stale = false;
        if self.seats.iter().all(|seat| seat.gone) {
            self.seats = Vec::new();
            return None;
        }
        let (holder, other) = topology.arc(number / 2);
        let mode = if number.is_multiple_of(2) {
            Mode::Pull
        } else {
            Mode::Duplex
        };
        let pair = topology.pair_number(holder, other);
        let part = |seat: &Seat| -> Option<(Carried<'a>, View<'a>)> {
            let class = class(seat.class)?;
            let is_it = |part: &View| {
                Some(part.head.pair) == pair
                    && part.head.ends(topology) == (holder, other)
                    && part.head.mode == mode
            };
            let parts = class.parts;
            let part = parts.get(seat.part as usize).filter(is_it);
            let part = part.or_else(|| parts.get(parts.find(pair?, holder > other, mode)?))?;
            Some((class, part))
        };
        let lines = weave.weave(
            old.map_or(&[], |link| &link.lines),
            &mut self.seats,
            |seat| (&mut seat.lines, seat.gone),
            |seat, lines| {
                if let Some((class, part)) = part(seat) {
                    lines.extend(class.filters.lines(part).map(Some));
                }
            },
        );
        let control = weave.weave(
            old.map_or(&[], |link| &link.control),
            &mut self.seats,
            |seat| (&mut seat.control, seat.gone),
            |seat, lines| {
                if let Some((class, part)) = part(seat) {
                    lines.extend(class.filters.control(part).map(Some));
                }
            },
        );
        self.seats.retain(|seat| !seat.gone);
        if old.is_none() {
            self.seats.shrink_to_fit();
        }
        let name = |seat: &Seat| Some(class(seat.class)?.name.clone());
        Some(Arc::new(Link {
            downstream: topology.name(holder).clone(),
            upstream: topology.name(other).clone(),
            mode,
            lines,
            control,
            classes: self.seats.iter().filter_map(name).collect(),
        }))
    }
}
