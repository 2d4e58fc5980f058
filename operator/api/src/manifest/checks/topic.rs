//! Topics: filters that parse and may be used, ends that exist, options that do not contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use skein_filters::TopicFilter;

use super::super::problem::Report;
use super::{Brokers, Item};
use crate::fleet::{Expected, Topic};
use crate::name::{BrokerName, Qos};
use crate::resources::{End, Receipts, TopicSpec};

/// No MQTT packet is larger than this: 3.1.1, section 2.2.3.
const LARGEST_MESSAGE: u64 = 256 << 20;

pub(super) fn judge(item: &Item<'_, TopicSpec>, brokers: &Brokers<'_>, report: &mut Report) -> Option<Topic> {
    let (document, spec) = (item.document, &item.spec);
    let filter = filter(item, "spec.filter", &spec.filter, report);
    let producers = ends(item, "producers", "published", &spec.producers, brokers, report);
    let consumers = ends(item, "consumers", "subscribed", &spec.consumers, brokers, report);
    let commands = commands(item, filter.as_ref(), report);
    if let (Some(producers), Some(consumers)) = (&producers, &consumers)
        && !commands.is_empty()
        && producers == consumers
        && producers.len() == 1
    {
        report.warning(
            document,
            "spec.commands",
            "its only producer is its only consumer, so commands have nowhere to flow",
            "remove commands, or name another producer or consumer",
        );
    }
    if spec.receipts == Receipts::EndToEnd {
        report.error(
            document,
            "spec.receipts",
            "end-to-end receipts are not supported yet",
            "leave receipts out",
        );
    }
    if let Some(expected) = &spec.expected
        && !(1..=LARGEST_MESSAGE).contains(&expected.bytes.get())
    {
        let message = format!("{} bytes are no size of an MQTT message", expected.bytes.get());
        report.error(
            document,
            "spec.expected.bytes",
            message,
            "write the bytes of one message, from 1 to 256Mi",
        );
    }
    Some(Topic {
        filter: filter?,
        qos: Qos::new(spec.qos.into())?,
        producers: producers?,
        consumers: consumers?,
        commands,
        retained: spec.retained,
        expected: spec.expected.map(|expected| Expected {
            messages_per_second: expected.messages_per_second.unsigned_abs(),
            bytes: expected.bytes.get(),
        }),
    })
}

/// Parses a filter; reports one that is none, or that is not for users.
fn filter(item: &Item<'_, TopicSpec>, field: &str, text: &str, report: &mut Report) -> Option<TopicFilter> {
    let first = text.split('/').next().unwrap_or_default();
    let reserved = match first {
        "$skein" => Some("topics under $skein/ are Skein's own".to_owned()),
        "$SYS" => Some("topics under $SYS/ are each broker's own and do not cross bridges".to_owned()),
        "$CONTROL" => {
            Some("topics under $CONTROL/ administer a broker and must not cross bridges".to_owned())
        }
        "$share" | "$queue" => None, // The filter's own error says more.
        _ if first.starts_with('$') => Some(format!("topics under {first}/ are reserved by brokers")),
        _ => None,
    };
    if let Some(reason) = reserved {
        report.error(
            item.document,
            field,
            reason,
            "use a filter whose first level does not start with $",
        );
        return None;
    }
    match TopicFilter::parse(text) {
        Ok(filter) => Some(filter),
        Err(error) => {
            let text = error.to_string();
            // Filter errors say what to do behind the last colon.
            let (message, remedy) = text
                .rsplit_once(": ")
                .unwrap_or((&text, "write a filter such as farm/+/soil"));
            report.error(item.document, field, message, remedy);
            None
        }
    }
}

fn commands(item: &Item<'_, TopicSpec>, own: Option<&TopicFilter>, report: &mut Report) -> Vec<TopicFilter> {
    let mut taken: Vec<TopicFilter> = Vec::new();
    let mut seen: BTreeMap<TopicFilter, usize> = BTreeMap::new();
    for (index, text) in item.spec.commands.iter().enumerate() {
        let field = format!("spec.commands[{index}]");
        let Some(command) = filter(item, &field, text, report) else {
            continue;
        };
        if let Some(first) = seen.get(&command) {
            let message = format!("{command} is listed already, as commands[{first}]");
            report.error(item.document, &field, message, "remove one of them");
            continue;
        }
        seen.insert(command.clone(), index);
        if let Some(own) = own.filter(|own| own.overlaps(&command)) {
            let message = format!(
                "{command} overlaps the topic's own filter {own}, so messages flow both ways on every link"
            );
            report.warning(
                item.document,
                &field,
                message,
                "give commands a filter of their own, such as farm/+/valve beside farm/+/soil",
            );
        }
        taken.push(command);
    }
    taken
}

/// The brokers that entries name or select; `None` if any entry is wrong, or if there are none.
fn ends(
    item: &Item<'_, TopicSpec>,
    list: &str,
    done: &str,
    ends: &[End],
    brokers: &Brokers<'_>,
    report: &mut Report,
) -> Option<BTreeSet<BrokerName>> {
    let mut names = BTreeSet::new();
    let mut sound = true;
    let mut idle = Vec::new();
    for (index, end) in ends.iter().enumerate() {
        let field = format!("spec.{list}[{index}]");
        match (&end.broker, &end.selector) {
            (Some(name), None) => {
                let field = format!("{field}.broker");
                sound &= brokers.exists(name, item.document, &field, report);
                if !names.insert(name.clone()) {
                    let message = format!("{name} is among the {list} already");
                    report.warning(item.document, &field, message, "remove one of them");
                }
            }
            (None, Some(selector)) => {
                let matches = |labels: &BTreeMap<String, String>| {
                    selector
                        .match_labels
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value))
                };
                let mut any = false;
                for (name, document) in brokers.names {
                    if matches(&document.labels) {
                        any = true;
                        names.extend(BrokerName::new(name));
                    }
                }
                if !any {
                    idle.push(field);
                }
            }
            (Some(_), Some(_)) => {
                sound = false;
                report.error(
                    item.document,
                    &field,
                    "broker and selector contradict each other",
                    "keep one of them",
                );
            }
            (None, None) => {
                sound = false;
                let remedy = "write {broker: NAME} or {selector: {matchLabels: {KEY: VALUE}}}";
                report.error(item.document, &field, "the entry names no broker", remedy);
            }
        }
    }
    if names.is_empty() && sound && report.has_lost() {
        return None;
    }
    if names.is_empty() && sound {
        let message = format!("no broker has these labels, so the topic is {done} nowhere");
        report.error(
            item.document,
            &format!("spec.{list}"),
            message,
            "label a broker, or name one with {broker: NAME}",
        );
        return None;
    }
    for field in idle {
        let remedy = "label a broker, or correct or remove the selector";
        report.warning(
            item.document,
            &format!("{field}.selector"),
            "no broker has these labels",
            remedy,
        );
    }
    sound.then_some(names)
}
