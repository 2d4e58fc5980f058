//! What the users of a process lack of what they should be, and how the process is told.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_mosquitto::security::{
    BRIDGE_ROLE, FleetSecret, Login, Security, bridge_user, downstream_of, read,
};
use skein_mqtt::administration::{AdministrationError, Administrator, admit, fence, unfence, users};
use skein_mqtt::{Address, RumqttSession};
use tokio::sync::{mpsc, oneshot};

/// How long a broker may take to change its users.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose bridges to treat how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lacking {
    /// Unknown there, and should not be.
    pub(super) missing: Vec<BrokerName>,
    /// Let in, and should be barred.
    pub(super) open: Vec<BrokerName>,
    /// Barred, and should be let in.
    pub(super) barred: Vec<BrokerName>,
}

impl Lacking {
    /// As the file tells that a process rewrites when its users change; `None` if it cannot be read now.
    pub(super) fn of_file(left: &str, known: &Security, exactly: bool) -> Option<Self> {
        let there = read(left).ok()?.bridges.into_iter();
        let there = there.map(|(name, account)| (name, account.barred)).collect();
        Some(Self::of(&there, known, exactly))
    }

    /// Of a process that knows these, who are barred or not. Who is barred there though nobody asked for it is let in only if
    /// `exactly` those may be barred that are known to be.
    pub(super) fn of(there: &BTreeMap<BrokerName, bool>, known: &Security, exactly: bool) -> Self {
        let wanted: BTreeSet<&BrokerName> = known.barred().collect();
        // Who is to be barred and is not known there cannot connect anyhow.
        let missing = known.bridges.keys();
        let missing = missing.filter(|name| !there.contains_key(*name) && !wanted.contains(name));
        let open = wanted.iter().filter(|name| there.get(**name) == Some(&false));
        let barred = there.iter().filter(|(_, barred)| **barred).map(|(name, _)| name);
        let too_many = barred.filter(|name| exactly && !wanted.contains(name));
        Self {
            missing: missing.cloned().collect(),
            open: open.map(|name| (*name).clone()).collect(),
            barred: too_many.cloned().collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What is to be done at a process.
pub(super) enum Task {
    /// It lacks this.
    Tell(Lacking),
    /// It is to be asked what it lacks of these users, and told.
    Ask(Security, bool),
}

impl Task {
    /// There is nothing to do.
    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Tell(lacking) if lacking.is_empty())
    }
}

/// How a process is told.
pub(super) struct Errand<'a> {
    pub(super) secret: &'a FleetSecret,
    pub(super) broker: &'a BrokerName,
    pub(super) address: Address,
    /// What tells this life's clients from those of another.
    pub(super) instance: &'a str,
}

impl Errand<'_> {
    /// Tells the process, beside the loop; the answer comes when that is done, and with it an event, if one is due.
    pub(super) fn run(
        self,
        task: Task,
        then: Option<(mpsc::UnboundedSender<Event>, Event)>,
    ) -> oneshot::Receiver<Result<(), AdministrationError>> {
        let (done, answer) = oneshot::channel();
        let (secret, broker) = (self.secret.clone(), self.broker.clone());
        let Login { user, password } = self.secret.administrator(self.broker);
        let at = Administrator {
            address: self.address,
            credentials: (user, password.expose().to_owned()),
            client_id: format!("skein:users:{}:{}", self.broker, self.instance),
            patience: PATIENCE,
        };
        tokio::spawn(async move {
            let told = async {
                let lacking = match task {
                    Task::Tell(lacking) => lacking,
                    Task::Ask(known, exactly) => {
                        let there = users::<RumqttSession>(&at).await?.into_iter();
                        let there = there.filter_map(|(user, barred)| Some((downstream_of(&user)?, barred)));
                        Lacking::of(&there.collect(), &known, exactly)
                    }
                };
                let login = |downstream| {
                    let Login { user, password } = secret.bridge(downstream, &broker);
                    (user, password.expose().to_owned())
                };
                let named = |names: &[BrokerName]| names.iter().map(bridge_user).collect::<Vec<_>>();
                let missing: Vec<(String, String)> = lacking.missing.iter().map(login).collect();
                // Somebody may wait for these.
                fence::<RumqttSession>(&at, &named(&lacking.open)).await?;
                admit::<RumqttSession>(&at, BRIDGE_ROLE, &missing).await?;
                unfence::<RumqttSession>(&at, &named(&lacking.barred)).await
            };
            let told = told.await;
            let event = then.filter(|_| told.is_ok());
            // Nobody listens only when the broker is nobody's concern any more.
            let _ = done.send(told);
            if let Some((events, event)) = event {
                let _ = events.send(event);
            }
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_mosquitto::security::render;

    fn name(text: &str) -> BrokerName {
        BrokerName::new(text).unwrap()
    }

    /// Those of b, which knows a, itself and c.
    fn users() -> Security {
        let downstreams = ["a", "b", "c"].map(name);
        Security::derived(&FleetSecret::new([7; 32]), &name("b"), &downstreams, true)
    }

    #[test]
    fn a_process_lacks_users_that_came_later_and_bars_none_that_is_wanted() {
        let mut known = users();
        let mut left = known.clone();
        left.bridges.remove(&name("c"));
        left.bar_all();
        let lacking = |known: &Security, left: &Security, exactly| {
            let lacking = Lacking::of_file(&render(left), known, exactly).unwrap();
            (lacking.missing, lacking.barred)
        };
        assert_eq!(lacking(&known, &left, false), (vec![name("c")], vec![]));
        assert_eq!(
            lacking(&known, &left, true),
            (vec![name("c")], vec![name("a"), name("b")])
        );
        known.bar(&BTreeSet::from([name("a")]));
        assert_eq!(lacking(&known, &left, true), (vec![name("c")], vec![name("b")]));
        assert!(Lacking::of_file("{", &known, true).is_none());
    }

    #[test]
    fn a_process_is_to_bar_whom_it_lets_in_and_should_not() {
        let left = users();
        let mut known = left.clone();
        known.bar(&BTreeSet::from([name("a")]));
        for exactly in [false, true] {
            let lacking = Lacking::of_file(&render(&left), &known, exactly).unwrap();
            assert_eq!(lacking.open, [name("a")]);
            assert!(lacking.missing.is_empty() && lacking.barred.is_empty());
            assert!(
                Lacking::of_file(&render(&known), &known, exactly)
                    .unwrap()
                    .is_empty()
            );
        }
        // Who is not known there cannot come in, and is not made known for that.
        let mut without = left.clone();
        without.bridges.remove(&name("a"));
        assert!(
            Lacking::of_file(&render(&without), &known, true)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_process_of_an_earlier_version_is_told_of_its_own_broker_and_nothing_else() {
        let mut now = users();
        now.bar(&BTreeSet::from([name("a")]));
        let mut earlier = now.clone();
        earlier.bridges.remove(&name("b"));
        let lacking = Lacking::of_file(&render(&earlier), &users(), false).unwrap();
        assert_eq!(lacking.missing, [name("b")]);
        assert!(lacking.open.is_empty() && lacking.barred.is_empty());
    }

    #[test]
    fn a_process_that_barred_all_lets_in_who_is_not_to_be_barred() {
        let mut users = users();
        users.bar(&BTreeSet::from([name("a")]));
        let mut left = users.clone();
        left.bar_all();
        let lacking = Lacking::of_file(&render(&left), &users, true).unwrap();
        assert_eq!(lacking.barred, [name("b"), name("c")]);
        assert!(lacking.open.is_empty() && lacking.missing.is_empty());
    }
}
