//! The controller's own view: is it awake, and can it reach anybody? What it misses while it is not proves nothing.

use std::time::Duration;

use skein_api::name::BrokerName;

use crate::event::Moment;

/// When the controller last heard of whom, and when it last ran.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vantage {
    /// The last two brokers that answered or refused, the later one first.
    contacts: [Option<(BrokerName, Moment)>; 2],
    last_event: Option<Moment>,
    /// The shortest heartbeat interval of the fleet.
    pulse: Option<Duration>,
    isolated: bool,
    /// When it last found itself stalled, and for how long.
    stall: Option<(Moment, Duration)>,
}

impl Vantage {
    /// The fleet's shortest heartbeat interval; `None` if nothing is watched.
    pub(crate) fn watch(&mut self, pulse: Option<Duration>) {
        self.pulse = pulse;
    }

    /// Something happened: how much later than asked for, if that is a stall for a broker with the fleet's shortest
    /// interval.
    pub(crate) fn wake(&mut self, now: Moment) -> Option<Duration> {
        let asked = self.next_pulse();
        self.last_event = Some(now);
        let late = now.saturating_sub(asked?);
        if late <= self.pulse? {
            return None;
        }
        self.stall = Some((now, late));
        Some(late)
    }

    /// When it wants to be woken, so that it can tell a stall from a quiet time.
    pub(crate) fn next_pulse(&self) -> Option<Moment> {
        Some(self.last_event?.saturating_add(self.pulse?))
    }

    /// A broker was reached.
    pub(crate) fn contact(&mut self, broker: &BrokerName, now: Moment) {
        match &mut self.contacts {
            [Some((latest, at)), _] if latest == broker => *at = now,
            contacts => {
                contacts.swap(0, 1);
                contacts[0] = Some((broker.clone(), now));
            }
        }
    }

    /// When another broker than this was last reached.
    pub(crate) fn other_contact(&self, broker: &BrokerName) -> Option<Moment> {
        self.contacts
            .iter()
            .flatten()
            .find(|(name, _)| name != broker)
            .map(|(_, at)| *at)
    }

    /// Sets whether nobody can be reached. True if that has just ended.
    pub(crate) fn set_isolated(&mut self, isolated: bool) -> bool {
        std::mem::replace(&mut self.isolated, isolated) && !isolated
    }

    pub(crate) fn is_isolated(&self) -> bool {
        self.isolated
    }

    /// The last stall, for as long as it matters: until `now` is this much later.
    pub(crate) fn recent_stall(&self, memory: Duration) -> Option<Duration> {
        let (at, late) = self.stall?;
        (self.last_event?.saturating_sub(at) < memory).then_some(late)
    }
}
