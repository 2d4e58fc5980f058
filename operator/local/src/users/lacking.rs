//! What the users of a process lack of what they should be, and how the process is told.

use std::collections::BTreeSet;
use std::time::Duration;

use skein_api::name::BrokerName;
use skein_engine::event::Event;
use skein_mosquitto::security::{BRIDGE_ROLE, FleetSecret, Login, Security, bridge_user, read};
use skein_mqtt::administration::{AdministrationError, Administrator, admit, fence, unfence};
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
    /// As the file tells that a process rewrites when its users change. Who is barred there though nobody asked for it is
    /// let in only if `exactly` those may be barred that are known to be. `None` if the file cannot be read now.
    pub(super) fn of(left: &str, known: &Security, exactly: bool) -> Option<Self> {
        let there = read(left).ok()?;
        let wanted: BTreeSet<&BrokerName> = known.barred().collect();
        let barred: BTreeSet<&BrokerName> = there.barred().collect();
        // Who is to be barred and is not known there cannot connect anyhow.
        let missing = known
            .bridges
            .keys()
            .filter(|name| !there.bridges.contains_key(*name) && !wanted.contains(name));
        let open = wanted
            .iter()
            .filter(|name| there.bridges.contains_key(**name) && !barred.contains(**name));
        let too_many = barred.iter().filter(|name| exactly && !wanted.contains(**name));
        Some(Self {
            missing: missing.cloned().collect(),
            open: open.map(|name| (*name).clone()).collect(),
            barred: too_many.map(|name| (*name).clone()).collect(),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
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
        lacking: &Lacking,
        then: Option<(mpsc::UnboundedSender<Event>, Event)>,
    ) -> oneshot::Receiver<Result<(), AdministrationError>> {
        let (done, answer) = oneshot::channel();
        let login = |downstream| {
            let Login { user, password } = self.secret.bridge(downstream, self.broker);
            (user, password.expose().to_owned())
        };
        let missing: Vec<(String, String)> = lacking.missing.iter().map(login).collect();
        let open: Vec<String> = lacking.open.iter().map(bridge_user).collect();
        let barred: Vec<String> = lacking.barred.iter().map(bridge_user).collect();
        let Login { user, password } = self.secret.administrator(self.broker);
        let at = Administrator {
            address: self.address,
            credentials: (user, password.expose().to_owned()),
            client_id: format!("skein:users:{}:{}", self.broker, self.instance),
            patience: PATIENCE,
        };
        tokio::spawn(async move {
            let told = async {
                // Somebody may wait for these.
                fence::<RumqttSession>(&at, &open).await?;
                admit::<RumqttSession>(&at, BRIDGE_ROLE, &missing).await?;
                unfence::<RumqttSession>(&at, &barred).await
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
