//! What clients saw, and what brokers are left with, against what was promised.

use std::collections::BTreeSet;

use skein_mosquitto::config::{MARKER, identity_of};

use super::{Flow, Row, Rule, Trial};
use crate::broker::{Series, Subscription};
use crate::clients::Role;
use crate::contract::promised;
use crate::packet::{SECOND, Time};
use crate::sketch::brokers_of;
use crate::world::{Fault, NAMES};

/// How long a switch may take, in milliseconds.
const HASTE: Time = 3_000;

/// How long it takes until a broker that has returned is taken back, and somewhat longer.
const SETTLING: Time = 8_000;

/// How long clients may be about to be led elsewhere.
const PASSING: Time = SECOND / 4;

/// Messages of the last round.
const ROUND: usize = 3;

impl Trial<'_> {
    /// Every session upstream holds what its connection subscribes and nothing else, and every bridge is connected.
    pub(super) fn judge_state(&mut self) -> Result<(), String> {
        let rows = self.rows();
        let classic = rows.contains(&Row::CrashClassic) || rows.contains(&Row::Volume);
        let mut faults = self.schedule.faults.iter();
        let refused = faults.any(|(_, fault)| matches!(fault, Fault::Refuse { .. }));
        let names = &self.world.fabric.air.names;
        let mut used = BTreeSet::new();
        for broker in &self.world.fabric.brokers {
            for bridge in broker.bridges() {
                if !bridge.connected {
                    return Err(format!(
                        "the connection {} of {} is not connected in the end",
                        bridge.section.name, NAMES[broker.id]
                    ));
                }
                used.insert(bridge.section.remote);
            }
        }
        for broker in &self.world.fabric.brokers {
            for (client, session) in broker.sessions() {
                let text = names.client_text(client);
                let orphan = identity_of(text).is_some() && !used.contains(&client);
                // A marker stays behind where nobody unsubscribes it: nothing is ever published on it again.
                let matters = |held: &&Subscription| !names.filter_text(held.filter).starts_with(MARKER);
                let held = session.subscriptions.iter().find(matters);
                let removed = self
                    .schedule
                    .edits
                    .iter()
                    .any(|sketch| sketch.absent & (1 << broker.id) != 0);
                let forgiven = (!Rule::EndedStaysEnded.is_kept() && classic)
                    || (!Rule::RemovedMayComeBack.is_kept() && removed)
                    || (!Rule::RefusedMayBeLoaded.is_kept() && refused);
                if let Some(held) = held.filter(|_| orphan && !forgiven) {
                    return Err(format!(
                        "the session {text} at {} is used by nobody and still subscribed to {}",
                        NAMES[broker.id],
                        names.filter_text(held.filter)
                    ));
                }
            }
        }
        Ok(())
    }

    /// What was published last, and retained, is what its own broker and all who consume it have.
    pub(super) fn judge_values(&mut self) -> Result<(), String> {
        let rows = self.rows();
        let mut wrong = None;
        for held in self.held.clone() {
            let ledger = &self.world.fabric.air.ledger;
            let sent = &ledger.origins[usize::from(held.origin)].sent;
            let last = sent.iter().rposition(|sent| sent.acknowledged.is_some());
            let Some(last) = last else { continue };
            let clears =
                self.holders
                    .iter()
                    .find_map(|client| match &self.world.fabric.clients[*client].role {
                        Role::Publisher(publisher) if publisher.origin == held.origin => {
                            Some(publisher.clears)
                        }
                        _ => None,
                    });
            let clears = clears.unwrap_or_default();
            let wanted = (clears == 0 || last as u32 % clears != clears - 1).then_some(last as u32);
            let taken = sent[last].acknowledged.unwrap_or_default();
            let in_passing =
                |(home, at): &(usize, Time)| *home == held.producer && taken.abs_diff(*at) < PASSING;
            let in_passing = wanted.is_none() && self.world.moves.iter().any(in_passing);
            let forgiven = in_passing && !Rule::ClearedInPassing.is_kept();
            let topic = &self.schedule.sketch.topics[held.topic];
            let places = brokers_of(topic.consumers | 1 << held.producer);
            for at in places {
                let there = self.world.fabric.brokers[at].retained(held.text);
                let there = there.map(|message| (message.origin, message.number));
                self.outcome.values += 1;
                if there == wanted.map(|number| (held.origin, number)) {
                    continue;
                }
                self.outcome.stale += 1;
                let flow = Flow {
                    topic: held.topic,
                    producer: held.producer,
                    consumer: at,
                    origin: held.origin,
                    receiver: 0,
                    qos: topic.qos,
                    durable: true,
                };
                let own = self.rows_of(&flow);
                let mut promise = promised(rows.iter().chain(&own).copied(), flow.qos, true);
                let moved = self.world.moved.contains(&held.producer) || self.world.moved.contains(&at);
                if !Rule::WayBackIsDrained.is_kept() && moved && self.two_are_out() {
                    promise.none_lost = false;
                }
                // What both ends of a link send stays retained at one of them only.
                if promise.none_lost && !self.world.duplex && !forgiven {
                    let names = &self.world.fabric.air.names;
                    wrong.get_or_insert_with(|| {
                        format!(
                            "{} retains {there:?} on {} in the end, and {wanted:?} was the last that was published at {}",
                            NAMES[at],
                            names.topic_text(held.text),
                            NAMES[held.producer]
                        )
                    });
                }
            }
        }
        wrong.map_or(Ok(()), Err)
    }

    /// Now that all is well, each message arrives exactly once.
    pub(super) fn final_round(&mut self) -> Result<(), String> {
        let before: Vec<usize> = self
            .world
            .fabric
            .air
            .ledger
            .origins
            .iter()
            .map(|origin| origin.sent.len())
            .collect();
        for client in self.publishers.clone() {
            let fabric = &mut self.world.fabric;
            let publisher = &mut fabric.clients[client];
            let conn = publisher.conn.filter(|_| publisher.connected);
            if let Role::Publisher(publisher) = &mut publisher.role {
                for _ in 0..ROUND {
                    publisher.publish(false, conn, &mut fabric.air);
                }
            }
        }
        let now = self.world.now();
        self.pass(now + 4 * SECOND)?;
        let forgiven = !Rule::IdentifiersStayApart.is_kept() && self.rows().contains(&Row::Migration);
        let ledger = &self.world.fabric.air.ledger;
        for flow in &self.flows {
            let origin = usize::from(flow.origin);
            for number in before[origin]..before[origin] + ROUND {
                let copies = ledger.copies(flow.receiver, flow.origin, number);
                if copies != 1 && !(copies == 0 && forgiven && flow.qos == 2) {
                    return Err(format!(
                        "all is well, and a message of {} arrives {copies} times at {}",
                        ledger.origins[origin].name, ledger.receivers[flow.receiver].name
                    ));
                }
            }
        }
        Ok(())
    }

    /// What happened, in rows of the contract.
    fn rows(&self) -> BTreeSet<Row> {
        let mut rows = BTreeSet::new();
        let crash = |broker: usize| {
            if self.world.is_durable(broker) {
                Row::CrashDurable
            } else {
                Row::CrashClassic
            }
        };
        for (_, fault) in &self.schedule.faults {
            match *fault {
                Fault::Crash { broker } => {
                    rows.insert(crash(broker));
                }
                Fault::Hang { broker, .. } | Fault::Down { broker, .. } | Fault::Node { broker, .. } => {
                    rows.insert(crash(broker));
                    rows.insert(Row::Migration);
                    if matches!(fault, Fault::Node { volume: true, .. }) {
                        rows.insert(Row::Volume);
                    }
                }
                Fault::Supervisor { .. } => {
                    rows.insert(Row::Supervisor);
                }
                Fault::Cut { .. } | Fault::Slow { .. } => {
                    rows.insert(Row::Link);
                }
                Fault::Controller { .. }
                | Fault::Directives { .. }
                | Fault::Stall { .. }
                | Fault::Isolate { .. }
                | Fault::Late { .. } => {
                    rows.insert(Row::Controller);
                }
                Fault::Edit { .. } | Fault::Refuse { .. } => {
                    rows.insert(Row::Route);
                }
                Fault::Away { .. } => {
                    rows.insert(Row::Away);
                }
                Fault::Drain { .. } => {
                    rows.insert(Row::Drain);
                }
            }
        }
        let status = self.world.status();
        if status.is_some_and(|status| !status.migrations.is_empty()) {
            rows.insert(Row::Migration);
        }
        let mut brokers = self.world.fabric.brokers.iter();
        let moves = rows.contains(&Row::Route) || rows.contains(&Row::Migration);
        if moves && brokers.any(|broker| broker.series == Series::Oldest) {
            rows.insert(Row::RouteByRestart);
        }
        let harmless = [Row::Controller, Row::Supervisor, Row::Away];
        if self.world.duplex && rows.iter().any(|row| !harmless.contains(row)) {
            rows.insert(Row::Duplex);
        }
        rows
    }

    /// Failures, by broker, with when each began and ended.
    fn failures(&self) -> Vec<(Option<usize>, Time, Time)> {
        let fails = |fault: &Fault| {
            matches!(
                fault,
                Fault::Crash { .. }
                    | Fault::Hang { .. }
                    | Fault::Down { .. }
                    | Fault::Node { .. }
                    | Fault::Supervisor { .. }
                    | Fault::Cut { .. }
                    | Fault::Isolate { .. }
            )
        };
        let broker = |fault: &Fault| match *fault {
            Fault::Crash { broker }
            | Fault::Hang { broker, .. }
            | Fault::Down { broker, .. }
            | Fault::Node { broker, .. }
            | Fault::Isolate { broker, .. } => Some(broker),
            _ => None,
        };
        let faults = self.schedule.faults.iter().filter(|(_, fault)| fails(fault));
        faults
            .map(|(at, fault)| (broker(fault), *at, *at + fault.lasts().unwrap_or_default()))
            .collect()
    }

    /// An edit came as a broker failed, or was cut off.
    fn is_edited_amid_failures(&self) -> bool {
        let failures = self.failures();
        let faults = self.schedule.faults.iter();
        let mut edits = faults.filter(|(_, fault)| matches!(fault, Fault::Edit { .. }));
        edits.any(|(edit, _)| {
            let amid = |(_, from, to): &(_, Time, Time)| *edit + HASTE > *from && *edit < *to + HASTE;
            failures.iter().any(amid)
        })
    }

    /// Two brokers were out at a time.
    fn two_are_out(&self) -> bool {
        let failures = self.failures();
        failures.iter().any(|(one, from, to)| {
            let amid = |(other, begins, ends): &(Option<usize>, Time, Time)| {
                one.is_some()
                    && other.is_some()
                    && one != other
                    && *from < *ends + SETTLING
                    && *begins < *to + SETTLING
            };
            failures.iter().any(amid)
        })
    }

    /// What happened to this flow alone.
    fn rows_of(&self, flow: &Flow) -> Vec<Row> {
        let interrupted = self.world.interrupted.iter().any(|(topic, producer, consumer)| {
            let ends = (producer.as_str(), consumer.as_str());
            *topic.as_str() == format!("t{}", flow.topic)
                && ends == (NAMES[flow.producer], NAMES[flow.consumer])
        });
        let moved = self.world.moved.contains(&flow.consumer);
        let exchange = flow.qos == 2 && self.world.moved.contains(&flow.producer);
        let rows = [
            (interrupted, Row::Interrupted),
            (moved, Row::MovedSubscriber),
            (exchange, Row::MovedExchange),
        ];
        rows.into_iter()
            .filter(|(is, _)| *is)
            .map(|(_, row)| row)
            .collect()
    }

    /// Adds up what was lost, doubled and late.
    pub(super) fn count(&mut self) {
        self.outcome.rows = self.rows().into_iter().collect();
        for flow in self.flows.clone() {
            let (acknowledged, lost, twice, _) = self.tally(&flow);
            self.outcome.acknowledged += acknowledged;
            self.outcome.lost += lost;
            self.outcome.twice += twice;
            self.outcome.late += self.late(&flow);
        }
    }

    fn late(&self, flow: &Flow) -> u64 {
        let who = &self.world.fabric.air.ledger.receivers[flow.receiver];
        let known = who.received.get(usize::from(flow.origin));
        known.map_or(0, |received| u64::from(received.late))
    }

    /// Acknowledged, lost, doubled, and when the first lost one was published.
    fn tally(&self, flow: &Flow) -> (u64, u64, u64, Option<Time>) {
        let ledger = &self.world.fabric.air.ledger;
        let (mut acknowledged, mut lost, mut twice, mut first) = (0, 0, 0, None);
        let since = ledger.receivers[flow.receiver].since;
        let sent = &ledger.origins[usize::from(flow.origin)].sent;
        for (number, sent) in sent.iter().enumerate() {
            let copies = ledger.copies(flow.receiver, flow.origin, number);
            twice += u64::from(copies.saturating_sub(1));
            let expected = since.is_some_and(|since| since < sent.at);
            if sent.acknowledged.is_some() && expected {
                acknowledged += 1;
                let mistaken = ledger.is_mistaken(flow.receiver, flow.origin, number);
                if copies == 0 && (Rule::IdentifiersStayApart.is_kept() || !mistaken) {
                    lost += 1;
                    first.get_or_insert(sent.at);
                }
            }
        }
        (acknowledged, lost, twice, first)
    }

    /// The contract, row by row, as far as it is kept today.
    pub(super) fn judge_contract(&mut self) -> Result<(), String> {
        let rows = self.rows();
        for flow in self.flows.clone() {
            let own = self.rows_of(&flow);
            let mut promise = promised(rows.iter().chain(&own).copied(), flow.qos, true);
            // A clean session ends with its connection, and what it missed was never promised.
            let quiet = [Row::Controller, Row::Supervisor];
            if !Rule::FailedAreDrained.is_kept() && self.is_edited_amid_failures() {
                promise.none_lost = false;
            }
            let moved = [flow.producer, flow.consumer]
                .iter()
                .any(|end| self.world.moved.contains(end));
            if !Rule::WayBackIsDrained.is_kept() && moved && self.two_are_out() {
                promise.none_lost = false;
            }
            if !flow.durable && !rows.iter().all(|row| quiet.contains(row)) {
                promise.none_lost = false;
            }
            let ledger = &self.world.fabric.air.ledger;
            let (from, to) = (
                &ledger.origins[usize::from(flow.origin)].name,
                &ledger.receivers[flow.receiver].name,
            );
            let (_, lost, twice, first) = self.tally(&flow);
            let late = self.late(&flow);
            let what = if promise.none_lost && lost > 0 {
                let at = first.unwrap_or_default() as f64 / 1e6;
                format!("{lost} lost (the first published at {at:.3} s)")
            } else if promise.none_twice && twice > 0 {
                format!("{twice} arrived twice")
            } else if promise.in_order && late > 0 {
                format!("{late} arrived out of order")
            } else {
                continue;
            };
            return Err(format!(
                "of what {from} published with QoS {} for {to}, {what}; {rows:?} promise otherwise",
                flow.qos
            ));
        }
        Ok(())
    }
}
