//! Which of a pull link's two sessions it is to use.
//!
//! A link that stays may have to fetch more than it does, of what another is to fetch no longer. Its session cannot gather
//! that beforehand, for a bridge is using it. So the link *turns*: it is made anew with its other session, which is opened
//! like that of any new link, and goes as an old one. Knows strands; knows no sessions and no time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skein_api::name::{BrokerName, ClassName};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Mode};

use crate::rollout::Position;
use crate::strand::{LinkId, Strand};
use crate::strands::Strands;

/// The links that are turning, each under the name that it has in the plan, and what they turn to.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    turning: BTreeMap<LinkId, Mode>,
    /// Those that have turned last, and may come back to what waits in that session.
    turned: BTreeSet<LinkId>,
}

/// Whether a link is to fetch more, and how it runs now.
struct Growth {
    mode: Mode,
    gains: Vec<TopicFilter>,
}

impl Turns {
    /// Says in what the brokers should have which session each pull link uses. `clients_move`: client addresses are about
    /// to lead elsewhere, and what fetches from there must gather before they do.
    pub(crate) fn apply(&mut self, positions: &mut BTreeMap<BrokerName, Position>, clients_move: bool) {
        let has = |strands: &Strands, link: &LinkId, is: &dyn Fn(&Strand) -> bool| {
            let of_class = strands.of_class(&link.class);
            of_class.is_some_and(|strands| strands.iter().any(|it| planned(it) == *link && is(it)))
        };
        self.turning.retain(|link, _| {
            let position = positions.get(&link.downstream);
            position.is_some_and(|position| has(&position.desired, link, &|_| true))
        });
        // What waits in a session that a link has left is fetched before it is given up.
        self.turned.retain(|link| {
            let position = positions.get(&link.downstream);
            !position.is_some_and(|position| has(&position.newest, link, &|it| it.mode == Mode::Pull))
        });
        let mut modes = BTreeMap::new();
        let mut growing = BTreeMap::new();
        for position in positions
            .values()
            .filter(|position| position.newest != position.desired)
        {
            self.look_at(position, &mut modes, &mut growing);
        }
        rewrite(positions, &modes);
        if growing.is_empty() {
            return;
        }
        let mut turning = BTreeMap::new();
        for (link, growth) in growing {
            if clients_move || takes_over(positions, &link, &growth.gains) {
                turning.insert(link, other(growth.mode));
            }
        }
        rewrite(positions, &turning);
        self.turning.extend(turning);
    }

    /// What its links go on as, and which of them are to fetch more.
    fn look_at(
        &mut self,
        position: &Position,
        modes: &mut BTreeMap<LinkId, Mode>,
        growing: &mut BTreeMap<LinkId, Growth>,
    ) {
        let mut held: BTreeMap<LinkId, Vec<&Strand>> = BTreeMap::new();
        let mut wanted: BTreeMap<LinkId, Vec<&Strand>> = BTreeMap::new();
        for (_, desired, newest) in position.desired.differing(&position.newest) {
            let newest = newest.into_iter().flat_map(|strands| strands.iter());
            for strand in newest.filter(|strand| is_pulled(strand)) {
                held.entry(planned(strand)).or_default().push(strand);
            }
            for strand in desired.iter().filter(|strand| is_pulled(strand)) {
                wanted.entry(planned(strand)).or_default().push(strand);
            }
        }
        for (link, strands) in wanted {
            let held = held.get(&link).map(Vec::as_slice).unwrap_or_default();
            let Some(mode) = held.first().map(|strand| strand.mode) else {
                // It has let go of what it was, and is not there yet as what it is going to be.
                let turned = self.turned.contains(&link).then_some(Mode::Pull2);
                if let Some(mode) = self.turning.get(&link).copied().or(turned) {
                    modes.insert(link, mode);
                }
                continue;
            };
            if mode == Mode::Pull2 {
                self.turned.insert(link.clone());
            }
            let covered = |wanted: &Strand| held.iter().any(|held| held.filter.covers(&wanted.filter));
            let gains: Vec<TopicFilter> = strands
                .iter()
                .filter(|strand| !covered(strand))
                .map(|strand| strand.filter.clone())
                .collect();
            let turning = self
                .turning
                .get(&link)
                .filter(|to| **to != mode && !gains.is_empty());
            if let Some(to) = turning {
                modes.insert(link, *to);
                continue;
            }
            self.turning.remove(&link);
            if mode != Mode::Pull {
                modes.insert(link.clone(), mode);
            }
            if !gains.is_empty() {
                growing.insert(link, Growth { mode, gains });
            }
        }
    }
}

/// The user's messages come in by it, and nothing goes out.
fn is_pulled(strand: &Strand) -> bool {
    strand.mode != Mode::Duplex && !strand.control && strand.direction == Direction::In
}

/// What its link is called in a plan, which knows nothing of sessions.
fn planned(strand: &Strand) -> LinkId {
    LinkId {
        mode: strand.mode.in_plan(),
        ..strand.link()
    }
}

fn other(mode: Mode) -> Mode {
    match mode {
        Mode::Pull => Mode::Pull2,
        Mode::Pull2 => Mode::Pull,
        Mode::Duplex => Mode::Duplex,
    }
}

/// Some other link is to fetch something of this no longer.
fn takes_over(positions: &BTreeMap<BrokerName, Position>, link: &LinkId, gains: &[TopicFilter]) -> bool {
    positions
        .values()
        .flat_map(|position| position.newest.difference(&position.desired))
        .filter(|strand| !strand.control && planned(strand) != *link)
        .any(|strand| gains.iter().any(|gained| gained.overlaps(&strand.filter)))
}

fn rewrite(positions: &mut BTreeMap<BrokerName, Position>, modes: &BTreeMap<LinkId, Mode>) {
    let places: BTreeSet<(&BrokerName, &ClassName)> =
        modes.keys().map(|link| (&link.downstream, &link.class)).collect();
    for (broker, class) in places {
        let Some(position) = positions.get_mut(broker) else {
            continue;
        };
        let Some(desired) = position.desired.of_class(class) else {
            continue;
        };
        let rewritten = desired.iter().map(|strand| Strand {
            mode: modes.get(&planned(strand)).copied().unwrap_or(strand.mode),
            ..strand.clone()
        });
        let rewritten = Arc::new(rewritten.collect());
        Arc::make_mut(&mut position.desired).set_class(class, rewritten);
    }
}

#[cfg(test)]
mod tests;
