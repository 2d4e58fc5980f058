//! The plugin's answers: one message with a response for each command.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use super::Reason;

/// What the plugin says of one command.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    command: String,
    #[serde(rename = "correlationData")]
    correlation: Option<String>,
    error: Option<String>,
    #[serde(default)]
    data: Value,
}

/// The responses in a message, if they are those to the commands with this correlation.
pub(super) fn responses(payload: &[u8], correlation: &str) -> Option<Vec<Response>> {
    #[derive(Deserialize)]
    struct Message {
        responses: Vec<Response>,
    }
    let message: Message = serde_json::from_slice(payload).ok()?;
    let mine = |response: &Response| response.correlation.as_deref() == Some(correlation);
    let ours = !message.responses.is_empty() && message.responses.iter().all(mine);
    ours.then_some(message.responses)
}

impl Response {
    /// It answers such a command.
    pub(super) fn is_to(&self, command: &str) -> bool {
        self.command == command
    }

    /// Why the command was not followed, if it was not. What was so already was followed.
    pub(super) fn refusal(&self) -> Option<Reason> {
        match self.error.as_deref()? {
            "Client already exists" => None,
            "Client not found" => Some(Reason::UnknownUser),
            "Role not found" => Some(Reason::UnknownRole),
            other => Some(Reason::Other(other.to_owned())),
        }
    }

    /// The users that a `listClients` gave, and whether each is disabled.
    pub(super) fn users(&self) -> Option<BTreeMap<String, bool>> {
        #[derive(Deserialize)]
        struct User {
            username: String,
            #[serde(default)]
            disabled: bool,
        }
        if self.error.is_some() {
            return None;
        }
        let users = Vec::<User>::deserialize(self.data.get("clients")?).ok()?;
        let users = users.into_iter().map(|user| (user.username, user.disabled));
        Some(users.collect())
    }
}

impl Response {
    /// The group that a `getAnonymousGroup` gave.
    pub(super) fn anonymous_group(&self) -> Option<String> {
        let group = self.data.get("group")?.get("groupname")?;
        group.as_str().map(str::to_owned)
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.error {
            Some(error) => write!(f, "{}: {error}", self.command),
            None => f.write_str(&self.command),
        }
    }
}
