//! Bars users of a broker, lets them in again and tells who is barred, through Mosquitto's dynamic-security plugin.
//!
//! Knows commands and answers; the users, their rights and when to bar whom are somebody else's. Each call is a connection of
//! its own.
//!
//! When [`fence`] returns, the users' connections have ended, none of them is let in, and the broker's file says so, which it
//! begins with after a restart; their sessions go on queueing (2.0.11, 2.1.2: 5-12 ms, nearly all of it the file). To bar who is barred already is no error,
//! so every call may be repeated.

mod answer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use crate::Address;
use crate::session::{Incoming, Options, Qos, Session, SessionError};
use answer::Response;

const COMMANDS: &str = "$CONTROL/dynamic-security/v1";
const RESPONSES: &str = "$CONTROL/dynamic-security/v1/response";

/// Commands in one message. 2.0 saves its file and looks for whom to disconnect at each of them, and serves nobody meanwhile.
const AT_ONCE: usize = 20;

/// Which broker, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Administrator {
    /// Where the broker listens.
    pub address: Address,
    /// A user that may publish to `$CONTROL/dynamic-security/v1` and read its responses, and the password.
    pub credentials: (String, String),
    /// The client id to connect with. Two calls at a time need two: a second connection with one ends the first.
    pub client_id: String,
    /// How long a call may take altogether.
    pub patience: Duration,
}

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum AdministrationError {
    /// No connection, or none any more. What was asked for may have been done or not: ask again.
    #[error("cannot administer the broker at {address}: {source}")]
    Session {
        /// The broker.
        address: Address,
        /// What is wrong.
        source: SessionError,
    },
    /// The broker took the commands and gave no answer. What was asked for may have been done or not: ask again.
    #[error(
        "the broker at {address} gave no answer to {command} within {patience:?}: it hangs, or does not have the \
         dynamic-security plugin, or this user may not use it"
    )]
    NoAnswer {
        /// The broker.
        address: Address,
        /// What was waited for.
        command: &'static str,
        /// For how long.
        patience: Duration,
    },
    /// It answered, and in a way that nobody knows.
    #[error("the broker at {address} answers {command} with {answer}, which is no answer to it")]
    Unreadable {
        /// The broker.
        address: Address,
        /// What was asked.
        command: &'static str,
        /// What came.
        answer: String,
    },
    /// It refused some users. All others are as they should be.
    #[error("the broker at {address} refuses {}", list(refusals))]
    Refused {
        /// The broker.
        address: Address,
        /// Whom, and why, in the order they were named in.
        refusals: Vec<Refusal>,
    },
}

/// A command that a broker did not follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked.
    pub command: &'static str,
    /// For which user.
    pub user: String,
    /// Why not.
    pub reason: Reason,
}

/// Why a broker does not follow a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has no such user: nobody can connect as it, until a new file names it.
    UnknownUser,
    /// It has no such role.
    UnknownRole,
    /// Something else, in the broker's words.
    Other(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, user, .. } = self;
        match &self.reason {
            Reason::UnknownUser => write!(f, "{command} of {user}: it has no such user"),
            Reason::UnknownRole => write!(f, "{command} of {user}: it has no such role"),
            Reason::Other(words) => write!(f, "{command} of {user}: {words}"),
        }
    }
}

fn list(refusals: &[Refusal]) -> String {
    let texts: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    texts.join("; ")
}

/// Bars users: when this returns, they are disconnected and kept out, and their sessions go on queueing.
pub async fn fence<S: Session>(at: &Administrator, users: &[String]) -> Result<(), AdministrationError> {
    change::<S>(at, "disableClient", named(users)).await
}

/// Lets users in again, whose bridges come back by themselves.
pub async fn unfence<S: Session>(at: &Administrator, users: &[String]) -> Result<(), AdministrationError> {
    change::<S>(at, "enableClient", named(users)).await
}

/// For commands that name a user and say no more.
fn named(users: &[String]) -> impl Iterator<Item = (&String, Value)> {
    users.iter().map(|user| (user, json!({"username": user})))
}

/// Adds users, given with their passwords, that have one role which is there already. One that the broker has stays as it is,
/// barred or not. Disconnects nobody.
pub async fn admit<S: Session>(
    at: &Administrator,
    role: &str,
    users: &[(String, String)],
) -> Result<(), AdministrationError> {
    let added = users.iter().map(|(user, password)| {
        let roles = json!([{"rolename": role}]);
        (
            user,
            json!({"username": user, "password": password, "roles": roles}),
        )
    });
    change::<S>(at, "createClient", added).await
}

/// The users that are barred.
pub async fn fenced<S: Session>(at: &Administrator) -> Result<BTreeSet<String>, AdministrationError> {
    let all = users::<S>(at).await?.into_iter();
    Ok(all.filter_map(|(user, barred)| barred.then_some(user)).collect())
}

/// All users, and whether each is barred.
pub async fn users<S: Session>(at: &Administrator) -> Result<BTreeMap<String, bool>, AdministrationError> {
    const COMMAND: &str = "listClients";
    let mut line = Line::<S>::open(at, COMMAND).await?;
    let response = line.ask(COMMAND, vec![json!({"verbose": true})]).await?;
    line.close().await;
    let users = response.first().and_then(Response::users);
    users.ok_or_else(|| AdministrationError::Unreadable {
        address: at.address.clone(),
        command: COMMAND,
        answer: response.first().map(ToString::to_string).unwrap_or_default(),
    })
}

/// Disconnects all clients without a user name; their sessions stay as they are, and they may come back at once. No other client
/// is disturbed.
///
/// There is no command for that, but to name the group of such clients anew, be it the same, has the plugin enforce what may
/// have changed by it (2.0.11, 2.1.2). Where no group is named, no such client is let in.
pub async fn kick_nameless<S: Session>(at: &Administrator) -> Result<(), AdministrationError> {
    const GET: &str = "getAnonymousGroup";
    let mut line = Line::<S>::open(at, GET).await?;
    let response = line.ask(GET, vec![json!({})]).await?;
    let group = response.first().and_then(Response::anonymous_group);
    if let Some(group) = group.filter(|group| !group.is_empty()) {
        line.ask("setAnonymousGroup", vec![json!({"groupname": group})])
            .await?;
    }
    line.close().await;
    Ok(())
}

/// One command for each user, with these fields.
async fn change<S: Session>(
    at: &Administrator,
    command: &'static str,
    users: impl Iterator<Item = (&String, Value)>,
) -> Result<(), AdministrationError> {
    let (users, commands): (Vec<&String>, Vec<Value>) = users.collect();
    if users.is_empty() {
        return Ok(());
    }
    let mut refusals = Vec::new();
    let mut line = Line::<S>::open(at, command).await?;
    for (some, commands) in users.chunks(AT_ONCE).zip(commands.chunks(AT_ONCE)) {
        let responses = line.ask(command, commands.to_vec()).await?;
        let refused = some
            .iter()
            .zip(&responses)
            .filter_map(|(&user, response)| Some((user, response.refusal()?)));
        refusals.extend(refused.map(|(user, reason)| Refusal {
            command,
            user: user.clone(),
            reason,
        }));
    }
    line.close().await;
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(AdministrationError::Refused {
            address: at.address.clone(),
            refusals,
        })
    }
}

/// A connection that hears responses.
struct Line<'a, S> {
    at: &'a Administrator,
    session: S,
    deadline: Instant,
    asked: usize,
}

impl<'a, S: Session> Line<'a, S> {
    async fn open(at: &'a Administrator, command: &'static str) -> Result<Self, AdministrationError> {
        let deadline = Instant::now() + at.patience;
        let mut options = Options::new(at.address.clone(), at.client_id.clone());
        options.credentials = Some(at.credentials.clone());
        options.connect_timeout = at.patience;
        // Longer than any call: nobody pings here.
        options.keep_alive = (at.patience * 2).max(Duration::from_secs(1));
        let open = async {
            let mut session = S::connect(options).await?;
            session.subscribe(&[RESPONSES], Qos::AtLeastOnce).await?;
            Ok(session)
        };
        let session = in_time(at, command, deadline, open).await?;
        Ok(Self {
            at,
            session,
            deadline,
            asked: 0,
        })
    }

    /// Sends a command once for each of the fields, in one message, and gives the responses, one for each and in their order.
    async fn ask(
        &mut self,
        command: &'static str,
        mut commands: Vec<Value>,
    ) -> Result<Vec<Response>, AdministrationError> {
        // Responses go to all who listen.
        self.asked += 1;
        let mine = format!("{}/{}", self.at.client_id, self.asked);
        for fields in &mut commands {
            fields["command"] = json!(command);
            fields["correlationData"] = json!(mine);
        }
        let count = commands.len();
        let payload = json!({"commands": commands}).to_string().into_bytes();
        let session = &mut self.session;
        let answer = async {
            session.start_publish(COMMANDS, Qos::AtLeastOnce, false, payload)?;
            loop {
                if let Incoming::Message(message) = session.next().await?
                    && let Some(responses) = answer::responses(&message.payload, &mine)
                {
                    return Ok(responses);
                }
            }
        };
        let responses = in_time(self.at, command, self.deadline, answer).await?;
        let fits = responses.len() == count && responses.iter().all(|response| response.is_to(command));
        if fits {
            return Ok(responses);
        }
        let texts: Vec<String> = responses.iter().map(ToString::to_string).collect();
        Err(AdministrationError::Unreadable {
            address: self.at.address.clone(),
            command,
            answer: texts.join(", "),
        })
    }

    /// Leaves. All is done already, so how that goes is no matter.
    async fn close(self) {
        let _ = timeout_at(self.deadline, self.session.disconnect()).await;
    }
}

async fn in_time<T>(
    at: &Administrator,
    command: &'static str,
    deadline: Instant,
    what: impl Future<Output = Result<T, SessionError>>,
) -> Result<T, AdministrationError> {
    match timeout_at(deadline, what).await {
        Ok(result) => result.map_err(|source| AdministrationError::Session {
            address: at.address.clone(),
            source,
        }),
        Err(_) => Err(AdministrationError::NoAnswer {
            address: at.address.clone(),
            command,
            patience: at.patience,
        }),
    }
}
