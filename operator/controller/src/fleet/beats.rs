//! Heartbeats that were missed: what the broker's process did meanwhile is asked of its pod first, beside the loop.
//!
//! The engine hears of a miss when that is known or has taken too long; but never after what came later.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_adapter::Ground as _;
use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_mqtt::Outcome;
use tokio::sync::mpsc;

use super::Fleet;
use crate::metrics::{METRICS, Probed};

/// How long a pod may take to say it, at most; never more than a part of the heartbeat's interval.
const PATIENCE: Duration = Duration::from_millis(250);
const PART: u32 = 4;

/// The brokers that missed a heartbeat of which the engine is still to hear.
#[derive(Debug, Default)]
pub(super) struct Late(BTreeSet<BrokerName>);

impl Late {
    /// Whether the engine is to hear of something that was done beside the loop: not, if it has heard of that miss already.
    fn admits(&mut self, event: &Event) -> bool {
        match event {
            Event::Activity { broker, .. } => self.0.contains(broker),
            Event::HeartbeatMissed { broker, .. } => self.0.remove(broker),
            _ => true,
        }
    }
}

impl Fleet {
    /// What came of heartbeats and of probes, all that is known by now.
    pub(super) fn beats(&mut self, first: Outcome, more: &mut mpsc::UnboundedReceiver<Outcome>) {
        let mut events = Vec::new();
        self.beat(first, &mut events);
        while let Ok(outcome) = more.try_recv() {
            self.beat(outcome, &mut events);
        }
        self.observe_all(events);
    }

    /// Whatever was missed before is told before.
    fn beat(&mut self, outcome: Outcome, events: &mut Vec<Event>) {
        if let Outcome::Answered { broker, .. } | Outcome::Missed { broker, .. } = &outcome
            && let Some(broker) = self.late.0.take(&**broker)
        {
            let refused = false;
            events.push(Event::HeartbeatMissed { broker, refused });
        }
        if let Outcome::Answered { broker, .. } = &outcome
            && let Ok(broker) = BrokerName::new(broker)
        {
            METRICS.contact(&self.setting.namespace, &broker);
        }
        self.count_probe(&outcome);
        self.outcome(outcome, events);
    }

    /// Counts what came of a probe, for each topic that it speaks for.
    fn count_probe(&self, outcome: &Outcome) {
        let (topic, consumer, what) = match outcome {
            Outcome::Probed {
                topic,
                consumer,
                took,
            } => (topic, consumer, took.map_or(Probed::Lost, Probed::Arrived)),
            Outcome::Doubled { topic, consumer } => (topic, consumer, Probed::Doubled),
            Outcome::Answered { .. } | Outcome::Missed { .. } => return,
        };
        for topic in self.conductor.probed(topic, consumer) {
            METRICS.probed(&self.setting.namespace, topic, what);
        }
    }

    /// Something was done beside the loop.
    pub(super) fn gather_returned(&mut self, event: Event) {
        let (events, due) = &mut self.returned;
        events.push(event);
        due.get_or_insert(self.conductor.rests_until());
    }

    /// What was done beside the loop, as the engine is to hear of it.
    pub(super) fn hear_returned(&mut self) -> Vec<Event> {
        let (mut events, _) = std::mem::take(&mut self.returned);
        events.retain(|event| self.late.admits(event));
        for event in &events {
            self.pods.heard(event);
        }
        events
    }

    /// Tells the engine of a miss: at once if the connection was refused, as then there is no process, or if no pod can be asked.
    pub(super) fn tell_of_miss(&mut self, broker: BrokerName, refused: bool) {
        let declared = self.conductor.fleet.brokers.get(&broker);
        let interval = declared.map(|declared| declared.heartbeat.interval);
        let look = interval.filter(|_| !refused).and_then(|interval| {
            let patience = PATIENCE.min(interval / PART);
            self.pods.activity(&broker, interval, patience)
        });
        let Some(look) = look else {
            self.observe(Event::HeartbeatMissed { broker, refused });
            return;
        };
        self.late.0.insert(broker.clone());
        let told = self.conductor.envoys.way_back().clone();
        tokio::spawn(async move {
            // Nobody listens only when the fleet has ended.
            if let Some(activity) = look.await {
                let broker = broker.clone();
                let _ = told.send(Event::Activity { broker, activity });
            }
            let _ = told.send(Event::HeartbeatMissed { broker, refused });
        });
    }
}

#[cfg(test)]
mod tests {
    use skein_engine::event::Activity;

    use super::*;

    #[test]
    fn a_miss_is_told_once_and_what_the_process_did_not_after_it() {
        let broker = BrokerName::new("a").unwrap();
        let missed = Event::HeartbeatMissed {
            broker: broker.clone(),
            refused: false,
        };
        let activity = Event::Activity {
            broker: broker.clone(),
            activity: Activity::Busy,
        };
        let mut late = Late([broker].into());
        assert!(late.admits(&activity) && late.admits(&missed));
        assert!(!late.admits(&activity) && !late.admits(&missed));
        assert!(late.admits(&Event::Tick));
    }
}
