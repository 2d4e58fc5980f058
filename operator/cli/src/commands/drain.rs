//! `skein drain`, `skein undrain` and `skein approve`

mod follow;
mod progress;

use std::process::ExitCode;

use skein_api::name::BrokerName;
use skein_local::client::{self, ClientError, MoveError};
use skein_local::{DrainWish, MigrationRecord, StateDirectory, Step};

use super::{moving, trouble};
use crate::arguments::{Approve, Drain, Format, Undrain};
use crate::failure::Failure;
use crate::output;
use crate::paint::count;
use crate::views::MigrationView;
use follow::{End, Follow, Goal};

pub(crate) fn drain(arguments: &Drain) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref())?;
    let broker = &arguments.broker;
    let wish = DrainWish {
        to: arguments.to.clone(),
        abandon: arguments.abandon,
    };
    let mut follow = Follow::new(&state, broker, Goal::Drained(wish.clone()))?;
    client::drain(&state, broker, &wish).map_err(|error| refused(error, &state))?;
    if arguments.waiting.no_wait {
        output::write(&format!("{broker} is being drained; {}\n", goes_on(broker)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let timeout = arguments.waiting.timeout.map(skein_api::resources::Period::get);
    let (end, record) = crate::runtime()?.block_on(follow.until_its_end(timeout))?;
    let unfinished = |what: String| {
        let far = record
            .as_ref()
            .map_or_else(String::new, |record| format!(" ({})", moving::sentence(record)));
        Failure::could_not(format!("Broker/{broker}: {what}{far}; {}", goes_on(broker)))
    };
    show(arguments.output.format, record.as_ref(), drained)?;
    match end {
        End::Reached => Ok(ExitCode::SUCCESS),
        End::Failed => {
            let why = record
                .as_ref()
                .map_or_else(String::new, |record| moving::why(&record.migration));
            Err(Failure::could_not(format!(
                "Broker/{broker}: it cannot be drained: {why}; mend that, or name another broker with --to; until then the \
                 drain stands, and `skein undrain {broker}` calls it off"
            )))
        }
        End::CalledOff => Err(Failure::could_not(format!(
            "Broker/{broker}: the drain was called off meanwhile, by `skein undrain {broker}` or an edit of the manifests"
        ))),
        End::Overruled(migration) => Err(overruled(broker, &migration)),
        End::TimedOut => Err(unfinished("it is not empty yet".to_owned())),
        End::UpEnded => Err(unfinished(
            "`skein up` has ended; the next one goes on".to_owned(),
        )),
        End::Interrupted => {
            output::tell(&format!("the drain of {broker} goes on; {}", ways(broker)));
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(crate) fn undrain(arguments: &Undrain) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref())?;
    let broker = &arguments.broker;
    let mut follow = Follow::new(&state, broker, Goal::Undrained)?;
    let wished = client::undrain(&state, broker).map_err(|error| refused(error, &state))?;
    if state.holder().is_none() {
        let what = format!("Broker/{broker}: the drain is called off, and its clients go back to it");
        return Err(Failure::could_not(format!(
            "{what} once `skein up` runs again: it does not now"
        )));
    }
    if !wished && !follow.is_under_way() {
        show(arguments.output.format, None, |_| String::new())?;
        output::tell(&format!("{broker} is not drained; nothing is to be done"));
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.waiting.no_wait {
        output::write(&format!(
            "{broker} is to have its clients back; `skein status` shows how far it is\n"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    let timeout = arguments.waiting.timeout.map(skein_api::resources::Period::get);
    let (end, record) = crate::runtime()?.block_on(follow.until_its_end(timeout))?;
    show(arguments.output.format, record.as_ref(), |record| {
        format!("{}\n", moving::sentence(record))
    })?;
    let unfinished = |what: &str| {
        Failure::could_not(format!(
            "Broker/{broker}: {what}; it is given its clients back all the same, and `skein status` shows how far that is"
        ))
    };
    match end {
        End::Reached | End::Failed => {
            let begun = record.is_some_and(|record| follow::is_done(record.migration.phase));
            if !begun && arguments.output.format == Format::Table {
                output::write(&format!(
                    "the drain of {broker} is called off; nothing had moved\n"
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        End::CalledOff => Err(Failure::could_not(format!(
            "Broker/{broker}: it was drained again meanwhile"
        ))),
        End::Overruled(migration) => Err(overruled(broker, &migration)),
        End::TimedOut => Err(unfinished("it does not have them yet")),
        End::UpEnded => Err(unfinished("`skein up` has ended, the next one goes on")),
        End::Interrupted => {
            output::tell(&format!(
                "{broker} is given its clients back all the same; `skein status` shows how far that is"
            ));
            Ok(ExitCode::FAILURE)
        }
    }
}

pub(crate) fn approve(arguments: &Approve) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref())?;
    let broker = &arguments.broker;
    let approval =
        client::approve(&state, broker, arguments.abandon).map_err(|error| refused(error, &state))?;
    let name = &approval.migration;
    output::write(&match approval.step {
        Step::Move => format!("{name} is approved: the clients of {broker} are led to its substitute\n"),
        Step::TakeBack => format!("{name} is approved: {broker} is taken back\n"),
        Step::Abandon => format!(
            "{name}: what waits for clients that stay away is given up, and {broker} has its clients back; `skein status -o \
             json` says how much that was\n"
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
pub(crate) fn drained(record: &MigrationRecord) -> String {
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

fn goes_on(broker: &BrokerName) -> String {
    format!("the drain goes on: {}", ways(broker))
}

fn ways(broker: &BrokerName) -> String {
    format!("`skein status` shows how far it is, and `skein undrain {broker}` calls it off")
}

fn overruled(broker: &BrokerName, migration: &str) -> Failure {
    let error = MoveError::Declared {
        broker: broker.clone(),
        migration: migration.to_owned(),
        drain: true,
    };
    error.into()
}

fn refused(error: MoveError, state: &StateDirectory) -> Failure {
    match error {
        MoveError::Client(error @ ClientError::NoBroker { .. }) => trouble::failure(error, state),
        error => error.into(),
    }
}
