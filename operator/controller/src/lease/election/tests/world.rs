//! Candidates, each with its own clock, and a server that keeps one Lease, in virtual time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

/// What may go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Worries {
    /// The share of messages that never arrive.
    pub(super) lost: f64,
    /// The share of those that are very late.
    pub(super) slow: f64,
    /// How late at most.
    pub(super) slowest: Duration,
    /// How long others take at most.
    pub(super) usual: Duration,
    /// How much faster or slower a clock may go, as a share.
    pub(super) drift: f64,
    /// Processes stop for up to ten seconds.
    pub(super) pauses: bool,
    /// Processes die or resign, and others come in their place.
    pub(super) ends: bool,
}

#[derive(Clone, Debug)]
enum Asked {
    Look,
    Write { claim: Claim, holder: String },
}

#[derive(Clone, Debug)]
enum Told {
    Found(Option<Record>),
    Answer(Answer),
}

#[derive(Clone, Debug)]
enum Happening {
    /// The candidate has its turn, unless it is waiting for an answer.
    Turn(usize),
    /// The candidate does not wait for this answer any longer.
    Impatience(usize, u64),
    Arrives(usize, u64, Asked),
    Returns(usize, u64, Told),
    Pause(usize),
    Ends(usize),
    Resigns(usize),
}

struct Candidate {
    election: Election,
    /// What its clock shows at the world's beginning, and how fast it goes.
    clock: (Instant, f64),
    waits: Option<(u64, Asked, Instant)>,
    stopped_until: Duration,
    /// Until when it leads, in the world's time.
    leads_until: Duration,
    is_alive: bool,
}

impl Candidate {
    fn shows(&self, now: Duration) -> Instant {
        self.clock.0 + now.mul_f64(self.clock.1)
    }

    fn when(&self, shown: Instant) -> Duration {
        // Rounded up: a timer never fires early.
        shown
            .saturating_duration_since(self.clock.0)
            .div_f64(self.clock.1)
            + Duration::from_micros(1)
    }
}

pub(super) struct World {
    worries: Worries,
    chance: u64,
    now: Duration,
    agenda: BTreeMap<(Duration, u64), Happening>,
    serial: u64,
    lease: Option<Record>,
    candidates: Vec<Candidate>,
    leaders: BTreeSet<(usize, i32)>,
    /// How much longer than it may each leader believes that it leads.
    pub(super) overconfident: Duration,
}

impl World {
    pub(super) fn new(seed: u64, candidates: usize, worries: Worries) -> Self {
        let mut world = Self {
            worries,
            chance: seed,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            serial: 0,
            lease: None,
            candidates: Vec::new(),
            leaders: BTreeSet::new(),
            overconfident: Duration::ZERO,
        };
        for _ in 0..candidates {
            world.join();
        }
        world
    }

    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// How often somebody began to lead.
    pub(super) fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn leader(&self) -> Option<usize> {
        (0..self.candidates.len()).find(|name| self.candidates[*name].leads_until > self.now)
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.step();
        }
    }

    pub(super) fn kill_leader(&mut self) -> Duration {
        let leader = self.leader().expect("a leader");
        self.happens(leader, &Happening::Ends(leader));
        self.now
    }

    pub(super) fn resign_leader(&mut self) -> Duration {
        let leader = self.leader().expect("a leader");
        // One whose renewal is under way does not know which version to replace.
        while self.candidates[leader].waits.is_some() {
            self.step();
        }
        self.happens(leader, &Happening::Resigns(leader));
        self.now
    }

    /// A number from 0 to 1 (splitmix64).
    fn chance(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn later(&mut self, at: Duration, happening: Happening) {
        self.serial += 1;
        self.agenda.insert((at, self.serial), happening);
    }

    /// A message on its way, or lost.
    fn send(&mut self, happening: Happening) {
        if self.chance() < self.worries.lost {
            return;
        }
        let most = if self.chance() < self.worries.slow {
            self.worries.slowest
        } else {
            self.worries.usual
        };
        let takes = most.mul_f64(self.chance());
        self.later(self.now + takes, happening);
    }

    fn join(&mut self) {
        let name = self.candidates.len();
        let offset = Duration::from_secs_f64(self.chance() * 1e6);
        let rate = 1.0 + self.worries.drift * (2.0 * self.chance() - 1.0);
        let clock = (Instant::now() + offset, rate);
        let mut candidate = Candidate {
            election: Election::new(name.to_string(), clock.0),
            clock,
            waits: None,
            stopped_until: Duration::ZERO,
            leads_until: Duration::ZERO,
            is_alive: true,
        };
        candidate.election.again = candidate.shows(self.now);
        self.candidates.push(candidate);
        self.later(self.now, Happening::Turn(name));
        if self.worries.pauses {
            let at = self.now + Duration::from_secs_f64(30.0 * self.chance());
            self.later(at, Happening::Pause(name));
        }
        if self.worries.ends {
            let at = self.now + Duration::from_secs_f64(40.0 * self.chance());
            let resigns = self.chance() < 0.5;
            self.later(
                at,
                if resigns {
                    Happening::Resigns(name)
                } else {
                    Happening::Ends(name)
                },
            );
        }
    }

    pub(super) fn step(&mut self) {
        let ((at, _), happening) = self
            .agenda
            .pop_first()
            .expect("somebody always has a turn to come");
        self.now = at;
        match happening {
            Happening::Arrives(name, number, asked) => {
                let told = self.serve(asked);
                self.send(Happening::Returns(name, number, told));
            }
            Happening::Turn(name)
            | Happening::Impatience(name, _)
            | Happening::Returns(name, ..)
            | Happening::Pause(name)
            | Happening::Ends(name)
            | Happening::Resigns(name) => {
                let candidate = &self.candidates[name];
                if !candidate.is_alive {
                    return;
                }
                if self.now < candidate.stopped_until {
                    self.later(candidate.stopped_until, happening);
                    return;
                }
                self.happens(name, &happening);
            }
        }
    }

    fn happens(&mut self, name: usize, happening: &Happening) {
        let candidate = &mut self.candidates[name];
        match happening {
            Happening::Turn(_) => {}
            Happening::Impatience(_, number) => {
                if candidate.waits.as_ref().is_none_or(|(waits, ..)| waits != number) {
                    return;
                }
                self.hears(name, None);
            }
            Happening::Returns(_, number, told) => {
                if candidate.waits.as_ref().is_none_or(|(waits, ..)| waits != number) {
                    return;
                }
                self.hears(name, Some(told.clone()));
            }
            Happening::Pause(_) => {
                let takes = Duration::from_secs_f64(10.0 * self.chance());
                self.candidates[name].stopped_until = self.now + takes;
                let next = takes + Duration::from_secs_f64(30.0 * self.chance());
                self.later(self.now + next, Happening::Pause(name));
                return;
            }
            Happening::Resigns(_) => {
                let shown = candidate.shows(self.now);
                let claim = candidate.election.resign(shown);
                if let Some(claim) = claim {
                    let holder = String::new();
                    self.send(Happening::Arrives(name, 0, Asked::Write { claim, holder }));
                }
                self.ends(name);
                return;
            }
            Happening::Ends(_) => {
                self.ends(name);
                return;
            }
            Happening::Arrives(..) => unreachable!("that happens at the server"),
        }
        if self.candidates[name].waits.is_none() {
            self.turn(name);
        }
    }

    fn ends(&mut self, name: usize) {
        self.candidates[name].is_alive = false;
        self.candidates[name].leads_until = self.now;
        if self.worries.ends {
            self.join();
        }
    }

    fn hears(&mut self, name: usize, told: Option<Told>) {
        let candidate = &mut self.candidates[name];
        let Some((_, asked, sent)) = candidate.waits.take() else {
            return;
        };
        let shown = candidate.shows(self.now);
        match (asked, told) {
            (Asked::Look, Some(Told::Found(record))) => candidate.election.looked(record, shown),
            (Asked::Look, _) => candidate.election.did_not_look(shown),
            (Asked::Write { .. }, Some(Told::Answer(answer))) => {
                candidate.election.wrote(answer, sent, shown);
            }
            (Asked::Write { .. }, _) => candidate.election.wrote(Answer::Unknown, sent, shown),
        }
    }

    fn turn(&mut self, name: usize) {
        let candidate = &mut self.candidates[name];
        let shown = candidate.shows(self.now);
        let act = candidate.election.act(shown);
        let leads_until = candidate.election.leads_until();
        candidate.leads_until =
            leads_until.map_or(self.now, |until| candidate.when(until) + self.overconfident);
        if leads_until.is_some() {
            let transitions = self.lease.as_ref().map_or(0, |record| record.transitions);
            self.leaders.insert((name, transitions));
            let others = (0..self.candidates.len()).filter(|other| *other != name);
            for other in others {
                assert!(
                    self.candidates[other].leads_until <= self.now,
                    "at {:?}, {name} leads beside {other}",
                    self.now
                );
            }
        }
        let candidate = &mut self.candidates[name];
        let asked = match act {
            Act::Wait(until) => {
                let at = candidate.when(until).max(self.now);
                self.later(at, Happening::Turn(name));
                return;
            }
            // The process ends.
            Act::Lost(_) => {
                self.ends(name);
                return;
            }
            Act::Look => Asked::Look,
            Act::Take(claim) | Act::Renew(claim) => Asked::Write {
                claim,
                holder: name.to_string(),
            },
        };
        self.serial += 1;
        let number = self.serial;
        candidate.waits = Some((number, asked.clone(), shown));
        let patience = candidate.when(shown + candidate.election.patience(shown));
        self.later(patience, Happening::Impatience(name, number));
        self.send(Happening::Arrives(name, number, asked));
    }

    fn serve(&mut self, asked: Asked) -> Told {
        let Asked::Write { claim, holder } = asked else {
            return Told::Found(self.lease.clone());
        };
        if claim.replaces != self.lease.as_ref().map(|record| record.version.clone()) {
            return Told::Answer(Answer::Refused);
        }
        self.serial += 1;
        let record = Record {
            version: Version {
                uid: String::new(),
                number: self.serial.to_string(),
            },
            holder,
            transitions: claim.transitions,
            duration: DURATION,
        };
        self.lease = Some(record.clone());
        Told::Answer(Answer::Written(record))
    }
}
