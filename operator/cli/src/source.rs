//! Where a fleet comes from: a directory of manifests, or the fleet that runs.

use std::path::Path;

use skein_api::name::BrokerName;
use skein_commands::{Failure, Running, Subject, manifests};
use skein_contract::Profile;
use skein_engine::collisions::Collision;
use skein_engine::directive::BrokerPhase;
use skein_local::{StateDirectory, client};
use skein_mosquitto::config::{self, Persistence};
use skein_planner::plan::View;

use crate::arguments::Source;
use crate::failure;

/// Reads what the arguments say.
pub(crate) fn subject(source: &Source) -> Result<Subject, Failure> {
    let mut subject = match &source.directory {
        Some(directory) => Subject::declared(manifests::fleet(directory)?),
        None => running(source.state.as_deref())?,
    };
    subject.suppose(&source.down)?;
    Ok(subject)
}

/// The fleet that runs, as it is now: with what is down and who serves it.
fn running(state: Option<&Path>) -> Result<Subject, Failure> {
    let state = client::find(state).map_err(|error| {
        let hint = "or read manifests with -f DIR";
        match failure::of_client(error) {
            Failure::BadInput(message) => Failure::BadInput(format!("{message}; {hint}")),
            Failure::CouldNot(message) => Failure::CouldNot(format!("{message}; {hint}")),
            problems @ Failure::Problems(_) => problems,
        }
    })?;
    let files = client::manifests(&state).map_err(failure::of_client)?;
    let fleet = manifests::judge(state.path(), &files)?;
    // The class names that the fleet runs with, as far as it has written them down.
    let previous_classes = std::fs::read_to_string(state.path().join("classes.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let mut view = View {
        previous_classes,
        ..View::default()
    };
    let status = client::status(&state).map_err(failure::of_client)?;
    for broker in status.into_iter().flat_map(|status| status.brokers) {
        if broker.phase == BrokerPhase::Down {
            view.down.insert(broker.name.clone());
        }
        if let Some(substitute) = broker.served_by.filter(|substitute| *substitute != broker.name) {
            // Until it is taken back, a returning broker is served too and nothing may pass through it.
            view.down.insert(broker.name.clone());
            view.served_by.insert(broker.name, substitute);
        }
    }
    Ok(Subject {
        fleet,
        view,
        running: Some(Box::new(Here(state))),
    })
}

/// Reads two directories; the problems of both are reported together. The newer plan keeps the older one's class names.
pub(crate) fn both(old: &Path, new: &Path) -> Result<(Subject, Subject), Failure> {
    let subject = |directory: &Path| manifests::fleet(directory).map(Subject::declared);
    let (old, mut new) = manifests::both(subject, old, new)?;
    new.view.previous_classes = old.plan().class_names();
    Ok((old, new))
}

/// A fleet that runs on this machine.
#[derive(Debug)]
struct Here(StateDirectory);

impl Running for Here {
    fn version(&self, broker: &BrokerName) -> Result<Option<String>, Failure> {
        let status = client::status(&self.0).map_err(failure::of_client)?;
        Ok(status.and_then(|status| status.broker(broker.as_str())?.version.clone()))
    }

    /// What it runs with says what it keeps: whether the sqlite plugin was found is in no manifest.
    fn profile(&self, broker: &BrokerName) -> Option<Profile> {
        let loaded = self.0.broker(broker).loaded().ok().flatten()?;
        Some(match config::parse(&loaded.config).ok()?.persistence {
            Persistence::Durable { .. } => Profile::Durable,
            Persistence::Classic { .. } => Profile::Classic,
            Persistence::None => Profile::None,
        })
    }

    fn collisions(&self, broker: &BrokerName) -> Result<(Vec<Collision>, usize), Failure> {
        let status = client::status(&self.0).map_err(failure::of_client)?;
        let found = status.as_ref().and_then(|status| status.broker(broker.as_str()));
        Ok(found
            .map(|broker| (broker.collisions.clone(), broker.collision_count))
            .unwrap_or_default())
    }
}
