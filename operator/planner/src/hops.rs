//! What passes between neighbours, in numbers that sort fast, and which pairs of neighbours a change touches.

use crate::grow::Flow;
use crate::topology::{Node, Topology};

/// A step from one neighbour to another: number of the pair, and whether it leads from the smaller node to the larger.
#[derive(Clone, Copy)]
pub(crate) struct Hop {
    pub(crate) pair: u32,
    upward: bool,
}

impl Hop {
    pub(crate) fn new(topology: &Topology, from: Node, to: Node) -> Option<Self> {
        Some(Self {
            pair: topology.pair_number(from, to)?,
            upward: from < to,
        })
    }

    pub(crate) fn back(self) -> Self {
        Self {
            upward: !self.upward,
            ..self
        }
    }

    /// What passes there, packed so that sorting is cheap.
    pub(crate) fn of(self, what: u32) -> u64 {
        u64::from(self.pair) << 33 | u64::from(self.upward) << 32 | u64::from(what)
    }
}

pub(crate) fn pair_of(hop: u64) -> u32 {
    (hop >> 33) as u32
}

#[expect(clippy::cast_possible_truncation, reason = "it is the lower half")]
pub(crate) fn what_of(hop: u64) -> u32 {
    hop as u32
}

pub(crate) fn is_upward(hop: u64) -> bool {
    hop >> 32 & 1 == 1
}

/// Which pairs of neighbours a class has to be laid on.
pub(crate) enum Touched {
    All,
    /// Only these, by number; all else is as it was.
    Some(Vec<bool>),
}

impl Touched {
    /// The pairs that some flow passes only before or only now, or for somebody else.
    pub(crate) fn between(topology: &Topology, before: &[Flow], now: &[Flow]) -> Option<Self> {
        let mut is_touched = vec![false; topology.arc_count()];
        let mut any = false;
        for (before, now) in before.iter().zip(now) {
            if before.way == now.way && before.players == now.players {
                continue;
            }
            for hop in before.way.windows(2).chain(now.way.windows(2)) {
                if let Some(pair) = topology.pair_number(hop[0], hop[1]) {
                    is_touched[pair as usize] = true;
                    any = true;
                }
            }
        }
        any.then_some(Self::Some(is_touched))
    }

    pub(crate) fn contains(&self, pair: u32) -> bool {
        match self {
            Self::All => true,
            Self::Some(pairs) => pairs.get(pair as usize).copied().unwrap_or(false),
        }
    }

    /// What was found on touched pairs, sorted, with what was known of the others.
    pub(crate) fn with(&self, mut found: Vec<u64>, known: &[u64]) -> Vec<u64> {
        found.sort_unstable();
        found.dedup();
        if let Self::All = self {
            found.shrink_to_fit();
            return found;
        }
        let mut all = Vec::with_capacity(known.len() + found.len());
        let mut found = found.into_iter().peekable();
        for &hop in known.iter().filter(|&&hop| !self.contains(pair_of(hop))) {
            while let Some(before) = found.next_if(|&found| found < hop) {
                all.push(before);
            }
            all.push(hop);
        }
        all.extend(found);
        all
    }
}

/// The hops of one pair of neighbours.
pub(crate) fn origins_of(origins: &[u64], pair: u32) -> &[u64] {
    let start = origins.partition_point(|&hop| pair_of(hop) < pair);
    let count = origins[start..].partition_point(|&hop| pair_of(hop) == pair);
    &origins[start..start + count]
}
