//! Orphans: sessions of links that a broker keeps and of which no record tells, as an older life left them, or a store that fell back
//! in a crash. Each broker is looked through once for each process of it that is seen, when nothing else is under way.
//!
//! What is found counts as left by its link from then on, and is cleared as anything that is left.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_filters::TopicFilter;
use skein_mosquitto::config::{MARKER, identity_of};

use super::Engine;
use crate::directive::Directive;
use crate::event::Moment;
use crate::sessions::ClientSessions;
use crate::watch::BEHIND;

/// How long until what was not answered is asked again.
const PATIENCE: Duration = Duration::from_secs(4);

/// Which brokers were looked through.
#[derive(Debug, Default)]
pub(super) struct Audits {
    by_broker: BTreeMap<BrokerName, Audit>,
    /// Nothing was under way when it was last looked.
    quiet: bool,
    /// Nobody left anything.
    needless: bool,
}

#[derive(Debug)]
struct Audit {
    /// The process that it is about.
    pid: u32,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    /// It is to be read, from then on.
    Due(Moment),
    /// It is being read.
    Asked {
        serial: u64,
        /// It is asked again then.
        until: Moment,
    },
    /// It was read, and nobody can say yet what these use.
    Unclear(BTreeSet<BrokerName>),
    /// All of it is known.
    Over,
}

impl Audits {
    /// A process of a broker was seen. True if it is another than before.
    pub(super) fn begin(&mut self, broker: &BrokerName, pid: u32, now: Moment) -> bool {
        let is_known = self.by_broker.get(broker).is_some_and(|audit| audit.pid == pid);
        if is_known || self.needless {
            return false;
        }
        let stage = Stage::Due(now.saturating_add(BEHIND));
        self.by_broker.insert(broker.clone(), Audit { pid, stage });
        true
    }

    /// No process of a broker is there any more.
    pub(super) fn end(&mut self, broker: &BrokerName) {
        self.by_broker.remove(broker);
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Moment> {
        let audits = self.by_broker.values().filter(|_| self.quiet);
        let due = audits.filter_map(|audit| match audit.stage {
            Stage::Due(at) | Stage::Asked { until: at, .. } => Some(at),
            Stage::Unclear(_) | Stage::Over => None,
        });
        due.min()
    }
}

impl Engine {
    /// An engine in a world in which nobody left anything.
    pub(crate) fn without_audits(mut self) -> Self {
        self.audits.needless = true;
        self
    }

    /// Asks for what is to be looked through, if nothing is under way that leaves and opens sessions itself.
    pub(super) fn mind_audits(&mut self, now: Moment, directives: &mut Vec<Directive>) {
        let mut audits = std::mem::take(&mut self.audits);
        audits.quiet = !audits.by_broker.is_empty() && self.is_at_rest();
        if audits.quiet {
            for (broker, audit) in &mut audits.by_broker {
                let due = match &audit.stage {
                    Stage::Due(at) | Stage::Asked { until: at, .. } => *at <= now,
                    Stage::Unclear(about) => about.iter().all(|holder| self.is_clear_what_uses(holder)),
                    Stage::Over => false,
                };
                if !due {
                    continue;
                }
                let serial = self.watches.number();
                let until = now.saturating_add(PATIENCE);
                audit.stage = Stage::Asked { serial, until };
                // Of one that cannot be asked it is read later.
                if self.is_there_to_ask(broker) {
                    let broker = broker.clone();
                    directives.push(Directive::ReadSessions { broker, serial });
                }
            }
        }
        self.audits = audits;
    }

    /// What a broker keeps was read.
    pub(super) fn audit(
        &mut self,
        broker: &BrokerName,
        sessions: Option<&ClientSessions>,
        serial: Option<u64>,
        now: Moment,
    ) {
        let answers = self.audits.by_broker.get(broker).is_some_and(|audit| {
            matches!(audit.stage, Stage::Asked { serial: asked, .. } if serial.is_some_and(|it| it >= asked))
        });
        if !answers {
            return;
        }
        let stage = if self.is_at_rest() {
            let unclear = sessions.map(|sessions| self.find_orphans(broker, sessions));
            match unclear.unwrap_or_default() {
                unclear if unclear.is_empty() => Stage::Over,
                unclear => Stage::Unclear(unclear),
            }
        } else {
            Stage::Due(now)
        };
        if let Some(audit) = self.audits.by_broker.get_mut(broker) {
            audit.stage = stage;
        }
    }

    /// Notes what nobody knew of; gives those of whom it cannot be said.
    fn find_orphans(&mut self, broker: &BrokerName, sessions: &ClientSessions) -> BTreeSet<BrokerName> {
        let mut unclear = BTreeSet::new();
        for (client_id, filters) in &sessions.links {
            let Some((holder, upstream, ..)) = identity_of(client_id) else {
                continue;
            };
            let Some(fleet) = self.fleet.as_ref().filter(|_| upstream == *broker) else {
                continue;
            };
            let declared = fleet.brokers.get(&holder);
            // Who is configured by somebody else has links of somebody else's.
            if declared.is_some_and(|declared| !declared.is_controlled()) {
                continue;
            }
            if !self.is_clear_what_uses(&holder) {
                unclear.insert(holder);
                continue;
            }
            // Nothing is ever published on a marker again.
            let matter = filters.iter().filter(|filter| !filter.starts_with(MARKER));
            let holds: BTreeSet<TopicFilter> = matter
                .filter_map(|filter| TopicFilter::parse(filter).ok())
                .collect();
            // Subscribed to nothing it does no harm, and may be what was left on purpose.
            if holds.is_empty() && declared.is_some() {
                continue;
            }
            self.stale_rollout |= self.site(&holder).ledger.find(client_id, holds);
        }
        unclear
    }

    /// It is known which sessions the links of a broker use or may come to use.
    fn is_clear_what_uses(&self, holder: &BrokerName) -> bool {
        let declared = self
            .fleet
            .as_ref()
            .is_some_and(|fleet| fleet.brokers.contains_key(holder));
        match self.sites.get(holder) {
            Some(site) if declared => site.ledger.has_reported() && site.ledger.runs_unknown().is_none(),
            Some(site) => site.ledger.is_empty(),
            None => !declared,
        }
    }

    /// Nothing is under way that leaves or opens sessions.
    fn is_at_rest(&self) -> bool {
        self.is_settled()
            && !self.clears_up()
            && self.moves.is_empty()
            && self.leaving.is_empty()
            && self.retired.is_empty()
    }
}
