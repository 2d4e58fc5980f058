//! A plain broker under Mosquitto's dynamic security: the file it begins with, and its management over MQTT.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::broker::PlainBroker;
use crate::mosquitto::{Series, mosquitto, plugin};
use crate::place::free_port;
use crate::raw::RawClient;

const COMMANDS: &str = "$CONTROL/dynamic-security/v1";

/// The one password of every user in these tests.
pub const PASSWORD: &str = "secret";

// PBKDF2-HMAC-SHA512 of that password over the 12 bytes `skein-salt-1`, 101 rounds, 64 bytes.
const SALT: &str = "c2tlaW4tc2FsdC0x";
const HASH: &str = "3PXDK2MedAe7FDPzChRe3QUQ+gs+Bz60rBvv/0PjNU9TyNCGldAjIlatLLuJojeRk8puhBsj6JaYOJOp5T38sQ==";

/// One rule of a role, as commands and the file spell it.
#[must_use]
pub fn acl(kind: &str, topic: &str, allow: bool, priority: i32) -> Value {
    json!({"acltype": kind, "topic": topic, "allow": allow, "priority": priority})
}

/// The rules that let a user publish to some filters and read others.
#[must_use]
pub fn rights(send: &[&str], read: &[&str]) -> Vec<Value> {
    let sends = send.iter().map(|topic| acl("publishClientSend", topic, true, 0));
    let kinds = ["subscribePattern", "unsubscribePattern", "publishClientReceive"];
    let reads = read
        .iter()
        .flat_map(|topic| kinds.map(|kind| acl(kind, topic, true, 0)));
    sends.chain(reads).collect()
}

/// What an anonymous client may: everything but Skein's and the broker's own topics, and `$SYS` to read.
///
/// The refusals stand first by priority, because a `#` in `subscribePattern` covers `$` topics on 2.0.
#[must_use]
pub fn anonymous_rights() -> Vec<Value> {
    let mut rules = Vec::new();
    for kind in ["subscribePattern", "publishClientReceive", "publishClientSend"] {
        for topic in ["$skein/#", "$CONTROL/#", "$SYS/broker/log/#"] {
            rules.push(acl(kind, topic, false, 10));
        }
        rules.push(acl(kind, "#", true, 0));
    }
    // 2.1 does not take a shared subscription for covered by `#`. What arrives is judged by its topic all the same.
    rules.push(acl("subscribePattern", "$share/#", true, 0));
    rules.push(acl("publishClientReceive", "$SYS/#", true, 0));
    rules.push(acl("subscribePattern", "$SYS/#", true, 0));
    rules.push(acl("unsubscribePattern", "#", true, 0));
    rules.push(acl("unsubscribePattern", "$SYS/#", true, 0));
    rules
}

/// A dynamic-security file with an administrator `skein`, who may do everything, and further users, each with a role of
/// its own name; with the anonymous rights, if there are any, in a group `anonymous`.
#[must_use]
pub fn security_file(users: &[(&str, Vec<Value>)], anonymous: &[Value]) -> Value {
    let all = ["#", "$skein/#", "$CONTROL/#", "$SYS/#"];
    let mut clients = Vec::new();
    let mut roles = Vec::new();
    let skein = ("skein", rights(&all, &all));
    for (name, rules) in std::iter::once(&skein).chain(users) {
        clients.push(json!({
            "username": name, "roles": [{"rolename": name}],
            "password": HASH, "salt": SALT, "iterations": 101,
        }));
        roles.push(json!({"rolename": name, "acls": rules}));
    }
    roles.push(json!({"rolename": "anonymous", "acls": anonymous}));
    json!({
        "defaultACLAccess": {
            "publishClientSend": false, "publishClientReceive": false, "subscribe": false, "unsubscribe": true,
        },
        "clients": clients,
        "roles": roles,
        "groups": [{"groupname": "anonymous", "roles": [{"rolename": "anonymous"}], "clients": []}],
        "anonymousGroup": "anonymous",
    })
}

/// What makes a broker keep everything over a kill, as far as its version can.
pub fn durable(series: Series, folder: &Path) -> Result<String> {
    let place = folder.display();
    Ok(match series {
        Series::Oldest => format!(
            "persistence true\npersistence_location {place}/\nautosave_on_changes true\nautosave_interval 1\n"
        ),
        Series::Newest => format!(
            "persistence_location {place}/\nplugin {}\nplugin_opt_flush_period 0\n",
            plugin(series, "mosquitto_persist_sqlite.so")?.display()
        ),
    })
}

/// The settings that links rely on.
pub const UNBOUNDED: &str = "max_queued_messages 0\nmax_inflight_messages 65534\nqueue_qos0_messages true\n\
                             allow_duplicate_messages false\nset_tcp_nodelay true\n";

/// Further lines that free a broker of the oldest series from writing its whole store at every change, for tests of load.
pub const UNSAVED: &str = "autosave_on_changes false\nautosave_interval 1800\n";

/// What keeps a bridge of 2.1 from reading ahead: what it has read and not handled when its connection breaks, it takes for
/// the beginning of the next one.
#[must_use]
pub fn careful(series: Series) -> &'static str {
    match series {
        Series::Oldest => "",
        Series::Newest => "packet_buffer_size 2\n",
    }
}

/// A link as Skein writes it: 3.1.1, persistent, quickly back. The user is the one at the broker it leads to; the lines
/// are such as `t/# in 1`.
#[must_use]
pub fn bridge(
    connection: &str,
    address: &str,
    client_id: &str,
    user: Option<&str>,
    lines: &[&str],
) -> String {
    let mut text = format!(
        "connection {connection}\naddress {address}\nremote_clientid {client_id}\nlocal_clientid {client_id}:local\n\
         bridge_protocol_version mqttv311\ncleansession false\nnotifications false\ntry_private true\n\
         restart_timeout 1 1\nkeepalive_interval 10\nbridge_attempt_unsubscribe true\n"
    );
    if let Some(user) = user {
        for (option, value) in [("remote_username", user), ("remote_password", PASSWORD)] {
            text.extend([option, " ", value, "\n"]);
        }
    }
    for line in lines {
        text.extend(["topic ", line, "\n"]);
    }
    text
}

/// A durable broker with the dynamic-security plugin, its files in a folder of their own.
#[derive(Debug)]
pub struct Secured {
    /// The broker.
    pub broker: PlainBroker,
    series: Series,
    files: TempDir,
}

impl Secured {
    /// Starts one with this security file and further lines of configuration.
    pub async fn start(series: Series, security: &Value, config: &str) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("skein-secured-").tempdir()?;
        let file = files.path().join("security.json");
        fs::write(&file, serde_json::to_string_pretty(security)?)?;
        let text = format!(
            "{UNBOUNDED}{}plugin {}\nplugin_opt_config_file {}\n{config}\n",
            durable(series, files.path())?,
            plugin(series, "mosquitto_dynamic_security.so")?.display(),
            file.display()
        );
        let broker = PlainBroker::start_on(&mosquitto(series), free_port()?, &text).await?;
        Ok(Self {
            broker,
            series,
            files,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.broker.address()
    }

    /// Its security file and its store.
    #[must_use]
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    /// Kills it and starts it again.
    pub async fn restart(&mut self) -> Result<()> {
        self.broker.restart(&mosquitto(self.series)).await
    }

    /// Ends it properly and starts it again.
    pub async fn restart_politely(&mut self) -> Result<()> {
        self.broker.stop().await?;
        self.restart().await
    }

    /// The security file as it is now.
    pub fn security(&self) -> Result<Value> {
        let text = fs::read_to_string(self.files.path().join("security.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Connects as the administrator.
    pub async fn control(&self) -> Result<Control> {
        Control::connect(&self.address()).await
    }

    /// Connects as a user.
    pub async fn user(&self, user: &str, client_id: &str, clean_session: bool) -> Result<RawClient> {
        let login = Some((user, PASSWORD));
        RawClient::connect(&self.address(), client_id, clean_session, login).await
    }

    /// Connects anonymously.
    pub async fn anonymous(&self, client_id: &str, clean_session: bool) -> Result<RawClient> {
        RawClient::connect(&self.address(), client_id, clean_session, None).await
    }
}

/// The administrator's connection.
pub struct Control {
    client: RawClient,
    asked: u64,
}

impl Control {
    /// Connects as `skein`.
    pub async fn connect(address: &str) -> Result<Self> {
        let login = Some(("skein", PASSWORD));
        let mut client = RawClient::connect(address, "", true, login).await?;
        if !client.subscribe(&format!("{COMMANDS}/response"), 0).await? {
            bail!("the administrator may not read responses");
        }
        Ok(Self { client, asked: 0 })
    }

    /// Gives commands in one message and waits for the answers; an error if one of them is an error.
    pub async fn command(&mut self, commands: &[Value]) -> Result<Vec<Value>> {
        self.asked += 1;
        let mine = format!("{}", self.asked);
        let mut commands = commands.to_vec();
        for command in &mut commands {
            command["correlationData"] = json!(mine);
        }
        let payload = json!({"commands": commands}).to_string();
        self.client.publish(COMMANDS, &payload, 1, false).await?;
        loop {
            let answer = self
                .client
                .receive(Duration::from_secs(5))
                .await?
                .context("no response")?;
            let mut answer: Value = serde_json::from_slice(&answer.payload)?;
            let Some(responses) = answer["responses"].as_array_mut().map(std::mem::take) else {
                bail!("not responses: {answer}")
            };
            if responses
                .iter()
                .any(|response| response["correlationData"] != json!(mine))
            {
                continue;
            }
            if let Some(failed) = responses.iter().find(|response| response.get("error").is_some()) {
                bail!("{failed}");
            }
            return Ok(responses);
        }
    }

    /// Creates a user with a role of its own name.
    pub async fn create(&mut self, user: &str, rules: &[Value]) -> Result<()> {
        let commands = [
            json!({"command": "createRole", "rolename": user, "acls": rules}),
            json!({"command": "createClient", "username": user, "password": PASSWORD,
                   "roles": [{"rolename": user}]}),
        ];
        self.command(&commands).await.map(drop)
    }

    /// Fences a user: kicked and barred.
    pub async fn disable(&mut self, user: &str) -> Result<()> {
        let command = json!({"command": "disableClient", "username": user});
        self.command(&[command]).await.map(drop)
    }

    /// Lifts a fence.
    pub async fn enable(&mut self, user: &str) -> Result<()> {
        let command = json!({"command": "enableClient", "username": user});
        self.command(&[command]).await.map(drop)
    }
}
