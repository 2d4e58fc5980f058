//! Which faults happen when.

use super::TROUBLE;
use crate::air::BrokerId;
use crate::packet::{MILLISECOND, Time};
use crate::random::Random;
use crate::sketch::Sketch;
use crate::world::Fault;

/// The longest that a fault lasts, in milliseconds.
pub(super) const LONGEST: Time = 15_000;

/// Edits, and every way is slow.
const LADEN: &[u64] = &[12];

/// A broker is out, and its subscribers are away meanwhile.
const MISSED: &[u64] = &[13];

/// How a schedule is made: a few kinds of trouble each, so that rows of the contract are met one by one as well as mixed.
const KINDS: [&[u64]; 13] = [
    // The controller alone.
    &[8, 9, 10, 11, 8, 9],
    // Links, and processes that restart in place.
    &[0, 6, 7, 0, 13],
    // Everything that leads to a migration.
    &[1, 2, 3, 0],
    // Edits.
    &[12, 12, 9, 0],
    // Edits, quickly after one another, while brokers come and go.
    &[12, 12, 12, 12, 0, 4],
    &[12, 12, 12, 3, 1, 9],
    // Edits while much is on its way: see [`laden`].
    LADEN,
    // Subscribers are away while their broker is out: see [`missed`].
    MISSED,
    // Drains, alone and with all that may come between.
    &[15, 13, 15],
    &[15, 15, 0, 1, 3, 9, 12, 13],
    // Supervisors.
    &[4, 5, 12, 0],
    // The way between controller and brokers.
    &[14, 14, 8, 11],
    // All of it.
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
];

/// Faults with their times in milliseconds, by time.
pub(super) fn random(random: &mut Random, sketch: &Sketch, edits: &mut Vec<Sketch>) -> Vec<(Time, Fault)> {
    let first = TROUBLE / MILLISECOND;
    let kinds = KINDS[random.index(KINDS.len())];
    if kinds == LADEN {
        return laden(random, sketch, edits);
    }
    if kinds == MISSED {
        return missed(random, sketch);
    }
    let span = random.between(1_000, 15_000);
    let mut times: Vec<Time> = (0..random.between(1, 8))
        .map(|_| first + random.below(span))
        .collect();
    times.sort_unstable();
    let mut newest = sketch.clone();
    times
        .into_iter()
        .map(|at| {
            let kind = kinds[random.index(kinds.len())];
            (at, one(random, kind, &mut newest, edits))
        })
        .collect()
}

/// Edits of all costs while messages take long everywhere, each way its own time, so that many are on their way when one
/// comes.
fn laden(random: &mut Random, sketch: &Sketch, edits: &mut Vec<Sketch>) -> Vec<(Time, Fault)> {
    let first = TROUBLE / MILLISECOND;
    let slow = sketch.routes.iter().map(|route| Fault::Slow {
        from: route.a,
        to: route.b,
        times: [10, 100, 200, 300][random.index(4)],
        lasts: LONGEST,
    });
    let mut faults: Vec<(Time, Fault)> = slow.map(|fault| (first, fault)).collect();
    let mut at = first;
    for _ in 0..3 {
        // Time enough for the switch before.
        at += random.between(4_000, 5_000);
        edits.push(sketch.recosted(random));
        let index = edits.len() - 1;
        faults.push((at, Fault::Edit { index }));
    }
    faults
}

/// One or two brokers fail one after the other, and subscribers of each go before, or a moment later, and come back at any time.
fn missed(random: &mut Random, sketch: &Sketch) -> Vec<(Time, Fault)> {
    let mut faults = Vec::new();
    let mut begin = TROUBLE / MILLISECOND;
    for _ in 0..random.between(1, 3) {
        let broker = random.index(sketch.series.len());
        let lasts = random.between(4_000, 9_000);
        let fault = match random.below(4) {
            0 => Fault::Down { broker, lasts },
            1 => Fault::Node {
                broker,
                volume: false,
                lasts,
            },
            2 => Fault::Hang {
                broker,
                known: random.one_in(2),
                lasts,
            },
            _ => Fault::Isolate {
                broker,
                to: true,
                from: true,
                lasts,
            },
        };
        let away = Fault::Away {
            broker,
            lasts: random.between(1_000, LONGEST),
        };
        faults.push((begin + random.below(3_000), away));
        faults.push((begin + 1_500, fault));
        // Time enough until all is as it was.
        begin += LONGEST + 10_000;
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

fn pair(random: &mut Random, count: usize) -> (BrokerId, BrokerId) {
    let from = random.index(count);
    let to = (from + 1 + random.index(count - 1)) % count;
    (from, to)
}

fn one(random: &mut Random, kind: u64, newest: &mut Sketch, edits: &mut Vec<Sketch>) -> Fault {
    let count = newest.series.len();
    let broker = random.index(count);
    let (from, to) = pair(random, count);
    let lasts = match random.below(3) {
        0 => random.between(50, 1_000),
        1 => random.between(1_000, 5_000),
        _ => random.between(5_000, LONGEST),
    };
    match kind {
        1 => Fault::Hang {
            broker,
            known: random.one_in(2),
            lasts,
        },
        2 => Fault::Down { broker, lasts },
        3 => Fault::Node {
            broker,
            volume: random.one_in(3),
            lasts,
        },
        4 => Fault::Supervisor { broker, lasts },
        5 => Fault::Refuse { broker, lasts },
        6 => Fault::Cut {
            from,
            to,
            both: random.one_in(2),
            lasts,
        },
        7 => Fault::Slow {
            from,
            to,
            times: 300,
            lasts,
        },
        8 => Fault::Controller { lasts },
        9 => Fault::Directives {
            count: random.below(6) as u32,
        },
        10 => Fault::Stall { lasts },
        11 => Fault::Late {
            by: random.between(100, 4_000),
            lasts,
        },
        12 => {
            *newest = newest.edited(random);
            edits.push(newest.clone());
            Fault::Edit {
                index: edits.len() - 1,
            }
        }
        13 => Fault::Away { broker, lasts },
        14 => {
            let way = random.below(3);
            Fault::Isolate {
                broker,
                to: way != 0,
                from: way != 1,
                lasts,
            }
        }
        15 => Fault::Drain { broker, lasts },
        _ => Fault::Crash { broker },
    }
}
