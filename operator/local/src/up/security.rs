//! Who may connect: brought to the brokers, and to all that connects to them.

use std::collections::BTreeSet;

use skein_agent::files::FileError;
use skein_api::fleet::Fleet;
use skein_api::name::BrokerName;
use tokio::time::Instant;

use super::runner::Runner;
use crate::happening::UpEvent;
use crate::users::Files;
use skein_adapter::users::neighbours;

impl<F: FnMut(UpEvent)> Runner<F> {
    /// Says what the brokers of a fleet are to be started with.
    pub(super) fn provide_users(&mut self, fleet: &Fleet) -> Result<(), FileError> {
        if !self.secured {
            return Ok(());
        }
        let neighbours = neighbours(fleet);
        let none = BTreeSet::new();
        for (name, broker) in &fleet.brokers {
            if let Some(managed) = broker.managed() {
                let placed = &self.conductor.placed;
                let stays =
                    |other: &BrokerName| placed.contains_key(other) || fleet.brokers.contains_key(other);
                let neighbours = neighbours.get(name).unwrap_or(&none);
                let files = Files(self.place.state.broker(name));
                let users = self.users.provide(name, managed, neighbours, stays, &files)?;
                files.begin(users)?;
            }
        }
        Ok(())
    }

    /// Sees to it that processes know their users.
    pub(super) fn look_after_users(&mut self) {
        self.looked_after_users = Instant::now();
        let (state, conductor) = (&self.place.state, &self.conductor);
        let troubles = self.users.look_after(
            |broker| Files(state.broker(broker)).left(),
            |broker| conductor.peer(broker),
            &self.instance,
            conductor.envoys.way_back(),
        );
        for (broker, trouble) in troubles {
            self.conductor.trouble(format!("users/{broker}"), trouble);
        }
    }

    /// Stops brokers that know another secret: nobody could talk to them.
    pub(super) fn stop_strangers(&mut self) {
        for broker in self.place.state.known_brokers() {
            if self.place.state.broker(&broker).has_users() {
                self.processes.stop(&broker);
            }
        }
    }
}
