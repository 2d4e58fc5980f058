//! `skein drain`, `skein undrain` and `skein approve`

use std::process::ExitCode;

use skein_api::name::BrokerName;
use skein_api::resources::Period;
use skein_commands::drain::{self as shown, Follow, Goal};
use skein_commands::{Failure, runtime};
use skein_local::client::{self, ClientError, MoveError};
use skein_local::{DrainWish, StateDirectory};

use super::trouble;
use crate::arguments::{Approve, Drain, Undrain};
use crate::failure;
use crate::seen::Watch;
use crate::voice::VOICE;

pub(crate) fn drain(arguments: &Drain) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref()).map_err(failure::of_client)?;
    let broker = &arguments.broker;
    let wish = DrainWish {
        to: arguments.to.clone(),
        abandon: arguments.abandon,
    };
    let mut follow = begin(&state, broker, Goal::Drained(wish.clone()))?;
    client::drain(&state, broker, &wish).map_err(|error| refused(error, &state))?;
    if arguments.waiting.no_wait {
        return shown::asked(broker, &VOICE);
    }
    let mut watch = Watch::new(&state);
    let timeout = arguments.waiting.timeout.map(Period::get);
    let ended = runtime()?.block_on(follow.until_its_end(timeout, async || watch.next_seen().await))?;
    shown::drained(broker, ended, arguments.output.format, &VOICE)
}

pub(crate) fn undrain(arguments: &Undrain) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref()).map_err(failure::of_client)?;
    let broker = &arguments.broker;
    let mut follow = begin(&state, broker, Goal::Undrained)?;
    let wished = client::undrain(&state, broker).map_err(|error| refused(error, &state))?;
    if state.holder().is_none() {
        let what = format!("Broker/{broker}: the drain is called off, and its clients go back to it");
        return Err(Failure::could_not(format!(
            "{what} once `skein up` runs again: it does not now"
        )));
    }
    if !wished && !follow.is_under_way() {
        return shown::not_drained(broker, arguments.output.format);
    }
    if arguments.waiting.no_wait {
        return shown::taken_back(broker, &VOICE);
    }
    let mut watch = Watch::new(&state);
    let timeout = arguments.waiting.timeout.map(Period::get);
    let ended = runtime()?.block_on(follow.until_its_end(timeout, async || watch.next_seen().await))?;
    shown::undrained(broker, ended, arguments.output.format, &VOICE)
}

pub(crate) fn approve(arguments: &Approve) -> Result<ExitCode, Failure> {
    let state = client::find(arguments.state.as_deref()).map_err(failure::of_client)?;
    let broker = &arguments.broker;
    let approval =
        client::approve(&state, broker, arguments.abandon).map_err(|error| refused(error, &state))?;
    shown::approved(broker, &approval, &VOICE)
}

fn begin(state: &StateDirectory, broker: &BrokerName, goal: Goal) -> Result<Follow, Failure> {
    let status = client::status(state).map_err(failure::of_client)?;
    let records = status.map_or_else(Vec::new, |status| status.migrations);
    Ok(Follow::new(&records, broker, goal))
}

fn refused(error: MoveError, state: &StateDirectory) -> Failure {
    match error {
        MoveError::Client(error @ ClientError::NoBroker { .. }) => trouble::failure(error, state),
        error => failure::of_move(error),
    }
}
