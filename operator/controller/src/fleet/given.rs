//! What brokers were given, as it is kept in their Secrets; and the secret of the fleet.
//!
//! Each broker's Secret holds what it is to run (`desired.json`), who may connect (`users.json`), what its pod knows the controller by
//! (`token`), and all the configurations that it may be running (`kept.json`): the one that it last said it uses, and those given since. So a controller that begins knows
//! what may be in force without having heard of any broker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde::{Deserialize, Serialize};
use skein_adapter::links;
use skein_adapter::users::Roll;
use skein_agent::{BrokerDirectory, Configuration};
use skein_api::name::{BrokerName, ClassName, TopicName};
use skein_engine::directive::OpenSession;
use skein_engine::event::{Epoch, KeptConfig};
use skein_mosquitto::security::{FleetSecret, Password, SecretError, Security, read, render};

use crate::custom::Text;
use crate::names;
use crate::objects;

/// The keys of Secrets.
const KEPT: &str = "kept.json";
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
        key: &'static str,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) epoch: Epoch,
    pub(crate) links: Text,
    /// Not of those that were given in between: a Secret holds a megabyte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) text: Option<String>,
}

impl Given {
    /// Has it be given a configuration. `loaded` is the one that it last said it uses: what is older cannot come back.
    pub(crate) fn give(&mut self, configuration: Configuration, loaded: Option<Epoch>) {
        if let Some(loaded) = loaded {
            self.kept.retain(|record| record.epoch >= loaded);
        }
        for record in self.kept.iter_mut().skip(1) {
            record.text = None;
        }
        self.kept.push(Record {
            epoch: configuration.epoch,
            links: (&configuration.links).into(),
            text: Some(configuration.config),
        });
    }

    /// What it is to run.
    fn desired(&self) -> Option<Configuration> {
        let newest = self.kept.last()?;
        Some(Configuration {
            epoch: newest.epoch,
            config: newest.text.clone()?,
            links: newest.links.parse()?,
        })
    }

    /// As it is kept, beside what the pod knows the controller by.
    pub(crate) fn data(&self, token: &Password) -> Result<BTreeMap<String, String>, serde_json::Error> {
        let mut data = BTreeMap::from([(TOKEN.to_owned(), token.expose().to_owned())]);
        if let Some(desired) = self.desired() {
            data.insert(
                BrokerDirectory::DESIRED.to_owned(),
                serde_json::to_string(&desired)?,
            );
            data.insert(KEPT.to_owned(), serde_json::to_string(&self.kept)?);
        }
        if let Some(users) = &self.users {
            data.insert(BrokerDirectory::USERS.to_owned(), render(users));
        }
        Ok(data)
    }

    /// As the engine wants to know it.
    pub(crate) fn configurations(&self) -> Result<Vec<KeptConfig>, links::LinkError> {
        let config = |record: &Record| {
            Ok(KeptConfig {
                epoch: record.epoch,
                links: links::from_json(&record.links.parse().unwrap_or_default())?,
                text: record.text.clone(),
            })
        };
        self.kept.iter().map(config).collect()
    }

    fn parse(data: &BTreeMap<String, String>) -> Result<Self, (&'static str, String)> {
        fn json<T: serde::de::DeserializeOwned>(
            data: &BTreeMap<String, String>,
            key: &'static str,
        ) -> Result<Option<T>, (&'static str, String)> {
            let parsed = data.get(key).map(|text| serde_json::from_str(text)).transpose();
            parsed.map_err(|error| (key, error.to_string()))
        }
        let users = data
            .get(BrokerDirectory::USERS)
            .map(|text| read(text))
            .transpose();
        // The newest of what is kept says the same; damaged, it is for a person to look at.
        let _: Option<Configuration> = json(data, BrokerDirectory::DESIRED)?;
        Ok(Self {
            kept: json(data, KEPT)?.unwrap_or_default(),
            // Damaged: written anew.
            users: users.unwrap_or_default(),
        })
    }
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
            let data = texts(&secret);
            let broker = secret
                .labels()
                .get(names::BROKER)
                .map(|name| BrokerName::new(name));
            if name == names::FLEET {
                fleet = Some(data);
            } else if let Some(Ok(broker)) = broker {
                let content = |(key, why)| Unreadable::Content { name, key, why };
                given.insert(broker, Given::parse(&data).map_err(content)?);
            }
        }
        let data = match fleet {
            Some(data) => data,
            None => make_secret(&api, namespace).await?,
        };
        let content = |key, why: String| Unreadable::Content {
            name: names::FLEET.to_owned(),
            key,
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
    secret.map(|secret| parsed_secret(&texts(&secret))).transpose()
}

fn parsed_secret(data: &BTreeMap<String, String>) -> Result<FleetSecret, Unreadable> {
    let secret = data.get(SECRET).map(String::as_str).unwrap_or_default();
    FleetSecret::parse(secret).map_err(|error: SecretError| Unreadable::Content {
        name: names::FLEET.to_owned(),
        key: SECRET,
        why: error.to_string(),
    })
}

/// What the fleet's Secret holds beside the secret itself, which is made once and never written again.
pub(crate) fn fleet_data(
    secret: &FleetSecret,
    classes: &BTreeMap<TopicName, ClassName>,
    sessions: &[OpenSession],
) -> Result<BTreeMap<String, String>, serde_json::Error> {
    Ok(BTreeMap::from([
        (SECRET.to_owned(), secret.to_text()),
        (CLASSES.to_owned(), serde_json::to_string(classes)?),
        (SESSIONS.to_owned(), serde_json::to_string(sessions)?),
    ]))
}

fn parsed<T: serde::de::DeserializeOwned + Default>(
    data: &BTreeMap<String, String>,
    key: &str,
) -> Result<T, String> {
    let parsed = data.get(key).map(|text| serde_json::from_str(text)).transpose();
    parsed
        .map(Option::unwrap_or_default)
        .map_err(|error| error.to_string())
}

/// Made and not applied: if somebody else was first, theirs holds, and is read at the next try.
async fn make_secret(api: &Api<Secret>, namespace: &str) -> Result<BTreeMap<String, String>, Unreadable> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let secret = FleetSecret::new(bytes);
    let data = BTreeMap::from([(SECRET.to_owned(), secret.to_text())]);
    let made = objects::fleet_secret(namespace, data.clone());
    let parameters = PostParams {
        field_manager: Some(names::MANAGER.to_owned()),
        ..PostParams::default()
    };
    api.create(&parameters, &made).await?;
    Ok(data)
}

fn texts(secret: &Secret) -> BTreeMap<String, String> {
    let data = secret.data.iter().flatten();
    let text = |(key, bytes): (&String, &k8s_openapi::ByteString)| {
        Some((key.clone(), String::from_utf8(bytes.0.clone()).ok()?))
    };
    data.filter_map(text).collect()
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
            .map(|record| (record.epoch, record.text.is_some()))
            .collect()
    }

    #[test]
    fn what_may_be_running_is_kept_until_something_newer_is_known_to_run() {
        let mut given = Given::default();
        given.give(configuration(1), None);
        given.give(configuration(2), None);
        given.give(configuration(3), Some(1));
        assert_eq!(epochs(&given), [(1, true), (2, false), (3, true)]);
        given.give(configuration(4), Some(3));
        assert_eq!(epochs(&given), [(3, true), (4, true)]);
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let mut given = Given::default();
        given.give(configuration(1), None);
        given.give(configuration(2), Some(1));
        let name = BrokerName::new("a").unwrap();
        let secret = FleetSecret::new([7; 32]);
        given.users = Some(Security::derived(&secret, &name, [], true));
        let data = given.data(&secret.token(&name)).unwrap();
        assert_eq!(data[TOKEN], secret.token(&name).expose());
        let read = Given::parse(&data).unwrap();
        assert_eq!(read.kept, given.kept);
        assert_eq!(read.desired(), given.desired());
        assert_eq!(read.desired().unwrap().config, "# epoch 2\n");
        assert_eq!(read.users, given.users);
        assert_eq!(read.configurations().unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let data = BTreeMap::from([(KEPT.to_owned(), "{".to_owned())]);
        assert_eq!(Given::parse(&data).unwrap_err().0, KEPT);
    }
}
