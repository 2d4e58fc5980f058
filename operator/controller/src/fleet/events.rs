//! What happens to brokers, told as Kubernetes events where a person looks first: at the Broker.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use skein_api::resources::Broker;
use skein_engine::directive::{Migration, MigrationPhase, Reason};

use super::Fleet;
use crate::names;

impl Fleet {
    /// Who publishes events.
    pub(super) fn recorder(client: &kube::Client) -> Recorder {
        let reporter = Reporter {
            controller: format!("mqtt.skein.dev/{}", names::MANAGER),
            instance: std::env::var("HOSTNAME").ok(),
        };
        Recorder::new(client.clone(), reporter)
    }

    /// Tells of a migration that came to another phase.
    pub(super) fn announce(&self, migration: &Migration) {
        let broker = &migration.broker;
        let uid = self.hosted.get(broker).map(|declaration| declaration.uid.clone());
        let about = ObjectReference {
            api_version: Some(Broker::api_version(&()).into_owned()),
            kind: Some(Broker::kind(&()).into_owned()),
            name: Some(broker.to_string()),
            namespace: Some(self.setting.namespace.clone()),
            uid,
            ..ObjectReference::default()
        };
        let event = told(migration);
        let recorder = self.recorder.clone();
        tokio::spawn(async move {
            // An event is for people who happen to look; nothing depends on it.
            let _ = recorder.publish(&event, &about).await;
        });
    }
}

/// A migration's phase, in a sentence that says what to do where there is something to do.
fn told(migration: &Migration) -> Event {
    let (broker, name) = (&migration.broker, &migration.name);
    let to = migration
        .to
        .as_ref()
        .map_or("nobody".to_owned(), ToString::to_string);
    let is_failure = migration.reason == Reason::Failure;
    let why = migration.evidence.join("; ");
    let (is_bad, note) = match migration.phase {
        MigrationPhase::Pending => (
            true,
            format!(
                "{name}: waits for a person: set spec.approved of Migration/{name} to true, and {to} takes over"
            ),
        ),
        MigrationPhase::Detected if is_failure => (true, format!("{broker} is down: {why}")),
        MigrationPhase::Detected | MigrationPhase::Draining => {
            (false, format!("the clients of {broker} are being led to {to}"))
        }
        MigrationPhase::Fenced => (false, format!("the neighbours of {broker} keep it out")),
        MigrationPhase::Seeded => (false, format!("sessions wait at {to}")),
        MigrationPhase::Retargeted => (false, format!("the address of {broker} leads to {to}")),
        MigrationPhase::Adopted => (false, format!("{to} has what waited for {broker}")),
        MigrationPhase::Completed if migration.to.is_none() => (
            is_failure,
            format!("{broker} is routed around; nobody serves its clients"),
        ),
        MigrationPhase::Completed => (false, format!("{to} serves the clients of {broker}")),
        MigrationPhase::FailingBack => (false, format!("{broker} is back, and is being given its clients")),
        MigrationPhase::FailedBack => (false, format!("{broker} serves its clients again")),
        MigrationPhase::Aborted => (false, format!("{name}: called off before anything moved")),
        MigrationPhase::Failed => (true, format!("{name}: {to} could not take over: {why}")),
    };
    Event {
        type_: if is_bad {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: format!("{:?}", migration.phase),
        note: Some(note),
        action: if is_failure { "Failover" } else { "Drain" }.to_owned(),
        secondary: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::name::BrokerName;

    fn note(phase: MigrationPhase, to: Option<&str>, reason: Reason) -> (bool, String) {
        let name = |text: &str| BrokerName::new(text).unwrap();
        let event = told(&Migration {
            phase,
            reason,
            to: to.map(name),
            evidence: vec!["3 heartbeats were missed".to_owned()],
            ..Migration::new("c-1".to_owned(), name("c"))
        });
        (matches!(event.type_, EventType::Warning), event.note.unwrap())
    }

    #[test]
    fn a_person_is_warned_where_something_is_to_be_done_or_known() {
        use MigrationPhase::{Completed, Detected, Pending};
        let (is_bad, text) = note(Detected, None, Reason::Failure);
        assert!(is_bad && text.contains("3 heartbeats were missed"));
        assert!(!note(Detected, Some("b"), Reason::Drain).0);
        let (is_bad, text) = note(Pending, Some("b"), Reason::Failure);
        assert!(is_bad && text.contains("spec.approved of Migration/c-1"));
        assert_eq!(
            note(Completed, Some("b"), Reason::Failure),
            (false, "b serves the clients of c".to_owned())
        );
        assert!(note(Completed, None, Reason::Failure).0);
    }
}
