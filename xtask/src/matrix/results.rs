//! What came of all stories, judged by the contract: printed as they end, and kept as JSON.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use skein_contract::{Clause, Duplicates, Footnote, Lost, Promise, Terms, clause};

use super::story::{Row, Story};
use super::trial::{Outcome, RATE};
use crate::command::root;

/// Messages of one quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counts {
    /// That the publisher made.
    pub(super) sent: u64,
    /// Of these, that a broker acknowledged; at QoS 0, that a connection took.
    pub(super) acknowledged: u64,
    /// Different ones that arrived.
    pub(super) received: u64,
    /// Acknowledged ones that did not.
    pub(super) lost: u64,
    /// Copies beyond the first.
    pub(super) duplicated: u64,
    /// First deliveries after that of a later one.
    pub(super) out_of_order: u64,
    /// Made while the fault lasted, from a second before it until the fleet was at rest.
    #[serde(skip)]
    pub(super) during: u64,
}

impl Counts {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            received: self.received - before.received,
            duplicated: self.duplicated - before.duplicated,
            out_of_order: self.out_of_order - before.out_of_order,
            ..*self
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.out_of_order += other.out_of_order;
    }
}

/// What the contract says to some counts. Worse ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Verdict {
    /// It promises nothing.
    NotPromised,
    /// It was as promised.
    Kept,
    /// It was not, and the contract says that this is not kept yet.
    NotYet,
    /// It was not, though the contract says that it is kept.
    Broken,
}

impl Verdict {
    /// As in a table.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::NotPromised => "-",
            Self::Kept => "kept",
            Self::NotYet => "not yet",
            Self::Broken => "BROKEN",
        }
    }
}

/// The row's clause.
pub(super) fn clause_of(row: Row, terms: Terms) -> Clause {
    clause(row.0, terms)
}

/// Judges what came of one fault at one quality of service. `kills` is how many brokers may each have lost the last message that
/// they had acknowledged.
pub(super) fn judge(clause: &Clause, qos: u8, counts: &Counts, kills: u64) -> Verdict {
    let Some(promise) = clause.promise(qos) else {
        return Verdict::NotPromised;
    };
    let excused = if clause.footnotes.contains(&Footnote::LastMessage) {
        kills
    } else {
        0
    };
    if is_kept(promise, counts, excused) {
        if promise.lost == Lost::NotPromised {
            return Verdict::NotPromised;
        }
        return Verdict::Kept;
    }
    if clause.kept.is_kept() {
        Verdict::Broken
    } else {
        Verdict::NotYet
    }
}

fn is_kept(promise: &Promise, counts: &Counts, excused: u64) -> bool {
    let lost = match promise.lost {
        Lost::Nothing => counts.lost <= excused,
        // What is on its way, or its last moments: no more than a second has.
        Lost::Bounded(_) => counts.lost <= u64::from(RATE),
        // What was published long before, or after it was over, is none of it.
        Lost::While(_) => counts.lost <= counts.during,
        Lost::EverythingHeld | Lost::NotPromised => true,
    };
    let twice = match promise.duplicates {
        Duplicates::Never => counts.duplicated == 0,
        Duplicates::Bounded(_) => counts.duplicated <= counts.during,
        Duplicates::Possible => true,
    };
    lost && twice && (!promise.keeps_order() || counts.out_of_order == 0)
}

/// One fault at one quality of service on one Mosquitto, all repeats together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cell {
    /// The contract's event.
    pub(super) event: String,
    pub(super) fault: String,
    pub(super) mosquitto: String,
    pub(super) series: String,
    pub(super) durability: String,
    pub(super) qos: u8,
    pub(super) times: u64,
    /// How often the fleet did not come to rest afterwards.
    pub(super) restless: u64,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) verdict: Verdict,
}

/// A fault that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Skipped {
    pub(super) event: String,
    pub(super) fault: String,
    pub(super) mosquitto: String,
    pub(super) why: String,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Results {
    pub(super) seconds: u64,
    pub(super) cells: Vec<Cell>,
    pub(super) skipped: Vec<Skipped>,
}

impl Results {
    /// Adds what came of a story at one quality of service.
    pub(super) fn enter(
        &mut self,
        mosquitto: &str,
        terms: Terms,
        story: &Story,
        qos: u8,
        outcome: &Outcome,
    ) -> Verdict {
        let counts = &outcome.counts[usize::from(qos)];
        let restless = u64::from(outcome.rested.is_err());
        let kills = story.fault.map_or(0, crate::harm::Fault::may_lose);
        let verdict = judge(&clause_of(story.row, terms), qos, counts, kills);
        let (event, fault) = (story.row.key(), story.name());
        let same = |cell: &&mut Cell| cell.fault == fault && cell.mosquitto == mosquitto && cell.qos == qos;
        if let Some(cell) = self.cells.iter_mut().find(same) {
            cell.times += 1;
            cell.restless += restless;
            cell.counts.add(counts);
            cell.verdict = cell.verdict.max(verdict);
            return verdict;
        }
        self.cells.push(Cell {
            event,
            fault,
            mosquitto: mosquitto.to_owned(),
            series: terms.series().to_string(),
            durability: terms.profile().to_string(),
            qos,
            times: 1,
            restless,
            counts: *counts,
            verdict,
        });
        verdict
    }

    /// How many cells there are of a verdict.
    pub(super) fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| cell.verdict == verdict).count()
    }

    /// The results that are kept with the source.
    pub(super) fn kept() -> Result<Self> {
        let path = kept_at();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not what `cargo xtask matrix` writes", path.display()))
    }

    /// Puts down in full what kept a fleet from its rest; gives where.
    pub(super) fn note(error: &anyhow::Error) -> Result<PathBuf> {
        let path = root().join("target/matrix/unrest.txt");
        fs::create_dir_all(root().join("target/matrix"))?;
        fs::write(&path, format!("{error:#}\n"))?;
        Ok(path)
    }

    /// Writes them to `target/matrix/matrix.json`, and, if they are to be kept, to `docs/matrix.json`.
    pub(super) fn write(&self, keep: bool) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        let folder = root().join("target/matrix");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("matrix.json"), &text)?;
        if keep {
            fs::write(kept_at(), &text)?;
        }
        Ok(())
    }
}

fn kept_at() -> PathBuf {
    root().join("docs/matrix.json")
}

#[cfg(test)]
mod tests {
    use skein_contract::{Event, Kept, Profile, Series};

    use super::*;

    const DURABLE: Terms = Terms::new(Profile::Durable, Series::V2_1);

    fn counts(lost: u64, duplicated: u64) -> Counts {
        Counts {
            sent: 1000,
            acknowledged: 1000,
            received: 1000 - lost,
            lost,
            duplicated,
            during: 60,
            ..Counts::default()
        }
    }

    fn verdict(event: Event, terms: Terms, qos: u8, counts: &Counts, kills: u64) -> Verdict {
        judge(&clause(event, terms), qos, counts, kills)
    }

    #[test]
    fn one_lost_message_breaks_a_promise_that_is_kept() {
        let judged = |lost, kills| verdict(Event::Crash, DURABLE, 1, &counts(lost, 9), kills);
        assert_eq!(judged(0, 0), Verdict::Kept);
        assert_eq!(judged(1, 0), Verdict::Broken);
        assert_eq!(judged(1, 1), Verdict::Kept, "the last that a killed broker took");
        assert_eq!(judged(2, 1), Verdict::Broken);
    }

    #[test]
    fn a_second_copy_breaks_it_where_none_may_come() {
        assert_eq!(
            verdict(Event::Controller, DURABLE, 2, &counts(0, 1), 0),
            Verdict::Broken
        );
        assert_eq!(verdict(Event::Link, DURABLE, 2, &counts(0, 1), 0), Verdict::Kept);
    }

    #[test]
    fn disorder_breaks_it_where_first_deliveries_are_in_order() {
        let late = Counts {
            out_of_order: 1,
            ..counts(0, 0)
        };
        assert_eq!(verdict(Event::Away, DURABLE, 1, &late, 0), Verdict::Broken);
        assert_eq!(verdict(Event::Link, DURABLE, 1, &late, 0), Verdict::Kept);
    }

    #[test]
    fn what_may_be_lost_for_a_while_may_not_be_lost_before_or_after() {
        let judged = |lost| verdict(Event::Crash, DURABLE, 0, &counts(lost, 0), 0);
        assert_eq!((judged(60), judged(61)), (Verdict::Kept, Verdict::Broken));
    }

    #[test]
    fn what_is_on_its_way_is_less_than_a_second_brings() {
        let second = u64::from(RATE);
        let judged = |lost| verdict(Event::Transit, DURABLE, 0, &counts(lost, 0), 0);
        assert_eq!(
            (judged(second), judged(second + 1)),
            (Verdict::Kept, Verdict::Broken)
        );
    }

    #[test]
    fn a_promise_that_is_not_kept_yet_does_not_fail() {
        let not_yet = Clause {
            kept: Kept::NotYet { why: "", today: "" },
            ..clause(Event::Hang, DURABLE)
        };
        assert_eq!(judge(&not_yet, 1, &counts(5, 0), 0), Verdict::NotYet);
        assert_eq!(
            verdict(Event::Hang, DURABLE, 1, &counts(5, 0), 0),
            Verdict::Broken
        );
        assert_eq!(
            verdict(Event::Duplex, DURABLE, 1, &counts(50, 0), 0),
            Verdict::NotPromised
        );
    }
}
