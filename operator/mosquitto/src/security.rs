//! Who may connect to a broker and what they may do: the file of Mosquitto's dynamic-security plugin.
//!
//! [`Security`] is the model, [`render`] writes it as the plugin's JSON, [`read`] takes back what a broker made of it, and
//! [`barred`] tells who is fenced. Passwords follow from one secret of the fleet ([`FleetSecret`]). Knows no links and no
//! files, and does not decide whom to fence.
//!
//! # How a fleet uses it
//!
//! Each broker has a user `skein`, who may do everything, and a user for each broker that may hold a bridge to it:
//! `skein:a` in the file of b is who a's bridges are at b. The pair is the fence: to disable it ends and bars all links that a
//! holds to b, whatever their class, and none else. Rights never change while a broker runs, because every such change kicks
//! clients, on 2.0 at each command; only `disableClient` and `enableClient` do, which take no right away, so that
//! sessions go on queueing behind a fence. A bridge's user may read everything that can cross a bridge for the same reason:
//! what the user who resumes a session may not read, the broker discards.
//!
//! # Why a broker knows itself
//!
//! b's own file names `skein:b`, too, though no bridge of b's ever logs in there. The classic store of 2.0 before 2.0.16 gives a
//! session without a user that of the session saved before it, as a rule the local one of b's own bridge, and after a restart
//! b asks the plugin what `skein:b` may read: nothing, if there is no such user, and nothing is kept for the client until it is
//! back. This takes a durable session that is away for a bridge's, which may read all that a client without a name may but
//! `$SYS/#` (that is not kept meanwhile), and `$skein/#` besides. For `$skein/#` it would need a subscription, which nobody
//! without a name is granted: only one from before the broker knew users has it (2.0 grants `$share/group/$skein/#`, and does
//! not save shared subscriptions). For that one what Skein sends is kept, up to its queue's limit, and discarded when it
//! connects, because then it has no user again and what waits is judged anew. So it reads nothing that it may not, and is
//! right until the next restart (`e2e/tests/nameless.rs`). The password is as much of a secret as that of any other broker's
//! user, and the user may no more.
//!
//! # What is known of the plugin
//!
//! Measured on 2.0.11 and 2.1.2 (`e2e/tests/security*.rs`, `e2e/tests/fence.rs`). It reads its file when the broker starts and
//! at no other time; a reload passes over it. It writes the whole file anew when a command changes something, 2.0 in place and not by
//! a rename, so that a kill may leave half a file or an empty one, which it starts with and lets nobody in. So whoever
//! starts a broker writes the file first, from the model and from who is barred in the file that is there
//! ([`Security::keep_barred`]); if that cannot be told, everybody is ([`Security::bar_all`]).

mod file;
mod password;
mod rights;

use std::collections::{BTreeMap, BTreeSet};

use skein_api::name::BrokerName;

pub use file::{ReadError, barred, read, render};
pub use password::{FleetSecret, Login, Password, PasswordHash, SALT_BYTES, SecretError};

/// The user that Skein administers, seeds and probes a broker as.
pub const ADMINISTRATOR: &str = "skein";

/// The plugin's file, by name: it lies beside the broker's store, which it is as lasting as.
pub const FILE: &str = "dynamic-security.json";

/// Users of bridges start with this; the broker that holds the bridge follows.
const BRIDGE_PREFIX: &str = "skein:";

/// The role of all bridges' users, as `createClient` names it.
pub const BRIDGE_ROLE: &str = "skein-bridge";

/// The name of the user that the bridges of `downstream` are at each broker that they lead to: `skein:a` for a.
#[must_use]
pub fn bridge_user(downstream: &BrokerName) -> String {
    format!("{BRIDGE_PREFIX}{downstream}")
}

/// Whose bridges a user stands for.
#[must_use]
pub fn downstream_of(user: &str) -> Option<BrokerName> {
    BrokerName::new(user.strip_prefix(BRIDGE_PREFIX)?).ok()
}

/// Who may connect to one broker and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Skein itself.
    pub administrator: Account,
    /// The brokers that may hold a bridge to this one, and their users here; itself among them: see the head of this module.
    /// The upstream end of each pair is the broker whose file this is.
    pub bridges: BTreeMap<BrokerName, Account>,
    /// Clients without a user name may do everything but with topics of Skein's and of the broker's administration. Takes
    /// `allow_anonymous` in the configuration as well.
    pub anonymous: bool,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// What its password is known by.
    pub hash: PasswordHash,
    /// It is kept out: fenced.
    pub barred: bool,
}

impl Security {
    /// That of a broker whose passwords follow from the fleet's secret, with nobody barred. Equal arguments give equal
    /// files. Costs a hash per user: 0.03 ms, 1.5 ms in a build for tests.
    #[must_use]
    pub fn derived<'a>(
        secret: &FleetSecret,
        broker: &BrokerName,
        downstreams: impl IntoIterator<Item = &'a BrokerName>,
        anonymous: bool,
    ) -> Self {
        let account = |login: &Login| Account {
            hash: PasswordHash::of(&login.password, secret.salt(broker, &login.user)),
            barred: false,
        };
        Self {
            administrator: account(&secret.administrator(broker)),
            bridges: downstreams
                .into_iter()
                .map(|downstream| (downstream.clone(), account(&secret.bridge(downstream, broker))))
                .collect(),
            anonymous,
        }
    }

    /// The bridges' users that are barred.
    pub fn barred(&self) -> impl Iterator<Item = &BrokerName> {
        self.bridges
            .iter()
            .filter(|(_, account)| account.barred)
            .map(|(downstream, _)| downstream)
    }

    /// Bars these brokers' bridges and no others; those that have no user here cannot connect anyhow.
    pub fn bar(&mut self, downstreams: &BTreeSet<BrokerName>) {
        for (downstream, account) in &mut self.bridges {
            account.barred = downstreams.contains(downstream);
        }
    }

    /// Bars all bridges: for when nobody knows who was.
    pub fn bar_all(&mut self) {
        for account in self.bridges.values_mut() {
            account.barred = true;
        }
    }

    /// Bars whom the file that a broker left bars. If the file cannot be read, bars all and tells why.
    pub fn keep_barred(&mut self, left: &str) -> Result<(), ReadError> {
        match barred(left) {
            Ok(barred) => {
                self.bar(&barred);
                Ok(())
            }
            Err(error) => {
                self.bar_all();
                Err(error)
            }
        }
    }
}
