//! Brings what the controller says from the broker's Secret into its directory.
//!
//! Knows which key is which file, and nothing of what is in them. It only ever adds: a Secret that is gone, or an API that
//! is, takes nothing away from a broker that runs.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use skein_agent::files::{self, FileError};
use skein_agent::{BrokerDirectory, packed};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::trouble::Trouble;

/// How long one watch lasts, in seconds. The watcher takes a connection for dead when nothing came for 5 s longer, and until
/// then a broker would wait for its configuration: with the 290 s that are usual, in vain. A new watch goes on where the
/// last one ended, which costs a server little.
const WATCH: u32 = 25;

/// When to try again to write what could not be written: a disk may be full.
const AGAIN: Duration = Duration::from_secs(1);

/// Watches one Secret for one directory.
pub(crate) struct Courier {
    secrets: Api<Secret>,
    name: String,
    directory: BrokerDirectory,
    /// Told when it is known for the first time what the Secret says.
    arrived: Option<oneshot::Sender<()>>,
    /// Told what whoever asks the pod has to know.
    token: watch::Sender<Option<String>>,
    /// What is to be written.
    news: Option<Secret>,
    trouble: Trouble,
}

impl Courier {
    pub(crate) fn new(
        secrets: Api<Secret>,
        name: &str,
        directory: BrokerDirectory,
        arrived: oneshot::Sender<()>,
        token: watch::Sender<Option<String>>,
    ) -> Self {
        Self {
            secrets,
            name: name.to_owned(),
            directory,
            arrived: Some(arrived),
            token,
            news: None,
            trouble: Trouble::default(),
        }
    }

    /// Works for ever.
    pub(crate) async fn carry(mut self) -> Infallible {
        // By name: the pod may see no other.
        let config = watcher::Config::default()
            .fields(&format!("metadata.name={}", self.name))
            .timeout(WATCH);
        let mut events = pin!(watcher(self.secrets.clone(), config).default_backoff());
        let mut there = false;
        loop {
            tokio::select! {
                Some(event) = events.next() => match event {
                    Ok(Event::Init) => there = false,
                    Ok(Event::InitApply(secret) | Event::Apply(secret)) => {
                        there = true;
                        self.token.send_replace(token_of(&secret));
                        self.news = Some(secret);
                    }
                    Ok(Event::InitDone) if there => {}
                    Ok(Event::InitDone | Event::Delete(_)) => self.miss(),
                    Err(error) => {
                        let name = &self.name;
                        self.trouble.say(format_args!("cannot watch Secret {name}: {error}"));
                    }
                },
                () = sleep(AGAIN), if self.news.is_some() => {}
                else => std::future::pending().await,
            }
            if let Some(secret) = &self.news {
                match deliver(secret, &self.directory) {
                    Ok(()) => {
                        self.news = None;
                        self.arrive();
                    }
                    Err(error) => self.trouble.say(error),
                }
            }
        }
    }

    /// There is no Secret.
    fn miss(&mut self) {
        self.news = None;
        let name = &self.name;
        self.trouble.say(format_args!(
            "there is no Secret {name}, so the broker goes on with what it has"
        ));
        self.arrive();
    }

    fn arrive(&mut self) {
        if let Some(arrived) = self.arrived.take() {
            // Nobody waits where there was a configuration already.
            let _ = arrived.send(());
        }
    }
}

/// The key of what whoever asks the pod has to know.
const TOKEN: &str = "token";

/// It is kept in no file.
fn token_of(secret: &Secret) -> Option<String> {
    let token = secret.data.as_ref()?.get(TOKEN)?;
    String::from_utf8(token.0.clone()).ok()
}

/// What the Secret says is not in the directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the Secret's {key} cannot be unpacked: {source}")]
    Packed { key: String, source: io::Error },
}

/// Writes what differs. A key that is absent leaves its file as it is, but for the hold, which then ends.
pub(crate) fn deliver(secret: &Secret, directory: &BrokerDirectory) -> Result<(), Undelivered> {
    let content = |key: &str| {
        let data = secret.data.as_ref()?;
        data.get(key).map(|content| content.0.as_slice())
    };
    // A broker that starts on its configuration lets in whom it knows then: users first.
    if let Some(users) = content(BrokerDirectory::USERS) {
        replace(&directory.path().join(BrokerDirectory::USERS), users)?;
    }
    if let Some(packed) = content(&packed::key(BrokerDirectory::DESIRED)) {
        let path = directory.path().join(BrokerDirectory::DESIRED);
        let desired = packed::unpack(packed).map_err(|source| Undelivered::Packed {
            key: packed::key(BrokerDirectory::DESIRED),
            source,
        })?;
        replace(&path, desired.as_bytes())?;
    }
    let hold = directory.path().join(BrokerDirectory::HOLD);
    match content(BrokerDirectory::HOLD) {
        Some(content) => replace(&hold, content)?,
        None => files::remove(&hold)?,
    }
    Ok(())
}

/// Writes the file, unless it says so already: who watches it would look for nothing.
fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    if fs::read(path).is_ok_and(|written| written == content) {
        return Ok(());
    }
    files::write(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use skein_agent::Hold;
    use skein_agent::watch::Look;

    fn secret<const N: usize>(data: [(&str, &str); N]) -> Secret {
        let data = data.map(|(key, content)| match key {
            "desired.json" => (packed::key(key), ByteString(packed::pack(content).unwrap())),
            _ => (key.to_owned(), ByteString(content.into())),
        });
        Secret {
            data: Some(BTreeMap::from(data)),
            ..Secret::default()
        }
    }

    fn directory() -> (tempfile::TempDir, BrokerDirectory) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = BrokerDirectory::new(temporary.path());
        directory.create().unwrap();
        (temporary, directory)
    }

    fn written(directory: &BrokerDirectory, file: &str) -> Option<String> {
        files::read(&directory.path().join(file)).unwrap()
    }

    const FIRST: &str = r#"{"epoch": 1, "config": "listener 1883\n", "links": []}"#;

    #[test]
    fn what_the_secret_says_is_what_the_files_say() {
        let (_temporary, directory) = directory();
        let said = secret([
            ("desired.json", FIRST),
            ("users.json", "{\"users\": 1}"),
            ("hold", "hang"),
        ]);
        deliver(&said, &directory).unwrap();
        let desired = directory.desired().unwrap().unwrap();
        assert_eq!((desired.epoch, desired.config.as_str()), (1, "listener 1883\n"));
        assert_eq!(
            written(&directory, "users.json").as_deref(),
            Some("{\"users\": 1}")
        );
        assert_eq!(directory.held().unwrap(), Some(Hold::Hang));
    }

    #[test]
    fn what_the_secret_leaves_out_stays_but_the_hold() {
        let (_temporary, directory) = directory();
        deliver(
            &secret([("desired.json", FIRST), ("users.json", "{}"), ("hold", "down")]),
            &directory,
        )
        .unwrap();
        for nothing in [secret([]), Secret::default()] {
            directory.hold(Hold::Down).unwrap();
            deliver(&nothing, &directory).unwrap();
            assert_eq!(written(&directory, "desired.json").as_deref(), Some(FIRST));
            assert_eq!(written(&directory, "users.json").as_deref(), Some("{}"));
            assert_eq!(directory.held().unwrap(), None);
        }
    }

    #[test]
    fn only_what_changed_is_written() {
        let (_temporary, directory) = directory();
        let look = |file| Look::at(&directory.path().join(file));
        let mut said = secret([("desired.json", FIRST), ("users.json", "{}"), ("hold", "down")]);
        deliver(&said, &directory).unwrap();
        let before = ["desired.json", "users.json", "hold"].map(look);
        assert!(before.iter().all(Option::is_some));
        deliver(&said, &directory).unwrap();
        assert_eq!(["desired.json", "users.json", "hold"].map(look), before);

        said.data
            .as_mut()
            .unwrap()
            .insert("hold".to_owned(), ByteString("hang".into()));
        deliver(&said, &directory).unwrap();
        assert_eq!(directory.held().unwrap(), Some(Hold::Hang));
        assert_eq!(["desired.json", "users.json"].map(look), before[..2]);
    }

    #[test]
    fn no_configuration_comes_without_the_users_that_go_with_it() {
        let (_temporary, directory) = directory();
        // A directory cannot be replaced by a file.
        let users = directory.path().join("users.json");
        fs::create_dir_all(users.join("in the way")).unwrap();
        let said = secret([("desired.json", FIRST), ("users.json", "{}")]);
        deliver(&said, &directory).unwrap_err();
        assert_eq!(directory.desired().unwrap(), None);
        fs::remove_dir_all(users).unwrap();
        deliver(&said, &directory).unwrap();
        assert!(directory.desired().unwrap().is_some());
    }
}
