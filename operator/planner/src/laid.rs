//! What a class puts on links, in numbers: a large plan has hundreds of thousands of lines, and most stay as they are.
//!
//! Knows neither flows nor texts; `parts` lays, `links` reads.

use skein_api::name::Qos;
use skein_mosquitto::link::{Direction, Mode};

use crate::lines::Place;
use crate::topology::{Node, Topology};

/// A line in one number: the place of its filter among those of the class, direction, quality. Ordered as lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Packed(u32);

impl Packed {
    pub(crate) fn new(place: Place, direction: Direction, qos: Qos) -> Self {
        Self(place << 4 | (direction as u32) << 2 | qos as u32)
    }

    pub(crate) fn place(self) -> Place {
        self.0 >> 4
    }

    pub(crate) fn direction(self) -> Direction {
        match self.0 >> 2 & 3 {
            0 => Direction::In,
            1 => Direction::Out,
            _ => Direction::Both,
        }
    }

    pub(crate) fn qos(self) -> Qos {
        match self.0 & 3 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            _ => Qos::ExactlyOnce,
        }
    }
}

/// Stands among the brokers that probes come from for all of them.
pub(crate) const ANYBODY: Node = Node::MAX;

/// The head of what one class puts on one link. Ordered by pair, then holder, then mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Head {
    /// The number of the pair of neighbours.
    pub(crate) pair: u32,
    /// The connection is held by the pair's larger node.
    pub(crate) held_by_larger: bool,
    pub(crate) mode: Mode,
    /// Where the probes go.
    pub(crate) direction: Direction,
}

impl Head {
    /// Who holds the connection, and the other.
    pub(crate) fn ends(self, topology: &Topology) -> (Node, Node) {
        let (smaller, larger) = topology.pair(self.pair);
        if self.held_by_larger {
            (larger, smaller)
        } else {
            (smaller, larger)
        }
    }
}

/// A head with where its lines end; they start where those of the one before end.
#[derive(Clone, Copy, Debug)]
struct Part {
    head: Head,
    lines: u32,
    origins: u32,
}

/// What one class puts on one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub(crate) head: Head,
    /// Sorted.
    pub(crate) lines: &'a [Packed],
    /// The brokers whose probes pass, or [`ANYBODY`]; sorted.
    pub(crate) origins: &'a [Node],
}

/// Everything a class puts on links, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts {
    list: Vec<Part>,
    lines: Vec<Packed>,
    origins: Vec<Node>,
}

impl Parts {
    /// With room for about as much as `like` holds.
    pub(crate) fn like(like: &Self) -> Self {
        Self {
            list: Vec::with_capacity(like.list.len()),
            lines: Vec::with_capacity(like.lines.len()),
            origins: Vec::with_capacity(like.origins.len()),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, place: usize) -> Option<View<'_>> {
        let part = self.list.get(place)?;
        let before = place.checked_sub(1).map(|before| &self.list[before]);
        let (lines, origins) = before.map_or((0, 0), |part| (part.lines as usize, part.origins as usize));
        Some(View {
            head: part.head,
            lines: &self.lines[lines..part.lines as usize],
            origins: &self.origins[origins..part.origins as usize],
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = View<'_>> {
        (0..self.list.len()).filter_map(|place| self.get(place))
    }

    /// Adds a part, which must come after those that are there.
    pub(crate) fn push(&mut self, part: View) {
        self.lines.extend_from_slice(part.lines);
        self.origins.extend_from_slice(part.origins);
        self.list.push(Part {
            head: part.head,
            lines: end(self.lines.len()),
            origins: end(self.origins.len()),
        });
    }

    /// Gives memory back that more parts would have used.
    pub(crate) fn shrink(&mut self) {
        self.list.shrink_to_fit();
        self.lines.shrink_to_fit();
        self.origins.shrink_to_fit();
    }

    /// Gives every line's filter another place.
    pub(crate) fn renumber(&mut self, place: impl Fn(Place) -> Place) {
        for line in &mut self.lines {
            *line = Packed::new(place(line.place()), line.direction(), line.qos());
        }
    }
}

/// More than 2^32 lines of one class would not fit into memory.
fn end(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
