//! The whole contract as a page for people, in Markdown.

use std::fmt::Write as _;

use crate::clauses::{Footnote, Kept, contract};
use crate::promise::{Duplicates, Lost, Order, Promise};
use crate::terms::{Profile, Terms};

const HEAD: &str = "\
# What may be lost, doubled or late

What Skein promises of messages that a broker has acknowledged, by what happens, by quality of service, and by what the broker keeps on
disk (`durability`). This page is written from the contract itself (`operator/contract`, `cargo xtask gen`), which `skein explain
broker/NAME` shows for a broker of yours, and by which the simulator judges random faults; `cargo xtask soak` counts it on real
brokers. Where a cell says *first in order*, first deliveries are, and copies come late.
";

/// The page. Equal contracts give equal bytes.
#[must_use]
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    let (mut open, mut rest) = (Notes::default(), Notes::default());
    for terms in Terms::ALL {
        let _ = write!(text, "\n## {}\n\n", title(terms));
        text += "| what happens | QoS 0 | QoS 1 | QoS 2 | today |\n| --- | --- | --- | --- | --- |\n";
        for clause in contract(terms) {
            let event = clause.event.title();
            if let Kept::NotYet { why, today } = clause.kept {
                open.add(event, format!("{why}. Today {today}"));
            }
            if let Some(promises) = &clause.promises {
                let today = if clause.kept.is_kept() {
                    "kept"
                } else {
                    "**not yet**"
                };
                let [none, once, exactly] = promises.each_ref().map(cell);
                let _ = writeln!(text, "| {event} | {none} | {once} | {exactly} | {today} |");
            } else {
                rest.add(event, clause.says.to_owned());
            }
        }
    }
    text += "\n## What is no matter of quality of service\n\n";
    rest.write(&mut text);
    text += "\n## What is not kept yet, and what holds instead\n\n";
    open.write(&mut text);
    text += "\n## What all of this rests on\n\n";
    for footnote in Footnote::ALL {
        let _ = writeln!(text, "- {}.", capital(footnote.says()));
    }
    text
}

/// What is to be said of some rows, once for all to which it applies.
#[derive(Default)]
struct Notes(Vec<(Vec<&'static str>, String)>);

impl Notes {
    fn add(&mut self, event: &'static str, note: String) {
        match self.0.iter_mut().find(|(_, known)| *known == note) {
            Some((events, _)) if events.contains(&event) => {}
            Some((events, _)) => events.push(event),
            None => self.0.push((vec![event], note)),
        }
    }

    fn write(&self, text: &mut String) {
        for (events, note) in &self.0 {
            let _ = writeln!(text, "- **{}**: {note}.", capital(&events.join("; ")));
        }
    }
}

fn title(terms: Terms) -> String {
    let keeps = match terms.profile() {
        Profile::Durable => "every message as it comes",
        Profile::Classic => "all it has, written anew after each change",
        Profile::None => "nothing",
    };
    format!("`{}` on Mosquitto {}: {keeps}", terms.profile(), terms.series())
}

fn cell(promise: &Promise) -> String {
    let lost = match promise.lost {
        Lost::NotPromised => return "not promised".to_owned(),
        Lost::Nothing => "none lost".to_owned(),
        Lost::EverythingHeld => "all it held is lost".to_owned(),
        Lost::Bounded(what) => format!("lost: {what}"),
        Lost::While(when) => format!("lost {when}"),
    };
    let twice = match promise.duplicates {
        Duplicates::Never => None,
        Duplicates::Possible => Some("some twice".to_owned()),
        Duplicates::Bounded(bound) => Some(format!("{bound} twice")),
    };
    let order = match promise.order {
        Order::Kept => Some("in order".to_owned()),
        Order::FirstDeliveries => Some("first in order".to_owned()),
        Order::NotPromised => None,
    };
    let parts = [Some(lost), twice, order];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn capital(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;

    #[test]
    fn every_row_and_every_profile_is_there() {
        let page = page();
        for terms in Terms::ALL {
            assert!(page.contains(&title(terms)), "{terms:?}");
        }
        for event in Event::ALL {
            assert!(
                page.to_lowercase().contains(&event.title().to_lowercase()),
                "{event:?}"
            );
        }
        let columns = |line: &&str| line.starts_with("| ") && line.matches(" |").count() != 5;
        assert_eq!(page.lines().find(columns), None);
    }
}
