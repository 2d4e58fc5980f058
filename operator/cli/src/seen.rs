//! The status that `skein up` writes, as commands show it, and whether it is there to write more.

use std::time::Duration;

use skein_commands::Failure;
use skein_commands::drain::Seen;
use skein_commands::views::{BrokerView, MigrationView, PathView, StatusView};
use skein_local::client::StatusWatch;
use skein_local::{FleetStatus, StateDirectory};

use crate::failure;

/// How often it is looked whether `skein up` still runs: its death changes no file.
const PULSE: Duration = Duration::from_secs(1);

/// A status that is looked at again and again.
pub(crate) struct Watch {
    state: StateDirectory,
    changes: StatusWatch,
    last: Option<FleetStatus>,
}

impl Watch {
    pub(crate) fn new(state: &StateDirectory) -> Self {
        Self {
            state: state.clone(),
            changes: StatusWatch::new(state),
            last: None,
        }
    }

    /// The next status, the first time the first there is, and whether somebody keeps the fleet; at each pulse as before.
    /// Nothing if nobody wrote any yet.
    async fn next(&mut self) -> Result<(Option<FleetStatus>, bool), Failure> {
        tokio::select! {
            status = self.changes.next() => self.last = Some(status.map_err(failure::of_client)?),
            () = tokio::time::sleep(PULSE) => {}
        }
        Ok((self.last.clone(), self.state.holder().is_some()))
    }

    /// The same, once somebody wrote one.
    pub(crate) async fn next_status(&mut self) -> Result<(FleetStatus, bool), Failure> {
        loop {
            if let (Some(status), runs) = self.next().await? {
                return Ok((status, runs));
            }
        }
    }

    /// What of it says how far a drain is.
    pub(crate) async fn next_seen(&mut self) -> Result<Seen, Failure> {
        let (status, acts) = self.next().await?;
        let (records, drains) =
            status.map_or_else(Default::default, |status| (status.migrations, status.drains));
        Ok(Seen {
            records,
            drains,
            acts,
        })
    }
}

/// The view of what `skein up` wrote.
pub(crate) fn view(status: &FleetStatus, running: bool) -> StatusView {
    StatusView {
        updated_at: status.updated_at.clone(),
        fleet: status.fleet.display().to_string(),
        pid: Some(status.pid),
        running: Some(running),
        brokers: status.brokers.iter().map(BrokerView::from).collect(),
        paths: status.paths.iter().map(PathView::from).collect(),
        migrations: status.migrations.iter().map(MigrationView::from).collect(),
        drains: status.drains.clone(),
        settled: Some(status.settled),
        problems: status.problems.clone(),
    }
}
