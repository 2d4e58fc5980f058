//! Stopping: politely at first.

use std::time::Duration;

use skein_agent::Identity;
use skein_agent::files;
use skein_api::name::BrokerName;
use tokio::signal::unix::Signal;

use super::runner::Runner;
use crate::happening::UpEvent;

/// How long brokers may take to write their stores.
const PATIENCE: Duration = Duration::from_secs(20);

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Stops everything of this fleet, whoever started it. A further signal ends the patience.
    pub(super) async fn stop(&mut self, interrupt: &mut Signal, terminate: &mut Signal) {
        (self.tell)(UpEvent::Stopping);
        self.conductor.watch.set_probes(Vec::new());
        let stopping: Vec<(BrokerName, Vec<Identity>)> = self
            .place
            .state
            .known_brokers()
            .into_iter()
            .map(|broker| {
                let asked = self.processes.stop(&broker);
                (broker, asked)
            })
            .filter(|(_, asked)| !asked.is_empty())
            .collect();
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        let mut hurry = false;
        for (broker, asked) in &stopping {
            if !hurry {
                tokio::select! {
                    () = ended(asked) => {}
                    () = &mut patience => hurry = true,
                    _ = interrupt.recv() => hurry = true,
                    _ = terminate.recv() => hurry = true,
                }
            }
            if hurry {
                self.processes.kill(broker, asked);
            }
            (self.tell)(UpEvent::Stopped {
                broker: broker.clone(),
            });
        }
        // What nobody updates any more would only mislead.
        let _ = files::remove(&self.place.state.status_file());
    }
}

async fn ended(identities: &[Identity]) {
    for identity in identities {
        if identity.wait_exit().await.is_err() {
            while identity.is_alive() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
