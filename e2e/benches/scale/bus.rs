//! The MQTT of many brokers, spoken by one process: what is published under `$skein/` at any of them arrives at all that subscribe
//! that topic, as if bridges led everywhere at once; all else stays where it is. Dynamic security answers as far as Skein asks it.
//! No wildcards, nothing retained, nothing queued.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What dynamic security is asked, and answers.
const COMMANDS: &str = "$CONTROL/dynamic-security/v1";
const RESPONSES: &str = "$CONTROL/dynamic-security/v1/response";
/// What is everywhere at once.
const EVERYWHERE: &str = "$skein/";

/// Users of a broker, and whether each is barred.
pub(crate) type Users = BTreeMap<String, bool>;

type Frames = mpsc::UnboundedSender<Vec<u8>>;

/// All brokers: the address that a client connects to tells which one it means.
#[derive(Default)]
pub(crate) struct Bus(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    /// By topic; connections, and where they are.
    subscribers: HashMap<String, BTreeMap<u64, (IpAddr, Frames)>>,
    /// Sessions that were left.
    sessions: BTreeSet<(IpAddr, String)>,
    users: HashMap<IpAddr, Users>,
    published: u64,
}

/// A connection's client.
struct Client {
    number: u64,
    at: IpAddr,
    is_5: bool,
    frames: Frames,
    topics: BTreeSet<String>,
}

impl Bus {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What dynamic security begins with at a broker.
    pub(crate) fn begin(&self, at: IpAddr, users: Users) {
        self.state().users.entry(at).or_insert(users);
    }

    /// How many messages were published so far.
    pub(crate) fn published(&self) -> u64 {
        self.state().published
    }

    /// Serves for ever.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let bus = self.clone();
            tokio::spawn(async move { drop(bus.client(stream).await) });
        }
    }

    async fn client(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let at = stream.local_addr()?.ip();
        let (read, mut write) = stream.into_split();
        let mut read = BufReader::new(read);
        let (frames, mut outgoing) = mpsc::unbounded_channel::<Vec<u8>>();
        let writing = tokio::spawn(async move {
            while let Some(mut bytes) = outgoing.recv().await {
                while let Ok(more) = outgoing.try_recv() {
                    bytes.extend(more);
                }
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        let (kind, body) = packet(&mut read).await?;
        if kind >> 4 != 1 {
            bail!("no CONNECT");
        }
        let mut client = self.connect(at, &body, frames)?;
        let ended = self.converse(&mut client, &mut read).await;
        self.forget(&client);
        drop(client);
        let _ = writing.await;
        ended
    }

    fn forget(&self, client: &Client) {
        let mut state = self.state();
        for topic in &client.topics {
            if let Some(subscribers) = state.subscribers.get_mut(topic) {
                subscribers.remove(&client.number);
            }
        }
    }

    fn connect(&self, at: IpAddr, body: &[u8], frames: Frames) -> Result<Client> {
        let mut rest = Rest(body);
        rest.text()?;
        let (level, flags) = (rest.byte()?, rest.byte()?);
        rest.take(2)?;
        let is_5 = level == 5;
        if is_5 {
            rest.properties()?;
        }
        let client_id = rest.text()?;
        let mut state = self.state();
        state.next += 1;
        let number = state.next;
        let is_clean = flags & 2 != 0;
        let key = (at, client_id);
        let resumed = !is_clean && state.sessions.contains(&key);
        if is_clean {
            state.sessions.remove(&key);
        } else {
            state.sessions.insert(key);
        }
        let resumed = u8::from(resumed);
        let answer = if is_5 {
            vec![0x20, 3, resumed, 0, 0]
        } else {
            vec![0x20, 2, resumed, 0]
        };
        let _ = frames.send(answer);
        Ok(Client {
            number,
            at,
            is_5,
            frames,
            topics: BTreeSet::new(),
        })
    }

    async fn converse(&self, client: &mut Client, read: &mut BufReader<OwnedReadHalf>) -> Result<()> {
        loop {
            let (kind, body) = packet(read).await?;
            let mut rest = Rest(&body);
            let answer = match kind >> 4 {
                3 => {
                    let qos = kind >> 1 & 3;
                    let topic = rest.text()?;
                    let number = if qos > 0 {
                        rest.take(2)?.to_vec()
                    } else {
                        Vec::new()
                    };
                    if client.is_5 {
                        rest.properties()?;
                    }
                    self.published_by(client, &topic, rest.0);
                    match qos {
                        0 => continue,
                        1 => [&[0x40, 2], number.as_slice()].concat(),
                        _ => [&[0x50, 2], number.as_slice()].concat(),
                    }
                }
                // PUBREL
                6 => [&[0x70, 2], rest.take(2)?].concat(),
                8 => {
                    let number = rest.number(client.is_5)?;
                    let mut granted = Vec::new();
                    while !rest.0.is_empty() {
                        let topic = rest.text()?;
                        granted.push(rest.byte()? & 3);
                        self.subscribe(client, topic);
                    }
                    acknowledged(0x90, client.is_5, &number, &granted)
                }
                10 => {
                    let number = rest.number(client.is_5)?;
                    let mut done = Vec::new();
                    while !rest.0.is_empty() {
                        let topic = rest.text()?;
                        client.topics.remove(&topic);
                        if let Some(subscribers) = self.state().subscribers.get_mut(&topic) {
                            subscribers.remove(&client.number);
                        }
                        done.push(0);
                    }
                    let done = if client.is_5 { done } else { Vec::new() };
                    acknowledged(0xb0, client.is_5, &number, &done)
                }
                12 => vec![0xd0, 0],
                14 => return Ok(()),
                _ => continue,
            };
            client.frames.send(answer).context("it has left")?;
        }
    }

    fn subscribe(&self, client: &mut Client, topic: String) {
        let here = (client.at, client.frames.clone());
        let mut state = self.state();
        let subscribers = state.subscribers.entry(topic.clone()).or_default();
        subscribers.insert(client.number, here);
        client.topics.insert(topic);
    }

    fn published_by(&self, client: &Client, topic: &str, payload: &[u8]) {
        let mut state = self.state();
        state.published += 1;
        if topic == COMMANDS {
            let users = state.users.entry(client.at).or_default();
            let answer = administered(users, payload).to_string();
            let _ = client
                .frames
                .send(message(client.is_5, RESPONSES, answer.as_bytes()));
            return;
        }
        let subscribers = state.subscribers.get(topic).into_iter().flatten();
        let everywhere = topic.starts_with(EVERYWHERE);
        for (_, (_, frames)) in subscribers.filter(|(_, (at, _))| everywhere || *at == client.at) {
            // Who probes speaks 3.1.1.
            let _ = frames.send(message(false, topic, payload));
        }
    }
}

/// What dynamic security answers.
fn administered(users: &mut Users, payload: &[u8]) -> Value {
    let asked: Value = serde_json::from_slice(payload).unwrap_or_default();
    let commands = asked["commands"].as_array().cloned().unwrap_or_default();
    let answer = |command: &Value| {
        let name = command["command"].as_str().unwrap_or_default();
        let mut answer = json!({"command": name, "correlationData": command["correlationData"]});
        let user = command["username"].as_str().unwrap_or_default().to_owned();
        match name {
            "listClients" => {
                let clients: Vec<Value> = users
                    .iter()
                    .map(|(user, disabled)| json!({"username": user, "disabled": disabled}))
                    .collect();
                answer["data"] = json!({"totalCount": clients.len(), "clients": clients});
            }
            "createClient" => drop(users.entry(user).or_insert(false)),
            "disableClient" | "enableClient" => match users.get_mut(&user) {
                Some(barred) => *barred = name == "disableClient",
                None => answer["error"] = json!("Client not found"),
            },
            _ => {}
        }
        answer
    };
    let responses: Vec<Value> = commands.iter().map(answer).collect();
    json!({ "responses": responses })
}

fn acknowledged(kind: u8, is_5: bool, number: &[u8], codes: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if is_5 { &[0] } else { &[] };
    let body = [number, properties, codes].concat();
    frame(kind, &body)
}

/// A message at QoS 0.
fn message(is_5: bool, topic: &str, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap_or(u16::MAX).to_be_bytes();
    let properties: &[u8] = if is_5 { &[0] } else { &[] };
    frame(0x30, &[&length, topic.as_bytes(), properties, payload].concat())
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut left = body.len();
    loop {
        let low = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        bytes.push(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

async fn packet(read: &mut BufReader<OwnedReadHalf>) -> Result<(u8, Vec<u8>)> {
    let kind = read.read_u8().await?;
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let byte = read.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// What is left of a packet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .context("a packet that is too short")?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn text(&mut self) -> Result<String> {
        let length = u16::from_be_bytes(self.take(2)?.try_into()?);
        Ok(String::from_utf8(self.take(usize::from(length))?.to_vec())?)
    }

    /// That of a packet, behind which those of 5.0 have properties.
    fn number(&mut self, is_5: bool) -> Result<Vec<u8>> {
        let number = self.take(2)?.to_vec();
        if is_5 {
            self.properties()?;
        }
        Ok(number)
    }

    /// Skips them.
    fn properties(&mut self) -> Result<()> {
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        self.take(length).map(drop)
    }
}
