//! Retained values: read of what brokers keep, forgotten where nothing puts them any more, and brought where clients go.

use std::collections::BTreeMap;

use skein_api::name::{BrokerName, Qos};
use skein_engine::directive::Directive;
use skein_engine::event::Event;
use skein_engine::retained::{Action, Change, Content, Copying, Places, Source, Value, copy, forgettable};
use skein_filters::TopicFilter;
use skein_mosquitto::link::CLIENT_ID_PREFIX;

use super::{Errand, Flaw, World, number};
use crate::air::{BrokerId, CONTROLLER, Word};
use crate::ledger::PROBES;
use crate::packet::{LASTING, MILLISECOND, Message, SECOND, Time};

/// How long brokers may take.
const PATIENCE: Time = 5 * SECOND;

/// What is to be done for one directive.
#[derive(Debug)]
pub(super) struct Job {
    directive: Directive,
    /// What each broker is still to take, in this order.
    open: Vec<(BrokerId, Vec<Change>)>,
    /// What is taken is still there for a moment.
    passing: bool,
}

impl World {
    pub(super) fn mind_values(&mut self, directive: Directive) {
        self.tell(|| match &directive {
            Directive::CopyValues {
                home,
                from,
                to,
                copying,
                ..
            } => {
                let (stage, complete) = (copying.stage, copying.complete);
                format!("copy the values of the clients of {home} from {from} to {to}, {stage:?}, complete {complete}")
            }
            Directive::ForgetValues { broker, carried, .. } => {
                let carried: Vec<&str> = carried.iter().map(TopicFilter::as_str).collect();
                format!("{broker} is to forget values but for [{}]", carried.join(" "))
            }
            _ => String::new(),
        });
        let (Directive::ForgetValues { serial, .. } | Directive::CopyValues { serial, .. }) = directive
        else {
            return;
        };
        let job = Job {
            directive,
            open: Vec::new(),
            passing: false,
        };
        let life = self.life;
        // A later life begins to count anew.
        let serial = serial | u64::from(life) << 32;
        self.values.insert(serial, job);
        let pause = self.fabric.air.random.between(2, 40) * MILLISECOND;
        self.after(pause, Errand::ReadValues { serial, life });
    }

    pub(super) fn read_values(&mut self, serial: u64) {
        let Some(job) = self.values.get(&serial) else {
            return;
        };
        let open = match &job.directive {
            Directive::ForgetValues {
                broker,
                carried,
                published,
                ..
            } => self.values_of(broker).map(|(broker, values)| {
                let topics = forgettable(&values, carried, published).into_iter();
                let forget = |topic: &str| Change {
                    topic: topic.to_owned(),
                    action: Action::Forget,
                };
                let skips = self.flaw == Some(Flaw::ForgetsNothing);
                let changes = topics.filter(|_| !skips).map(forget).collect();
                vec![(broker, changes)]
            }),
            Directive::CopyValues {
                home,
                from,
                to,
                copying,
                ..
            } => self.copies(copying, home, from, to),
            _ => return,
        };
        let Some(open) = open else {
            self.after(0, Errand::ValuesDone { serial, error: true });
            return;
        };
        let open: Vec<(BrokerId, Vec<Change>)> = open
            .into_iter()
            .filter(|(_, changes)| !changes.is_empty())
            .collect();
        self.tell(|| format!("values ({serial}): {open:?}"));
        if let Some(job) = self.values.get_mut(&serial) {
            job.open = open;
        }
        self.after(PATIENCE, Errand::ValuesDone { serial, error: true });
        self.go_on_with_values(serial);
    }

    /// What is to be copied; none, if something cannot be read.
    fn copies(
        &self,
        copying: &Copying,
        home: &BrokerName,
        from: &BrokerName,
        to: &BrokerName,
    ) -> Option<Vec<(BrokerId, Vec<Change>)>> {
        let (_, home) = self.values_of(home)?;
        let (here, from) = self.values_of(from)?;
        let (there, to) = self.values_of(to)?;
        let places = Places {
            home: &home,
            from: &from,
            to: &to,
        };
        let mut changes = copy(copying, &places);
        if self.flaw == Some(Flaw::CopiesNoValues) {
            changes.to.clear();
        }
        Some(vec![(there, changes.to), (here, changes.from)])
    }

    fn go_on_with_values(&mut self, serial: u64) {
        let Some(job) = self.values.get(&serial) else {
            return;
        };
        if let Some((broker, _)) = job.open.first() {
            self.fabric.air.say(*broker, Word::Values { serial });
            return;
        }
        let wait = if job.passing { LASTING + MILLISECOND } else { 0 };
        self.after(wait, Errand::ValuesDone { serial, error: false });
    }

    pub(super) fn take_values(&mut self, broker: BrokerId, serial: u64) {
        let Some(job) = self.values.get_mut(&serial) else {
            return;
        };
        if job.open.first().is_none_or(|(at, _)| *at != broker) {
            return;
        }
        let (_, changes) = job.open.remove(0);
        for change in changes {
            let air = &mut self.fabric.air;
            let topic = air.names.topic(&change.topic);
            let content = match &change.action {
                Action::Set(content) | Action::Fade(content) => Some(content),
                Action::Clear | Action::Forget => None,
            };
            let known = content.and_then(|content| {
                let text = String::from_utf8_lossy(&content.payload);
                let (origin, number) = text.split_once(' ')?;
                Some((origin.parse().ok()?, number.parse().ok()?))
            });
            let (origin, number) = match known {
                Some(known) => known,
                None => (PROBES, air.ledger.send(PROBES, air.clock.now())),
            };
            let message = Message {
                topic,
                origin,
                number,
                empty: content.is_none(),
            };
            let passing = matches!(change.action, Action::Forget | Action::Fade(_));
            job.passing |= matches!(change.action, Action::Forget);
            let qos = content.map_or(1, |content| content.qos as u8);
            self.fabric.brokers[broker].put(message, qos, passing, &mut self.fabric.air);
        }
        self.go_on_with_values(serial);
    }

    pub(super) fn values_done(&mut self, serial: u64, error: bool) {
        let Some(job) = self.values.remove(&serial) else {
            return;
        };
        let error = error.then(|| "it did not answer in time".to_owned());
        match job.directive {
            Directive::ForgetValues { broker, serial, .. } => {
                self.observe(Event::ValuesForgotten {
                    broker,
                    serial,
                    error,
                });
            }
            Directive::CopyValues { home, serial, .. } => {
                self.observe(Event::ValuesCopied { home, serial, error });
            }
            _ => {}
        }
    }

    /// The retained values at a broker; none if nobody is there to read them.
    fn values_of(&self, broker: &BrokerName) -> Option<(BrokerId, Vec<Value>)> {
        let broker = number(broker)?;
        if !self.sites[broker].supervised || self.fabric.air.is_cut(broker, CONTROLLER) {
            return None;
        }
        let names = &self.fabric.air.names;
        let mut values = BTreeMap::new();
        for kept in self.fabric.brokers[broker].values() {
            let topic = names.topic_text(kept.message.topic).to_owned();
            let source = match kept.source.map(|client| names.client_text(client)) {
                None => Source::Skein,
                Some(text) if text.contains(CLIENT_ID_PREFIX) => Source::Link,
                Some(text) => Source::Client(text.to_owned()),
            };
            let content = Content {
                qos: Qos::new(i64::from(kept.qos)).unwrap_or(Qos::AtMostOnce),
                payload: format!("{} {}", kept.message.origin, kept.message.number).into_bytes(),
                expires_at: None,
            };
            values.insert(
                topic.clone(),
                Value {
                    topic,
                    source,
                    content,
                },
            );
        }
        Some((broker, values.into_values().collect()))
    }
}
