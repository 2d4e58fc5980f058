//! `skein diff --steps`

pub(crate) mod show;

use std::process::ExitCode;

use skein_api::resources::MigrationReason;
use skein_engine::rehearsal::{self, Declaration, Drain};
use skein_local::manifests::Declared;

use self::show::human;
use crate::arguments;
use crate::configs;
use crate::failure::Failure;
use crate::manifests;
use crate::output;

pub(crate) fn run(arguments: &arguments::Diff) -> Result<ExitCode, Failure> {
    let (old, new) = manifests::both(manifests::declared, &arguments.old, &arguments.new)?;
    let (old, new) = (declaration(old), declaration(new));
    let found =
        rehearsal::rehearse(&old, &new, &configs::settings(), &configs::version).map_err(|never_ran| {
            let problems = never_ran.problems.join("\n  ");
            let old = arguments.old.display();
            Failure::could_not(format!(
                "a fleet never runs as {old} says, so there is nothing to begin from:\n  {problems}"
            ))
        })?;
    output::print(arguments.output.format, &found, || human(&found))?;
    let differs = arguments.exit_code && !found.rounds.is_empty();
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
