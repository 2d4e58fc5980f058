//! The plugin's file: written from the model, and read back from what a broker made of it.
//!
//! 2.0 rewrites it with the fields that we write; 2.1 puts a hash into one field, and adds a counter and a switch for
//! wildcards to roles.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use skein_api::name::BrokerName;

use super::password::base64;
use super::rights::{self, Rule};
use super::{ADMINISTRATOR, Account, BRIDGE_ROLE, PasswordHash, Security, bridge_user, downstream_of};

/// The group, and its role, that clients without a user name are taken for.
const ANONYMOUS: &str = "anonymous";

/// A text that [`render`] did not write, nor a broker that began with such a one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no file of the plugin's; a broker that is killed while it writes may leave half of one.
    #[error("the dynamic-security file cannot be read: {0}; have it written anew, with all bridges barred")]
    Broken(String),
    /// It says something else than Skein does.
    #[error("the dynamic-security file has {0}, which is not Skein's: have it written anew")]
    Foreign(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(rename = "defaultACLAccess")]
    default_access: DefaultAccess,
    clients: Vec<Client>,
    groups: Vec<Group>,
    roles: Vec<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anonymous_group: Option<String>,
}

/// What is allowed where no rule says anything.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::struct_excessive_bools, reason = "the plugin's own form")]
struct DefaultAccess {
    publish_client_send: bool,
    publish_client_receive: bool,
    subscribe: bool,
    unsubscribe: bool,
}

/// All: no rule can allow the topics that begin with a `$` of somebody's own, for no wildcard covers them. What is refused,
/// roles refuse.
const DEFAULT_ACCESS: DefaultAccess = DefaultAccess {
    publish_client_send: true,
    publish_client_receive: true,
    subscribe: true,
    unsubscribe: true,
};

#[derive(Serialize, Deserialize)]
struct Client {
    username: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    roles: Vec<RoleName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iterations: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoded_password: Option<String>,
}

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct RoleName {
    rolename: String,
}

#[derive(Serialize, Deserialize)]
struct Role {
    rolename: String,
    acls: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
struct Group {
    groupname: String,
    roles: Vec<RoleName>,
    #[serde(default)]
    clients: Vec<serde_json::Value>,
}

/// The file that a broker begins with. Equal models give equal bytes.
#[must_use]
pub fn render(security: &Security) -> String {
    let bridges = security.bridges.iter();
    let bridges = bridges.map(|(downstream, account)| client(bridge_user(downstream), BRIDGE_ROLE, account));
    let administrator = client(ADMINISTRATOR.to_owned(), ADMINISTRATOR, &security.administrator);
    let file = File {
        default_access: DEFAULT_ACCESS,
        clients: std::iter::once(administrator).chain(bridges).collect(),
        groups: security.anonymous.then(anonymous_group).into_iter().collect(),
        roles: roles(security.anonymous),
        anonymous_group: security.anonymous.then(|| ANONYMOUS.to_owned()),
    };
    // There is nothing in it that JSON could not hold; the worst that an empty file does is to let nobody in.
    let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
    text.push('\n');
    text
}

fn client(username: String, role: &str, account: &Account) -> Client {
    let mut client = Client {
        username,
        disabled: account.barred,
        roles: vec![role_name(role)],
        password: None,
        salt: None,
        iterations: None,
        encoded_password: None,
    };
    match &account.hash {
        PasswordHash::Pbkdf2 {
            salt,
            iterations,
            hash,
        } => {
            client.password = Some(base64(hash));
            client.salt = Some(base64(salt));
            client.iterations = Some(*iterations);
        }
        PasswordHash::Encoded(text) => client.encoded_password = Some(text.clone()),
    }
    client
}

fn role_name(name: &str) -> RoleName {
    RoleName {
        rolename: name.to_owned(),
    }
}

fn anonymous_group() -> Group {
    Group {
        groupname: ANONYMOUS.to_owned(),
        roles: vec![role_name(ANONYMOUS)],
        clients: Vec::new(),
    }
}

fn roles(anonymous: bool) -> Vec<Role> {
    let role = |name: &str, acls| Role {
        rolename: name.to_owned(),
        acls,
    };
    let mut roles = vec![
        role(ADMINISTRATOR, rights::administrator()),
        role(BRIDGE_ROLE, rights::bridge()),
    ];
    if anonymous {
        roles.push(role(ANONYMOUS, rights::anonymous()));
    }
    roles
}

/// The brokers whose bridges a file bars, whatever else is in it.
pub fn barred(text: &str) -> Result<BTreeSet<BrokerName>, ReadError> {
    #[derive(Deserialize)]
    struct Users {
        clients: Vec<User>,
    }
    #[derive(Deserialize)]
    struct User {
        username: String,
        #[serde(default)]
        disabled: bool,
    }
    let users: Users = parsed(text)?;
    let barred = users.clients.iter().filter(|user| user.disabled);
    Ok(barred.filter_map(|user| downstream_of(&user.username)).collect())
}

/// The model that a file is the rendering of, also after a broker has rewritten it.
pub fn read(text: &str) -> Result<Security, ReadError> {
    let file: File = parsed(text)?;
    let foreign = |what: String| Err(ReadError::Foreign(what));
    if file.default_access != DEFAULT_ACCESS {
        return foreign("other rights where no rule matches".to_owned());
    }
    let anonymous = file.anonymous_group.is_some();
    let names = |name: &&String| name.as_str() != ANONYMOUS;
    if let Some(name) = file.anonymous_group.as_ref().filter(names) {
        return foreign(format!("a group {name} for clients without a name"));
    }
    groups(&file.groups, anonymous)?;
    same_roles(&file.roles, anonymous)?;

    let mut administrator = None;
    let mut security = Vec::new();
    for client in file.clients {
        let user = client.username.clone();
        let downstream = downstream_of(&user);
        let role = match &downstream {
            Some(_) => BRIDGE_ROLE,
            None if user == ADMINISTRATOR => ADMINISTRATOR,
            None => return foreign(format!("a user {user}")),
        };
        if client.roles != [role_name(role)] {
            return foreign(format!("other roles for the user {user}"));
        }
        let Some(account) = account(client) else {
            return foreign(format!("no password for the user {user}"));
        };
        match downstream {
            Some(downstream) => security.push((downstream, account)),
            None => administrator = Some(account),
        }
    }
    match administrator {
        Some(administrator) => Ok(Security {
            administrator,
            bridges: security.into_iter().collect(),
            anonymous,
        }),
        None => foreign(format!("no user {ADMINISTRATOR}")),
    }
}

fn parsed<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ReadError> {
    serde_json::from_str(text).map_err(|error| ReadError::Broken(error.to_string()))
}

fn account(client: Client) -> Option<Account> {
    let hash = match (client.encoded_password, client.password, client.salt) {
        (Some(encoded), ..) => PasswordHash::from_encoded(&encoded),
        (None, Some(password), Some(salt)) => {
            PasswordHash::from_fields(&salt, client.iterations?, &password)?
        }
        _ => return None,
    };
    Some(Account {
        hash,
        barred: client.disabled,
    })
}

fn groups(groups: &[Group], anonymous: bool) -> Result<(), ReadError> {
    let ours = |group: &Group| {
        anonymous
            && group.groupname == ANONYMOUS
            && group.roles == [role_name(ANONYMOUS)]
            && group.clients.is_empty()
    };
    match groups.iter().find(|group| !ours(group)) {
        Some(group) => Err(ReadError::Foreign(format!(
            "a group {}, or other roles or clients in it",
            group.groupname
        ))),
        None if groups.len() != usize::from(anonymous) => {
            Err(ReadError::Foreign("no group anonymous, or two".to_owned()))
        }
        None => Ok(()),
    }
}

fn same_roles(found: &[Role], anonymous: bool) -> Result<(), ReadError> {
    let sorted = |role: &Role| {
        let mut rules = role.acls.clone();
        rules.sort();
        (role.rolename.clone(), rules)
    };
    let expected: BTreeSet<_> = roles(anonymous).iter().map(sorted).collect();
    let found: BTreeSet<_> = found.iter().map(sorted).collect();
    match expected.symmetric_difference(&found).next() {
        Some((name, _)) => Err(ReadError::Foreign(format!("another role {name}"))),
        None => Ok(()),
    }
}
