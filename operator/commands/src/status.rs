//! `status`

use std::process::ExitCode;

use jiff::Timestamp;
use skein_api::name::BrokerName;
use skein_engine::directive::{BrokerPhase, MigrationPhase};
use skein_planner::explain::arrows;

use crate::arguments::Format;
use crate::failure::Failure;
use crate::moving;
use crate::output;
use crate::paint::{BAD, CAREFUL, FAINT, GOOD, PLAIN, TITLE, count, paint};
use crate::table::{Cell, Table};
use crate::views::StatusView;
use crate::voice::Voice;

/// Prints a status once.
///
/// # Errors
/// If it cannot be printed.
pub fn show(view: &StatusView, format: Format, voice: &Voice) -> Result<ExitCode, Failure> {
    output::print(format, view, || human(view, Timestamp::now(), voice))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the status of several fleets, each under its name; for programs, as one list.
///
/// # Errors
/// If they cannot be printed.
pub fn show_all(views: &[StatusView], format: Format, voice: &Voice) -> Result<ExitCode, Failure> {
    let now = Timestamp::now();
    output::print(format, &views, || {
        let texts = views.iter().map(|view| {
            let title = paint(TITLE, format!("Fleet {}", view.fleet));
            format!("{title}\n{}", human(view, now, voice))
        });
        texts.collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the status again whenever it changes; on a terminal in the place of the one before. Ends with Ctrl-C, or with the
/// reader. `next` gives the next one, and may be given up at any time.
///
/// # Errors
/// If it cannot be had, or not be printed.
pub async fn watch(
    mut next: impl AsyncFnMut() -> Result<StatusView, Failure>,
    format: Format,
    voice: &Voice,
) -> Result<ExitCode, Failure> {
    use std::io::IsTerminal as _;
    let redraw = format == Format::Table && std::io::stdout().is_terminal();
    let mut last: Option<StatusView> = None;
    loop {
        let view = tokio::select! {
            view = next() => view?,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.map_err(|error| Failure::could_not(format!("cannot wait for Ctrl-C: {error}")))?;
                return Ok(ExitCode::SUCCESS);
            }
        };
        if last.as_ref() == Some(&view) {
            continue;
        }
        if format == Format::Yaml {
            output::write("---\n")?;
        }
        if !output::print(format, &view, || {
            let text = human(&view, Timestamp::now(), voice);
            if redraw { redrawn(&text) } else { text + "\n" }
        })? {
            return Ok(ExitCode::SUCCESS);
        }
        last = Some(view);
    }
}

/// Text over what is on the screen: from the upper left corner, each line cleared to its end, then all below. That flickers
/// less than clearing everything first.
fn redrawn(text: &str) -> String {
    let lines = text.lines().map(|line| format!("{line}\u{1b}[K\n"));
    format!("\u{1b}[H{}\u{1b}[J", lines.collect::<String>())
}

/// The status for people, who read it now.
#[must_use]
pub fn human(status: &StatusView, now: Timestamp, voice: &Voice) -> String {
    let sections = [
        ("Brokers", brokers(status)),
        ("Migrations", migrations(status)),
        ("Paths", paths(status)),
        ("Past migrations", past(status)),
    ];
    let mut text = String::new();
    for (title, table) in sections.iter().filter(|(_, table)| !table.is_empty()) {
        text += &format!("{}\n{}\n", paint(TITLE, title), table.text());
    }
    let mut notes = status
        .brokers
        .iter()
        .filter(|broker| !status.has_clients_declared(&broker.name))
        .filter_map(|broker| Some((&broker.name, broker.substitute()?)))
        .map(|(broker, substitute)| {
            format!("no clients of {broker} are declared; any that it has are served by {substitute}\n")
        })
        .peekable();
    if notes.peek().is_some() {
        text += &notes.collect::<String>();
        text.push('\n');
    }
    for problem in &status.problems {
        text += &format!("{} {problem}\n", paint(BAD, "problem:"));
    }
    if !status.problems.is_empty() {
        text.push('\n');
    }
    if status.running == Some(false) {
        text += &paint(
            CAREFUL,
            format!(
                "{}; this is how it was {}\n",
                voice.nobody,
                ago(&status.updated_at, now)
            ),
        );
    }
    text + &summary(status) + "\n"
}

/// An RFC 3339 instant as a person would say it: `5 minutes ago, at 2026-01-02 03:04:05Z`.
fn ago(instant: &str, now: Timestamp) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let Ok(instant) = instant.parse::<Timestamp>() else {
        return format!("at {instant}");
    };
    let seconds = now.duration_since(instant).as_secs().max(0);
    let (number, unit) = if seconds < MINUTE {
        (seconds, "second")
    } else if seconds < HOUR {
        (seconds / MINUTE, "minute")
    } else if seconds < DAY {
        (seconds / HOUR, "hour")
    } else {
        (seconds / DAY, "day")
    };
    let age = count(usize::try_from(number).unwrap_or(usize::MAX), unit);
    format!("{age} ago, at {}", instant.strftime("%F %TZ"))
}

fn summary(status: &StatusView) -> String {
    let ready = status
        .brokers
        .iter()
        .filter(|broker| broker.phase == BrokerPhase::Ready)
        .count();
    let up = status.paths.iter().filter(|path| path.up).count();
    let of = |well: usize, all: usize, one: &str, word: &str| {
        paint(
            if well == all { GOOD } else { BAD },
            format!("{well} of {} {word}", count(all, one)),
        )
    };
    format!(
        "{}, {}",
        of(ready, status.brokers.len(), "broker", "ready"),
        of(up, status.paths.len(), "path", "up")
    )
}

/// A cluster says nothing of processes, nor of how long things take.
fn is_one_machine(status: &StatusView) -> bool {
    status.pid.is_some()
}

fn brokers(status: &StatusView) -> Table {
    let mut table = Table::new(&[
        "BROKER",
        "PHASE",
        "CLIENTS",
        "SERVED BY",
        "PEERS",
        ">PID",
        "VERSION",
        ">HEARTBEAT",
    ])
    .indented();
    if !is_one_machine(status) {
        table = table.without(&[">PID", ">HEARTBEAT"]);
    }
    for broker in &status.brokers {
        let served = match &broker.served_by {
            None => Cell::styled("nobody", BAD),
            Some(name) if *name == broker.name => Cell::styled("itself", FAINT),
            Some(name) if !status.has_clients_declared(&broker.name) => {
                Cell::styled(format!("{name}, if any"), CAREFUL)
            }
            Some(name) => Cell::styled(name, CAREFUL),
        };
        table.row(vec![
            Cell::from(&broker.name),
            phase(broker.phase),
            or_dash(broker.client_address.as_ref()),
            served,
            or_dash(broker.peer_address.as_ref()),
            or_dash(broker.pid.as_ref()),
            or_dash(broker.version.as_ref()),
            milliseconds(broker.heartbeat_ms),
        ]);
    }
    table
}

fn phase(phase: BrokerPhase) -> Cell {
    let style = match phase {
        BrokerPhase::Ready => GOOD,
        BrokerPhase::Down => BAD,
        BrokerPhase::Pending => PLAIN,
        BrokerPhase::Suspect | BrokerPhase::Returning => CAREFUL,
    };
    Cell::styled(format!("{phase:?}"), style)
}

fn paths(status: &StatusView) -> Table {
    let mut table = Table::new(&["TOPIC", "PRODUCER", "CONSUMER", "STATE", "PATH", ">PROBE"]).indented();
    if !is_one_machine(status) {
        table = table.without(&[">PROBE"]);
    }
    for path in &status.paths {
        table.row(vec![
            Cell::from(&path.topic),
            Cell::from(&path.producer),
            Cell::from(&path.consumer),
            if path.up {
                Cell::styled("up", GOOD)
            } else {
                Cell::styled("down", BAD)
            },
            if path.path.is_empty() {
                Cell::styled("no way", BAD)
            } else {
                arrows(&path.path).into()
            },
            milliseconds(path.probe_ms),
        ]);
    }
    table
}

/// Those that are not over.
fn migrations(status: &StatusView) -> Table {
    let mut table = Table::new(&["BROKER", "TO", "REASON", "PHASE", "SINCE", "WAITING"]).indented();
    for migration in status.migrations.iter().filter(|migration| !migration.is_over()) {
        let waiting = if migration.waiting.is_empty() {
            Cell::styled("-", FAINT)
        } else {
            moving::waiting(&migration.waiting).into()
        };
        table.row(vec![
            Cell::from(&migration.broker),
            or_nobody(migration.to.as_ref()),
            format!("{:?}", migration.reason).into(),
            migration_phase(migration.phase),
            or_dash(migration.since().map(instant).as_ref()),
            waiting,
        ]);
    }
    table
}

fn past(status: &StatusView) -> Table {
    let mut table = Table::new(&["MIGRATION", "BROKER", "TO", "REASON", "PHASE", "WHY"]).indented();
    for migration in status.migrations.iter().filter(|migration| migration.is_over()) {
        table.row(vec![
            Cell::from(&migration.name),
            Cell::from(&migration.broker),
            or_nobody(migration.to.as_ref()),
            format!("{:?}", migration.reason).into(),
            migration_phase(migration.phase),
            migration.evidence.join("; ").into(),
        ]);
    }
    table
}

fn or_nobody(broker: Option<&BrokerName>) -> Cell {
    broker.map_or(Cell::styled("nobody", FAINT), Cell::from)
}

/// An RFC 3339 instant to the second: `2026-01-02 03:04:05Z`.
fn instant(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(
        |_| text.to_owned(),
        |instant| instant.strftime("%F %TZ").to_string(),
    )
}

fn migration_phase(phase: MigrationPhase) -> Cell {
    let style = match phase {
        MigrationPhase::Completed | MigrationPhase::FailedBack => GOOD,
        MigrationPhase::Failed => BAD,
        _ => CAREFUL,
    };
    Cell::styled(format!("{phase:?}"), style)
}

fn or_dash<Value: ToString>(value: Option<&Value>) -> Cell {
    value.map_or(Cell::styled("-", FAINT), |value| value.to_string().into())
}

fn milliseconds(time: Option<f64>) -> Cell {
    time.map_or(Cell::styled("-", FAINT), |time| format!("{time:.1} ms").into())
}
