//! What brokers were given, as it is kept in their Secrets; and the secret of the fleet.
//!
//! Each broker's Secret holds what it is to run (`desired.json.gz`), who may connect (`users.json`), what its pod knows the controller
//! by (`token`), and the other configurations that it may be running (`earlier-NUMBER.json.gz`): the one that it last said it
//! uses, and those given since. So a controller that begins knows what may be in force without having heard of any broker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use skein_adapter::links;
use skein_adapter::users::Roll;
use skein_agent::{BrokerDirectory, Configuration, packed};
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_engine::directive::OpenSession;
use skein_engine::event::{Epoch, KeptConfig};
use skein_mosquitto::security::{FleetSecret, Password, SecretError, Security, read, render};

use crate::names;
use crate::objects;

/// The keys of Secrets.
const EARLIER: &str = "earlier-";
const TOKEN: &str = "token";
const SECRET: &str = "secret";
const CLASSES: &str = "classes.json";
const SESSIONS: &str = "sessions.json";

/// What is kept cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// The API server does not give it.
    #[error("cannot read the fleet's Secrets: {0}")]
    Api(#[from] kube::Error),
    /// It is not what was written.
    #[error("Secret {name}: {key}: {why}; put back what was there, or delete the Secret for a new one")]
    Content {
        /// The Secret.
        name: String,
        /// What in it.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The system gives no random bytes.
    #[error("cannot make a secret for the fleet: {0}")]
    Random(#[from] io::Error),
}

/// What one broker was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// What it may be running, oldest first. The newest is what it is to run.
    pub(crate) kept: Vec<Record>,
    /// Who may connect.
    pub(crate) users: Option<Security>,
}

/// A configuration that was given.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) epoch: Epoch,
    /// As it stands in the Secret.
    packed: Vec<u8>,
}

/// What is in it. Of one that was given in between only the links are kept: a Secret holds a megabyte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Content {
    epoch: Epoch,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<String>,
    links: Value,
}

impl Record {
    fn of(content: &Content) -> io::Result<Self> {
        Ok(Self {
            epoch: content.epoch,
            packed: packed::pack(&serde_json::to_string(content)?)?,
        })
    }

    fn read(packed: Vec<u8>) -> io::Result<Self> {
        let content: Content = serde_json::from_str(&packed::unpack(&packed)?)?;
        Ok(Self {
            epoch: content.epoch,
            packed,
        })
    }

    fn content(&self) -> io::Result<Content> {
        Ok(serde_json::from_str(&packed::unpack(&self.packed)?)?)
    }
}

impl Given {
    /// Has it be given a configuration. `loaded` is the one that it last said it uses: what is older cannot come back.
    pub(crate) fn give(&mut self, configuration: Configuration, loaded: Option<Epoch>) -> io::Result<()> {
        let newest = Record::of(&Content {
            epoch: configuration.epoch,
            config: Some(configuration.config),
            links: configuration.links,
        })?;
        if let Some(loaded) = loaded {
            self.kept.retain(|record| record.epoch >= loaded);
        }
        // The oldest is what runs.
        if let [_, .., between] = &mut *self.kept {
            let content = between.content()?;
            *between = Record::of(&Content {
                config: None,
                ..content
            })?;
        }
        self.kept.push(newest);
        Ok(())
    }

    /// As it is kept, beside what the pod knows the controller by.
    pub(crate) fn data(&self, token: &Password) -> BTreeMap<String, Vec<u8>> {
        let mut data = BTreeMap::from([(TOKEN.to_owned(), token.expose().into())]);
        if let Some((newest, earlier)) = self.kept.split_last() {
            data.insert(packed::key(BrokerDirectory::DESIRED), newest.packed.clone());
            let earlier = earlier.iter();
            data.extend(earlier.map(|record| (earlier_key(record.epoch), record.packed.clone())));
        }
        if let Some(users) = &self.users {
            data.insert(BrokerDirectory::USERS.to_owned(), render(users).into_bytes());
        }
        data
    }

    /// As the engine wants to know it.
    pub(crate) fn configurations(&self) -> Result<Vec<KeptConfig>, Unkept> {
        let config = |record: &Record| {
            let content = record.content()?;
            Ok(KeptConfig {
                epoch: record.epoch,
                links: links::from_json(&content.links)?,
                text: content.config,
            })
        };
        self.kept.iter().map(config).collect()
    }

    fn parse(mut data: BTreeMap<String, Vec<u8>>) -> Result<Self, (String, String)> {
        // Damaged: written anew.
        let users = data
            .get(BrokerDirectory::USERS)
            .and_then(|text| std::str::from_utf8(text).ok());
        let users = users.and_then(|text| read(text).ok());
        let desired = packed::key(BrokerDirectory::DESIRED);
        data.retain(|key, _| key.starts_with(EARLIER) || *key == desired);
        let record = |(key, packed)| Record::read(packed).map_err(|error| (key, error.to_string()));
        let mut kept = data.into_iter().map(record).collect::<Result<Vec<_>, _>>()?;
        kept.sort_by_key(|record| record.epoch);
        Ok(Self { kept, users })
    }
}

/// The key of a configuration that was given before the newest.
fn earlier_key(epoch: Epoch) -> String {
    packed::key(&format!("{EARLIER}{epoch}.json"))
}

/// A configuration cannot be written down, or what was is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unkept {
    /// Its links.
    #[error(transparent)]
    Links(#[from] links::LinkError),
    /// Packed.
    #[error(transparent)]
    Packed(#[from] io::Error),
}

/// Notes users in what a broker was given; the loop writes it.
pub(crate) struct Note<'a>(pub(crate) RefCell<&'a mut Given>);

impl Roll for Note<'_> {
    type Error = std::convert::Infallible;

    fn kept(&self) -> Option<Security> {
        self.0.borrow().users.clone()
    }

    fn keep(&self, users: &Security) -> Result<(), Self::Error> {
        self.0.borrow_mut().users = Some(users.clone());
        Ok(())
    }
}

/// All that an earlier life kept.
pub(crate) struct Kept {
    pub(crate) secret: FleetSecret,
    pub(crate) classes: BTreeMap<TopicName, ClassName>,
    pub(crate) sessions: Vec<OpenSession>,
    pub(crate) given: BTreeMap<BrokerName, Given>,
}

impl Kept {
    /// Reads the Secrets of a namespace; makes the fleet's where there is none.
    pub(crate) async fn read(client: &Client, namespace: &str) -> Result<Self, Unreadable> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let (label, value) = names::MANAGED_BY;
        let ours = ListParams::default().labels(&format!("{label}={value}"));
        let mut given = BTreeMap::new();
        let mut fleet = None;
        for secret in api.list(&ours).await?.items {
            let name = secret.name_any();
            let broker = secret
                .labels()
                .get(names::BROKER)
                .map(|name| BrokerName::new(name));
            let data = bytes(secret);
            if name == names::FLEET {
                fleet = Some(data);
            } else if let Some(Ok(broker)) = broker {
                let content = |(key, why)| Unreadable::Content { name, key, why };
                given.insert(broker, Given::parse(data).map_err(content)?);
            }
        }
        let data = match fleet {
            Some(data) => data,
            None => make_secret(&api, namespace).await?,
        };
        let content = |key: &str, why: String| Unreadable::Content {
            name: names::FLEET.to_owned(),
            key: packed::key(key),
            why,
        };
        Ok(Self {
            secret: parsed_secret(&data)?,
            classes: parsed(&data, CLASSES).map_err(|why| content(CLASSES, why))?,
            sessions: parsed(&data, SESSIONS).map_err(|why| content(SESSIONS, why))?,
            given,
        })
    }
}

/// What the passwords of a fleet follow from, if it has one yet.
pub(crate) async fn fleet_secret(
    client: &Client,
    namespace: &str,
) -> Result<Option<FleetSecret>, Unreadable> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let secret = api.get_opt(names::FLEET).await?;
    secret.map(|secret| parsed_secret(&bytes(secret))).transpose()
}

fn parsed_secret(data: &BTreeMap<String, Vec<u8>>) -> Result<FleetSecret, Unreadable> {
    let secret = data.get(SECRET).and_then(|text| std::str::from_utf8(text).ok());
    FleetSecret::parse(secret.unwrap_or_default()).map_err(|error: SecretError| Unreadable::Content {
        name: names::FLEET.to_owned(),
        key: SECRET.to_owned(),
        why: error.to_string(),
    })
}

/// What the fleet's Secret holds beside the secret itself, which is made once and never written again.
pub(crate) fn fleet_data(
    secret: &FleetSecret,
    classes: &BTreeMap<TopicName, ClassName>,
    sessions: &[OpenSession],
) -> io::Result<BTreeMap<String, Vec<u8>>> {
    Ok(BTreeMap::from([
        (SECRET.to_owned(), secret.to_text().into_bytes()),
        (
            packed::key(CLASSES),
            packed::pack(&serde_json::to_string(classes)?)?,
        ),
        (
            packed::key(SESSIONS),
            packed::pack(&serde_json::to_string(sessions)?)?,
        ),
    ]))
}

fn parsed<T: serde::de::DeserializeOwned + Default>(
    data: &BTreeMap<String, Vec<u8>>,
    key: &str,
) -> Result<T, String> {
    let Some(packed) = data.get(&packed::key(key)) else {
        return Ok(T::default());
    };
    let text = packed::unpack(packed).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// Made and not applied: if somebody else was first, theirs holds, and is read at the next try.
async fn make_secret(api: &Api<Secret>, namespace: &str) -> Result<BTreeMap<String, Vec<u8>>, Unreadable> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let secret = FleetSecret::new(bytes);
    let data = BTreeMap::from([(SECRET.to_owned(), secret.to_text().into_bytes())]);
    let made = objects::fleet_secret(namespace, data.clone());
    let parameters = PostParams {
        field_manager: Some(names::MANAGER.to_owned()),
        ..PostParams::default()
    };
    api.create(&parameters, &made).await?;
    Ok(data)
}

fn bytes(secret: Secret) -> BTreeMap<String, Vec<u8>> {
    let data = secret.data.into_iter().flatten();
    data.map(|(key, bytes)| (key, bytes.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(epoch: Epoch) -> Configuration {
        Configuration {
            epoch,
            config: format!("# epoch {epoch}\n"),
            links: serde_json::json!([]),
        }
    }

    fn epochs(given: &Given) -> Vec<(Epoch, bool)> {
        given
            .kept
            .iter()
            .map(|record| (record.epoch, record.content().unwrap().config.is_some()))
            .collect()
    }

    #[test]
    fn what_may_be_running_is_kept_until_something_newer_is_known_to_run() {
        let mut given = Given::default();
        given.give(configuration(1), None).unwrap();
        given.give(configuration(2), None).unwrap();
        given.give(configuration(3), Some(1)).unwrap();
        assert_eq!(epochs(&given), [(1, true), (2, false), (3, true)]);
        given.give(configuration(4), Some(3)).unwrap();
        assert_eq!(epochs(&given), [(3, true), (4, true)]);
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut given = Given::default();
        given.give(configuration(1), None).unwrap();
        given.give(configuration(2), Some(1)).unwrap();
        let name = BrokerName::new("a").unwrap();
        let secret = FleetSecret::new([7; 32]);
        given.users = Some(Security::derived(&secret, &name, [], true));
        let data = given.data(&secret.token(&name));
        assert_eq!(data[TOKEN], secret.token(&name).expose().as_bytes());
        let desired: Configuration =
            serde_json::from_str(&packed::unpack(&data["desired.json.gz"]).unwrap()).unwrap();
        assert_eq!(desired, configuration(2));
        let read = Given::parse(data).unwrap();
        assert_eq!(read.kept, given.kept);
        assert_eq!(read.users, given.users);
        let configurations = read.configurations().unwrap();
        assert_eq!(configurations.len(), 2);
        assert_eq!(configurations[1].text.as_deref(), Some("# epoch 2\n"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for key in ["desired.json.gz", "earlier-3.json.gz"] {
            let data = BTreeMap::from([(key.to_owned(), b"{".to_vec())]);
            assert_eq!(Given::parse(data).unwrap_err().0, key);
        }
    }
}
