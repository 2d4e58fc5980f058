//! `drain`, `undrain` and `approve`: what is said of them, and how they end. How they are asked for is for each program.

mod follow;
mod progress;

use std::process::ExitCode;

use skein_adapter::approvals::{Approval, Step};
use skein_adapter::migrations::MigrationRecord;
use skein_api::name::BrokerName;

use crate::arguments::Format;
use crate::failure::Failure;
use crate::moving;
use crate::output;
use crate::paint::count;
use crate::views::MigrationView;
use crate::voice::Voice;

pub use follow::{End, Follow, Goal, Seen};

/// How following a drain ended, and its last record, if there was any.
pub type Followed = (End, Option<MigrationRecord>);

/// A drain was asked for, and nobody waits for it.
///
/// # Errors
/// If that cannot be printed.
pub fn asked(broker: &BrokerName, voice: &Voice) -> Result<ExitCode, Failure> {
    output::write(&format!(
        "{broker} is being drained; {}\n",
        goes_on(broker, voice)
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A drain was waited for.
///
/// # Errors
/// If it is not done: why.
pub fn drained(
    broker: &BrokerName,
    (end, record): Followed,
    format: Format,
    voice: &Voice,
) -> Result<ExitCode, Failure> {
    let command = voice.command;
    let unfinished = |what: &str| {
        let far = record
            .as_ref()
            .map_or_else(String::new, |record| format!(" ({})", moving::sentence(record)));
        Failure::could_not(format!(
            "Broker/{broker}: {what}{far}; {}",
            goes_on(broker, voice)
        ))
    };
    show(format, record.as_ref(), told)?;
    match end {
        End::Reached => Ok(ExitCode::SUCCESS),
        End::Failed => {
            let why = record
                .as_ref()
                .map_or_else(String::new, |record| moving::why(&record.migration));
            Err(Failure::could_not(format!(
                "Broker/{broker}: it cannot be drained: {why}; mend that, or name another broker with --to; until then the \
                 drain stands, and `{command} undrain {broker}` calls it off"
            )))
        }
        End::CalledOff => Err(Failure::could_not(format!(
            "Broker/{broker}: the drain was called off meanwhile, by `{command} undrain {broker}` or {}",
            voice.edit
        ))),
        End::Overruled(migration) => Err((voice.overruled)(broker, &migration)),
        End::TimedOut => Err(unfinished("it is not empty yet")),
        End::NobodyActs => Err(unfinished(&format!("{}; the next one goes on", voice.ended))),
        End::Interrupted => {
            output::tell(&format!("the drain of {broker} goes on; {}", ways(broker, voice)));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// There was no drain to be taken back.
///
/// # Errors
/// If that cannot be printed.
pub fn not_drained(broker: &BrokerName, format: Format) -> Result<ExitCode, Failure> {
    show(format, None, |_| String::new())?;
    output::tell(&format!("{broker} is not drained; nothing is to be done"));
    Ok(ExitCode::SUCCESS)
}

/// A drain was taken back, and nobody waits for that.
///
/// # Errors
/// If that cannot be printed.
pub fn taken_back(broker: &BrokerName, voice: &Voice) -> Result<ExitCode, Failure> {
    output::write(&format!(
        "{broker} is to have its clients back; `{} status` shows how far it is\n",
        voice.command
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A drain was taken back, and the broker's clients were waited for.
///
/// # Errors
/// If it does not have them: why.
pub fn undrained(
    broker: &BrokerName,
    (end, record): Followed,
    format: Format,
    voice: &Voice,
) -> Result<ExitCode, Failure> {
    let command = voice.command;
    show(format, record.as_ref(), |record| {
        format!("{}\n", moving::sentence(record))
    })?;
    let unfinished = |what: &str| {
        Failure::could_not(format!(
            "Broker/{broker}: {what}; it is given its clients back all the same, and `{command} status` shows how far that is"
        ))
    };
    match end {
        End::Reached | End::Failed => {
            let begun = record.is_some_and(|record| follow::is_done(record.migration.phase));
            if !begun && format == Format::Table {
                output::write(&format!(
                    "the drain of {broker} is called off; nothing had moved\n"
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        End::CalledOff => Err(Failure::could_not(format!(
            "Broker/{broker}: it was drained again meanwhile"
        ))),
        End::Overruled(migration) => Err((voice.overruled)(broker, &migration)),
        End::TimedOut => Err(unfinished("it does not have them yet")),
        End::NobodyActs => Err(unfinished(&format!("{}, the next one goes on", voice.ended))),
        End::Interrupted => {
            output::tell(&format!(
                "{broker} is given its clients back all the same; `{command} status` shows how far that is"
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// What waited at a broker was approved.
///
/// # Errors
/// If that cannot be printed.
pub fn approved(broker: &BrokerName, approval: &Approval, voice: &Voice) -> Result<ExitCode, Failure> {
    let name = &approval.migration;
    output::write(&match approval.step {
        Step::Move => format!("{name} is approved: the clients of {broker} are led to its substitute\n"),
        Step::TakeBack => format!("{name} is approved: {broker} is taken back\n"),
        Step::Abandon => format!(
            "{name}: what waits for clients that stay away is given up, and {broker} has its clients back; `{} status -o \
             json` says how much that was\n",
            voice.command
        ),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The record of a drain: on its own line for people if it is done, and whatever there is for programs.
fn show(
    format: Format,
    record: Option<&MigrationRecord>,
    human: impl FnOnce(&MigrationRecord) -> String,
) -> Result<(), Failure> {
    let view = record.map(MigrationView::from);
    let done = record.filter(|record| follow::is_done(record.migration.phase));
    output::print(format, &view, || done.map_or_else(String::new, human))?;
    Ok(())
}

/// What people read at the end of a drain.
pub(crate) fn told(record: &MigrationRecord) -> String {
    let migration = &record.migration;
    let mut text = moving::sentence(record) + "\n";
    let moved = moving::moved(migration);
    if moved > 0 {
        text += &format!("{} moved\n", count(moved, "session"));
    }
    for (client, why) in &migration.not_moved {
        text += &format!("not moved: {client}: {why}\n");
    }
    if !record.abandoned.is_empty() {
        let given_up = record.abandoned.values().sum();
        text += &format!(
            "given up: {} that waited for {}: {}\n",
            moving::messages(given_up),
            count(record.abandoned.len(), "client"),
            moving::waiting(&record.abandoned)
        );
    }
    text
}

fn goes_on(broker: &BrokerName, voice: &Voice) -> String {
    format!("the drain goes on: {}", ways(broker, voice))
}

fn ways(broker: &BrokerName, voice: &Voice) -> String {
    let command = voice.command;
    format!("`{command} status` shows how far it is, and `{command} undrain {broker}` calls it off")
}
