//! The table of the readme: what is promised, and beside it what was measured last, from the results that are kept.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use skein_contract::{Lost, Profile, Series, Terms};

use super::results::{Cell, Counts, Results, Verdict, clause_of, judge};
use super::story::Row;

const BEGIN: &str = "<!-- matrix: written by `cargo xtask gen` from docs/matrix.json -->\n";
const END: &str = "<!-- matrix: end -->";

/// The readme with the table in its place.
pub(super) fn in_readme(readme: &str, results: &Results) -> Result<String> {
    let (before, rest) = readme
        .split_once(BEGIN)
        .context("README.md has no place for the matrix")?;
    let (_, after) = rest
        .split_once(END)
        .context("README.md does not say where the matrix ends")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(results)?))
}

fn table(results: &Results) -> Result<String> {
    let mut text = "| what happens | QoS 0 | QoS 1 | QoS 2 |\n| --- | --- | --- | --- |\n".to_owned();
    for row in Row::ALL {
        let terms =
            [Series::V2_0, Series::V2_1].map(|series| Terms::new(Profile::default_of(series), series));
        let clauses = terms.map(|terms| clause_of(row, terms));
        let open = clauses.iter().any(|clause| !clause.kept.is_kept());
        let _ = write!(
            text,
            "| {}{}",
            row.title(),
            if open { " (not kept yet)" } else { "" }
        );
        for qos in 0..3 {
            // Of two that are alike, the older series'.
            let promises = clauses.iter().rev().filter_map(|clause| clause.promise(qos));
            let weakest = promises
                .map(|promise| promise.lost)
                .max_by_key(|lost| rank(*lost));
            let measured = terms.map(|terms| measured(results, row, terms, qos));
            ensure!(
                measured.iter().all(|counts| counts.acknowledged > 0) || is_skipped(results, row),
                "docs/matrix.json has nothing of `{}` at QoS {qos}: run `cargo xtask matrix --keep`",
                row.key()
            );
            let worst = measured.into_iter().max_by_key(badness).unwrap_or_default();
            let _ = write!(text, " | {}", cell(weakest, &worst));
            if is_broken(results, row, terms, qos) {
                text += ": **broken**";
            }
        }
        text += " |\n";
    }
    Ok(text)
}

fn is_skipped(results: &Results, row: Row) -> bool {
    results.skipped.iter().any(|skipped| skipped.event == row.key())
}

/// A cell was found broken, and is so by what the contract says now.
fn is_broken(results: &Results, row: Row, terms: [Terms; 2], qos: u8) -> bool {
    let still = |cell: &Cell, terms: &Terms| {
        let counts = Counts {
            during: cell.counts.sent,
            ..cell.counts
        };
        let verdict = judge(&clause_of(row, *terms), qos, &counts, 0);
        terms.series().to_string() == cell.series && verdict == Verdict::Broken
    };
    let is_it = |cell: &&Cell| cell.event == row.key() && cell.qos == qos;
    let mut cells = results.cells.iter().filter(is_it);
    cells.any(|cell| cell.verdict == Verdict::Broken && terms.iter().any(|terms| still(cell, terms)))
}

/// All faults of a row together.
fn measured(results: &Results, row: Row, terms: Terms, qos: u8) -> Counts {
    let mut sum = Counts::default();
    for cell in &results.cells {
        let is_it = cell.event == row.key() && cell.series == terms.series().to_string() && cell.qos == qos;
        if is_it {
            sum.add(&cell.counts);
        }
    }
    sum
}

/// Lost first, then twice, each in a million of what was acknowledged.
fn badness(counts: &Counts) -> (u64, u64) {
    let share = |part: u64| part * 1_000_000 / counts.acknowledged.max(1);
    (share(counts.lost), share(counts.duplicated))
}

fn rank(lost: Lost) -> u8 {
    match lost {
        Lost::Nothing => 0,
        Lost::Bounded(_) => 1,
        Lost::While(_) => 2,
        Lost::EverythingHeld => 3,
        Lost::NotPromised => 4,
    }
}

fn cell(promised: Option<Lost>, counts: &Counts) -> String {
    let promised = promised.map_or("not promised", |lost| lost.brief());
    if counts.acknowledged == 0 {
        return format!("{promised}; not measured");
    }
    let mut text = format!("{promised}; {} of {}", counts.lost, counts.acknowledged);
    if counts.duplicated > 0 {
        let _ = write!(text, ", {} twice", counts.duplicated);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(lost: u64) -> Results {
        let mut results = Results::default();
        for row in Row::ALL {
            for series in ["2.0", "2.1"] {
                for qos in 0..3 {
                    results.cells.push(Cell {
                        event: row.key(),
                        fault: row.brief().to_owned(),
                        mosquitto: series.to_owned(),
                        series: series.to_owned(),
                        durability: String::new(),
                        qos,
                        times: 1,
                        restless: 0,
                        counts: Counts {
                            acknowledged: 200,
                            lost: if series == "2.0" { lost } else { 0 },
                            ..Counts::default()
                        },
                        verdict: Verdict::Kept,
                    });
                }
            }
        }
        results
    }

    #[test]
    fn a_cell_says_what_is_promised_and_what_the_worse_series_lost() {
        let table = table(&results(7)).unwrap();
        let crash = table.lines().find(|line| line.contains("crashes")).unwrap();
        assert!(
            crash.contains("| while it is down; 7 of 200 | its last moments; 7 of 200 |"),
            "{crash}"
        );
        assert_eq!(table.lines().count(), Row::ALL.len() + 2);
    }

    #[test]
    fn a_promise_that_was_broken_is_called_so() {
        let mut results = results(0);
        let cell = results
            .cells
            .iter_mut()
            .find(|cell| cell.event == "crash" && cell.qos == 1 && cell.series == "2.1")
            .unwrap();
        cell.verdict = Verdict::Broken;
        cell.counts.lost = 1;
        let table = table(&results).unwrap();
        assert_eq!(table.matches("**broken**").count(), 1);
        let crash = table.lines().find(|line| line.contains("crashes")).unwrap();
        assert!(
            crash.contains("| its last moments; 1 of 200: **broken** |"),
            "{crash}"
        );
    }

    #[test]
    fn other_results_give_another_readme_and_the_rest_of_it_stays() {
        let readme = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let [one, other] = [0, 1].map(|lost| in_readme(&readme, &results(lost)).unwrap());
        assert_ne!(one, other);
        assert!(one.starts_with("before\n") && one.ends_with("\nafter\n") && !one.contains("old"));
        assert_eq!(in_readme(&one, &results(0)).unwrap(), one);
    }

    #[test]
    fn a_row_that_nobody_measured_is_noticed() {
        let mut results = results(0);
        results.cells.retain(|cell| cell.event != "hang");
        let error = table(&results).unwrap_err().to_string();
        assert!(error.contains("`hang`"), "{error}");
    }
}
