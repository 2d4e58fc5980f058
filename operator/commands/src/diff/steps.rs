//! `diff --steps`

pub(crate) mod show;

use std::process::ExitCode;

use skein_adapter::declared::Declared;
use skein_api::resources::MigrationReason;
use skein_engine::rehearsal::{self, Declaration, Drain};

use self::show::human;
use crate::arguments::Format;
use crate::configs;
use crate::failure::Failure;
use crate::output;

/// Shows how a running fleet would get from the one to the other; `name` is what the former is called. `exit_code`: anything to do is
/// a failure.
///
/// # Errors
/// If the former never runs.
pub fn run(
    (old, name): (Declared, &str),
    new: Declared,
    format: Format,
    exit_code: bool,
) -> Result<ExitCode, Failure> {
    let (old, new) = (declaration(old), declaration(new));
    let found =
        rehearsal::rehearse(&old, &new, &configs::settings(), &configs::version).map_err(|never_ran| {
            let problems = never_ran.problems.join("\n  ");
            Failure::could_not(format!(
                "a fleet never runs as {name} says, so there is nothing to begin from:\n  {problems}"
            ))
        })?;
    output::print(format, &found, || human(&found))?;
    let differs = exit_code && !found.rounds.is_empty();
    Ok(if differs || !found.settled {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// What a running fleet would be told.
fn declaration(declared: Declared) -> Declaration {
    let wishes = declared.migrations.into_values();
    let drains = wishes.filter(|wish| wish.reason == MigrationReason::Drain && !wish.end);
    let drain = |to, abandon| Drain { to, abandon };
    Declaration {
        fleet: declared.fleet,
        drains: drains
            .map(|wish| (wish.broker, drain(wish.to, wish.abandon)))
            .collect(),
    }
}
