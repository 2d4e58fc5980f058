//! Leading a broker's clients away and back, and approving: wishes that `skein up` heeds. Refuses what cannot be meant.

use skein_adapter::moves::{Standing, approvable};
use skein_agent::files::FileError;
use skein_api::fleet::Failback;
use skein_api::name::BrokerName;
use skein_api::resources::{MigrationReason, MigrationSpec};

use super::ClientError;
use crate::manifests::{self, Declared};
use crate::state::StateDirectory;
use crate::status::FleetStatus;
use crate::wishes::{Approval, DrainWish, WishDirectory};

/// Why a broker's clients are not led away or back, or nothing is approved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The fleet cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Nobody would do it.
    #[error(
        "no `skein up` runs this fleet, so nobody can lead clients anywhere; start it with `skein up -f DIR --state {}`",
        state.display()
    )]
    NobodyRuns {
        /// The state directory.
        state: std::path::PathBuf,
    },
    /// Its clients cannot be led there.
    #[error(
        "Broker/{broker} --to {to}: it {why}; name one of {}, or leave --to out for the planned substitute",
        known.join(", ")
    )]
    Target {
        /// The broker to be drained.
        broker: BrokerName,
        /// Where its clients were to go.
        to: BrokerName,
        /// What is wrong with that, as in "it …".
        why: &'static str,
        /// Brokers that can be named.
        known: Vec<String>,
    },
    /// It is down already.
    #[error(
        "Broker/{broker}: it is down, so its clients cannot be led away in order; wait until it is back (`skein mend \
         {broker}`, if it was broken), or see with `skein status` who serves them"
    )]
    Down {
        /// Which.
        broker: BrokerName,
    },
    /// A manifest says whether it is drained.
    #[error(
        "Broker/{broker}: Migration/{migration} in the manifests says whether it is drained, and goes before commands; \
         {}",
        if *drain {
            "edit its spec.to or spec.abandon, or remove it first"
        } else {
            "set its spec.end to true, or remove it"
        }
    )]
    Declared {
        /// Which broker.
        broker: BrokerName,
        /// The Migration's name.
        migration: String,
        /// It was to be drained; else it was to have its clients back.
        drain: bool,
    },
    /// Nothing waits for approval.
    #[error(
        "Broker/{broker}: nothing waits for approval there{}; `skein status` shows what does, as a migration in phase \
         Pending or a broker in phase Returning",
        why.map(|why| format!(": {why}")).unwrap_or_default()
    )]
    NothingWaits {
        /// Which broker.
        broker: BrokerName,
        /// Why, if that can be said.
        why: Option<&'static str>,
    },
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Wishes a broker without clients.
///
/// # Errors
/// If nobody could grant it: see [`MoveError`].
pub fn drain(state: &StateDirectory, broker: &BrokerName, wish: &DrainWish) -> Result<(), MoveError> {
    let (status, declared) = running(state, broker)?;
    refuse_declared(declared.as_ref(), broker, true)?;
    let phases = status.brokers.iter();
    let phases = phases.map(|broker| (broker.name.clone(), broker.phase)).collect();
    let fleet = declared.as_ref().map(|declared| &declared.fleet);
    let standing = Standing {
        fleet: &fleet.cloned().unwrap_or_default(),
        phases: &phases,
        drains: &status.drains,
    };
    if let (Some(to), Some(_)) = (&wish.to, fleet)
        && let Some(why) = standing.not_there(broker, to)
    {
        return Err(MoveError::Target {
            broker: broker.clone(),
            to: to.clone(),
            why,
            known: standing.targets(broker),
        });
    }
    if standing.is_out(broker) {
        return Err(MoveError::Down {
            broker: broker.clone(),
        });
    }
    Ok(WishDirectory::of(state).drain(broker, wish)?)
}

/// Takes that wish back, whether or not an `up` is there to heed it. Says whether there was one.
///
/// # Errors
/// If a manifest says otherwise, or nobody ever wished that and there is no such broker.
pub fn undrain(state: &StateDirectory, broker: &BrokerName) -> Result<bool, MoveError> {
    refuse_declared(declared(state).as_ref(), broker, false)?;
    if WishDirectory::of(state).undrain(broker)? {
        return Ok(true);
    }
    super::check(state, broker)?;
    Ok(false)
}

/// Approves what waits for approval at a broker now, and says what that is.
///
/// # Errors
/// If nothing does, or nobody would hear of it.
pub fn approve(state: &StateDirectory, broker: &BrokerName, abandon: bool) -> Result<Approval, MoveError> {
    let (status, declared) = running(state, broker)?;
    let failback = declared
        .as_ref()
        .and_then(|declared| declared.fleet.brokers.get(broker))
        .map_or(Failback::Automatic, |declared| declared.failover.failback);
    let Some(of_broker) = status.broker(broker.as_str()) else {
        return Err(MoveError::NothingWaits {
            broker: broker.clone(),
            why: None,
        });
    };
    let newest = status.newest_migration(broker);
    let awaited =
        approvable(of_broker.phase, newest, failback, abandon).map_err(|why| MoveError::NothingWaits {
            broker: broker.clone(),
            why,
        })?;
    WishDirectory::of(state).approve(broker, &awaited)?;
    Ok(awaited)
}

fn refuse_declared(declared: Option<&Declared>, broker: &BrokerName, drain: bool) -> Result<(), MoveError> {
    let says = |spec: &MigrationSpec| spec.broker == *broker && spec.reason == MigrationReason::Drain;
    let declaring = declared.and_then(|declared| declared.migrations.iter().find(|(_, spec)| says(spec)));
    match declaring {
        Some((migration, _)) => Err(MoveError::Declared {
            broker: broker.clone(),
            migration: migration.clone(),
            drain,
        }),
        None => Ok(()),
    }
}

/// What is declared, as far as it can be read: who only wants to say no for it goes on without.
fn declared(state: &StateDirectory) -> Option<Declared> {
    let files = super::manifests(state).ok()?;
    manifests::load(&files).ok()
}

/// How a fleet is that somebody runs, and what is declared in it.
fn running(
    state: &StateDirectory,
    broker: &BrokerName,
) -> Result<(FleetStatus, Option<Declared>), MoveError> {
    super::check(state, broker)?;
    let status = super::status(state)?.filter(|_| state.holder().is_some());
    let status = status.ok_or_else(|| MoveError::NobodyRuns {
        state: state.path().to_owned(),
    })?;
    Ok((status, declared(state)))
}
