//! `skein up`

use std::collections::BTreeMap;
use std::process::ExitCode;

use skein_api::manifest::Problem;
use skein_api::name::BrokerName;
use skein_commands::paint::{BAD, CAREFUL, FAINT, GOOD, TITLE, count, paint};
use skein_commands::table::{Cell, Table};
use skein_commands::{Failure, manifests, moving};
use skein_engine::directive::MigrationPhase;
use skein_local::{Up, UpError, UpEvent};
use skein_planner::explain::{arrows, listed};

use crate::arguments;

pub(crate) fn run(arguments: &arguments::Up) -> Result<ExitCode, Failure> {
    let up = Up {
        manifests: arguments.directory.clone(),
        state: arguments.state.clone(),
        mosquitto: arguments.mosquitto.clone(),
        program: None,
    };
    let directory = &arguments.directory;
    let mut addresses: BTreeMap<BrokerName, String> = BTreeMap::new();
    up.run(|event| {
        if let UpEvent::Started { broker, address }
        | UpEvent::TookOver { broker, address }
        | UpEvent::Watching { broker, address } = &event
        {
            addresses.insert(broker.clone(), address.clone());
        }
        let now = jiff::Zoned::now().strftime("%H:%M:%S%.3f").to_string();
        for line in lines(&event) {
            // A reader that went away must not end the fleet: the line is lost, and that is all.
            let _ = write(&format!("{}  {line}\n", paint(FAINT, &now)));
        }
        if matches!(event, UpEvent::Ready(_)) {
            let _ = write(&connect(&addresses));
        }
    })
    .map(|()| ExitCode::SUCCESS)
    .map_err(|error| match error {
        UpError::Manifests(problems) => manifests::bad(directory, &problems),
        UpError::Unreadable { .. } | UpError::NoManifests { .. } => Failure::bad_input(error.to_string()),
        error => Failure::could_not(error.to_string()),
    })
}

/// Where clients connect to, once everything runs.
fn connect(addresses: &BTreeMap<BrokerName, String>) -> String {
    let mut table = Table::new(&["BROKER", "CLIENTS CONNECT TO"]).indented();
    for (broker, address) in addresses {
        table.row(vec![Cell::from(broker), address.into()]);
    }
    format!("\n{}\n", table.text())
}

fn write(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn drain_style(phase: MigrationPhase) -> anstyle::Style {
    match phase {
        MigrationPhase::Completed | MigrationPhase::FailedBack => GOOD,
        MigrationPhase::Failed => BAD,
        _ => CAREFUL,
    }
}

fn refused(problems: &[Problem]) -> Vec<String> {
    let head = format!("the edit is not applied: {}", count(problems.len(), "problem"));
    let problems = problems.iter();
    let problems = problems.map(|problem| format!("  {}", manifests::shown(problem)));
    std::iter::once(paint(BAD, head)).chain(problems).collect()
}

/// What a person in front of it reads.
fn lines(event: &UpEvent) -> Vec<String> {
    match event {
        UpEvent::Starting {
            fleet,
            state,
            mosquitto: (program, version),
        } => vec![
            format!("{} {}", paint(TITLE, "fleet"), fleet.display()),
            format!("state in {}", state.display()),
            format!("mosquitto {version}, {}", program.display()),
        ],
        UpEvent::Started { broker, address } => {
            vec![format!("broker {broker} started; clients connect to {address}")]
        }
        UpEvent::TookOver { broker, address } => {
            vec![format!(
                "broker {broker} was still running, taken over; clients connect to {address}"
            )]
        }
        UpEvent::Watching { broker, address } => {
            vec![format!(
                "broker {broker} is run by someone else at {address}; watching it"
            )]
        }
        UpEvent::Refused(problems) => refused(problems),
        UpEvent::Applied { changes } if changes.is_empty() => {
            vec!["the manifests were edited; nothing changes".to_owned()]
        }
        UpEvent::Applied { changes } => std::iter::once(paint(GOOD, "the edit is applied"))
            .chain(changes.iter().map(|line| format!("  {line}")))
            .collect(),
        UpEvent::Trouble(what) => vec![paint(CAREFUL, what)],
        UpEvent::BrokerDown { broker, evidence } => {
            vec![format!(
                "{} ({})",
                paint(BAD, format!("broker {broker} is down")),
                listed(evidence)
            )]
        }
        UpEvent::Migrated { broker, to, declared } => {
            let whom = if *declared {
                format!("the clients of {broker}")
            } else {
                format!("the clients of {broker}, if it has any,")
            };
            vec![paint(CAREFUL, format!("{to} serves {whom} now"))]
        }
        UpEvent::Adopted { broker, messages } => {
            let messages = count(usize::try_from(*messages).unwrap_or(usize::MAX), "message");
            vec![format!("passed on {messages} that waited elsewhere for {broker}")]
        }
        UpEvent::Returned { broker } => {
            vec![paint(
                GOOD,
                format!("broker {broker} is back and serves its clients itself"),
            )]
        }
        UpEvent::Drain(record) => vec![paint(
            drain_style(record.migration.phase),
            moving::sentence(record),
        )],
        UpEvent::PathUp {
            topic,
            path,
            milliseconds,
        } => {
            let took = milliseconds.map_or_else(String::new, |time| format!(" in {time:.1} ms"));
            vec![format!(
                "{} {topic}: {}{took}",
                paint(GOOD, "path up"),
                arrows(path)
            )]
        }
        UpEvent::PathDown {
            topic,
            producer,
            consumer,
        } => {
            vec![format!(
                "{} {topic}: from {producer} to {consumer}",
                paint(BAD, "path down")
            )]
        }
        UpEvent::Ready(summary) => vec![paint(
            GOOD.bold(),
            format!(
                "ready: {} and {} after {:.1} s",
                count(summary.brokers, "broker"),
                count(summary.paths, "path"),
                std::time::Duration::from_millis(u64::try_from(summary.milliseconds).unwrap_or(u64::MAX))
                    .as_secs_f64(),
            ),
        )],
        UpEvent::Stopping => vec!["stopping".to_owned()],
        UpEvent::Stopped { broker } => vec![format!("broker {broker} stopped")],
    }
}
