//! Waits until clients have got what waits for them. Knows what a broker keeps of them; knows no links and no moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::BrokerName;

use crate::directive::Directive;
use crate::event::Moment;
use crate::sessions::ClientSessions;

/// How long until what was not so is looked at again.
const AGAIN: Duration = Duration::from_millis(250);
/// The same in the end, for it may take as long as a person likes.
const SELDOM: Duration = Duration::from_secs(4);
/// How far what can be read of a broker may be behind what it has.
pub(crate) const BEHIND: Duration = Duration::from_millis(50);
/// How long until what was not answered is asked again.
const PATIENCE: Duration = Duration::from_secs(2);

/// Waits until some clients have got all that a broker kept for them at some moment.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) at: BrokerName,
    clients: BTreeSet<String>,
    serial: u64,
    /// The newest message of that moment.
    newest: Option<u64>,
    /// An answer is awaited.
    asked: bool,
    /// When to look again.
    again: Moment,
    /// How long until then.
    pause: Duration,
    /// Those who have not, and how many messages wait for them.
    pub(crate) waiting: BTreeMap<String, u64>,
    pub(crate) over: bool,
}

impl Watch {
    /// What the broker keeps by now is not to be read before that.
    pub(crate) fn new(at: BrokerName, clients: BTreeSet<String>, now: Moment) -> Self {
        Self {
            at,
            over: clients.is_empty(),
            clients,
            serial: 0,
            newest: None,
            asked: false,
            again: now.saturating_add(BEHIND),
            pause: AGAIN,
            waiting: BTreeMap::new(),
        }
    }

    fn take(&mut self, sessions: Option<&ClientSessions>, now: Moment) {
        let Some(sessions) = sessions else {
            // Nothing is kept there, or nobody can say what.
            self.over = true;
            return;
        };
        let newest = *self.newest.get_or_insert(sessions.newest);
        let awaits = |client: &&String| {
            let session = sessions.by_client.get(*client);
            session.is_some_and(|session| session.awaits(newest))
        };
        let waits = |client: &String| {
            sessions
                .by_client
                .get(client)
                .map_or(0, |session| session.waiting)
        };
        let waiting = self.clients.iter().filter(awaits);
        self.waiting = waiting.map(|client| (client.clone(), waits(client))).collect();
        self.over = self.waiting.is_empty();
        self.asked = false;
        self.again = now.saturating_add(self.pause);
        self.pause = (2 * self.pause).min(SELDOM);
    }

    pub(crate) fn look(&mut self, serial: &mut u64, now: Moment, directives: &mut Vec<Directive>) {
        if !self.over && self.again <= now {
            self.asked = true;
            self.again = now.saturating_add(PATIENCE);
            *serial += 1;
            self.serial = *serial;
            directives.push(Directive::ReadSessions {
                broker: self.at.clone(),
                serial: self.serial,
            });
        }
    }

    /// It is known what they still have to get.
    pub(crate) fn has_looked(&self) -> bool {
        self.newest.is_some()
    }

    /// When it is to look, if it is not over.
    pub(crate) fn next(&self) -> Option<Moment> {
        (!self.over).then_some(self.again)
    }

    /// The answer to what was asked, if this is it.
    pub(crate) fn hear(
        &mut self,
        at: &BrokerName,
        serial: Option<u64>,
        sessions: Option<&ClientSessions>,
        now: Moment,
    ) -> bool {
        let answers = self.at == *at && self.asked && serial.is_some_and(|it| it >= self.serial);
        if answers && !self.over {
            self.take(sessions, now);
        }
        answers
    }
}
