//! A broker for tests, in this process: enough MQTT 3.1.1 for sessions, heartbeats and probes, enough 5.0 for who stands in
//! for a client, and the faults that a real one shows: nobody listening, a stopped process, a connection dropped. Fakes can
//! be bridged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Address;

#[derive(Default)]
struct Shared {
    clients: HashMap<String, Client>,
    bridges: Vec<Arc<FakeBroker>>,
    rejected: Option<String>,
    refuse_with: u8,
    /// Sent behind every CONNACK.
    greeting: Vec<u8>,
    /// A session is there.
    session_present: bool,
    /// What came: kind and flags, and the rest.
    heard: Vec<(u8, Vec<u8>)>,
    /// So many publishes more are answered and go nowhere.
    losing: usize,
    /// Answers to publishes that wait, if they do.
    withheld: Option<Vec<Answer>>,
}

/// Who is to be answered, and what.
type Answer = (mpsc::UnboundedSender<Vec<u8>>, Vec<u8>);

struct Client {
    filters: Vec<String>,
    sink: mpsc::UnboundedSender<Vec<u8>>,
}

/// The fake.
pub(crate) struct FakeBroker {
    shared: Arc<Mutex<Shared>>,
    port: u16,
    hung: watch::Sender<bool>,
    /// Counted up to drop all connections.
    dropped: watch::Sender<u64>,
    accepting: Mutex<Option<JoinHandle<()>>>,
    connects: watch::Sender<usize>,
    heard_more: watch::Sender<()>,
}

impl FakeBroker {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let broker = Arc::new(Self {
            shared: Arc::default(),
            port: listener.local_addr().unwrap().port(),
            hung: watch::channel(false).0,
            dropped: watch::channel(0).0,
            accepting: Mutex::new(None),
            connects: watch::channel(0).0,
            heard_more: watch::channel(()).0,
        });
        broker.accept(listener);
        broker
    }

    pub(crate) fn address(&self) -> Address {
        Address {
            host: "127.0.0.1".to_owned(),
            port: self.port,
        }
    }

    /// The process dies: connections break, nobody listens.
    pub(crate) async fn die(&self) {
        let task = self.accepting.lock().unwrap().take().unwrap();
        task.abort();
        let _ = task.await;
        self.drop_connections();
    }

    /// It is started again at the same address.
    pub(crate) async fn revive(self: &Arc<Self>) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.accept(listener);
    }

    /// SIGSTOP or SIGCONT: connections are accepted by the kernel, and nothing is read or answered.
    pub(crate) fn hang(&self, hung: bool) {
        self.hung.send_replace(hung);
    }

    pub(crate) fn drop_connections(&self) {
        self.dropped.send_modify(|count| *count += 1);
        self.shared.lock().unwrap().clients.clear();
    }

    /// Subscriptions of this filter are rejected.
    pub(crate) fn reject(&self, filter: &str) {
        self.shared.lock().unwrap().rejected = Some(filter.to_owned());
    }

    /// Connections are answered with this return code.
    pub(crate) fn refuse_with(&self, code: u8) {
        self.shared.lock().unwrap().refuse_with = code;
    }

    /// Whoever connects finds a session, and hears this first.
    pub(crate) fn greet_with(&self, packets: &[u8]) {
        let mut shared = self.shared.lock().unwrap();
        packets.clone_into(&mut shared.greeting);
        shared.session_present = true;
    }

    /// What came since the last time, once whoever connected has left: kind and flags of each packet, and the rest of it.
    pub(crate) async fn heard(&self) -> Vec<(u8, Vec<u8>)> {
        loop {
            let mut more = self.heard_more.subscribe();
            {
                let heard = &mut self.shared.lock().unwrap().heard;
                let count = |wanted| heard.iter().filter(|(kind, _)| kind >> 4 == wanted).count();
                if count(1) == count(14) {
                    return std::mem::take(heard);
                }
            }
            more.changed().await.unwrap();
        }
    }

    /// Waits until something has come, by kind and flags and the rest of the packet.
    pub(crate) async fn wait_heard(&self, wanted: impl Fn(u8, &[u8]) -> bool) {
        let mut more = self.heard_more.subscribe();
        let is_wanted = |(kind, body): &(u8, Vec<u8>)| wanted(*kind, body);
        while !self.shared.lock().unwrap().heard.iter().any(is_wanted) {
            more.changed().await.unwrap();
        }
    }

    /// What came by now.
    pub(crate) fn heard_so_far(&self) -> Vec<(u8, Vec<u8>)> {
        self.shared.lock().unwrap().heard.clone()
    }

    /// The next publishes are answered and go nowhere, as into a full queue.
    pub(crate) fn lose(&self, count: usize) {
        self.shared.lock().unwrap().losing = count;
    }

    /// Publishes are not answered from now on, or those that were not are, and all to come.
    pub(crate) fn withhold(&self, withhold: bool) {
        let mut shared = self.shared.lock().unwrap();
        for (sink, bytes) in shared.withheld.take().into_iter().flatten() {
            let _ = sink.send(bytes);
        }
        shared.withheld = withhold.then(Vec::new);
    }

    /// What is published here also goes to the other.
    pub(crate) fn bridge_to(&self, other: &Arc<Self>) {
        self.shared.lock().unwrap().bridges.push(other.clone());
    }

    pub(crate) fn unbridge(&self) {
        self.shared.lock().unwrap().bridges.clear();
    }

    pub(crate) fn clients(&self) -> Vec<String> {
        self.shared.lock().unwrap().clients.keys().cloned().collect()
    }

    /// How many connections were accepted so far, to be awaited.
    pub(crate) fn connects(&self) -> watch::Receiver<usize> {
        self.connects.subscribe()
    }

    pub(crate) fn publish(&self, topic: &str, payload: &[u8]) {
        let shared = self.shared.lock().unwrap();
        for client in shared.clients.values() {
            if client.filters.iter().any(|filter| matches(filter, topic)) {
                let _ = client.sink.send(publish_packet(topic, payload));
            }
        }
        for bridge in &shared.bridges {
            bridge.publish(topic, payload);
        }
    }

    fn accept(self: &Arc<Self>, listener: TcpListener) {
        let broker = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Some(broker) = broker.upgrade() else { return };
                broker.connects.send_modify(|count| *count += 1);
                let mut dropped = broker.dropped.subscribe();
                dropped.mark_unchanged();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = dropped.changed() => {}
                        _ = broker.serve(stream) => {}
                    }
                });
            }
        });
        *self.accepting.lock().unwrap() = Some(task);
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let (mut read, mut write) = stream.into_split();
        let (sink, mut queue) = mpsc::unbounded_channel::<Vec<u8>>();
        let mut id = String::new();
        let mut is_5 = false;
        let mut hung = self.hung.subscribe();
        let reading = async {
            loop {
                let _ = hung.wait_for(|hung| !hung).await;
                let (kind, body) = packet(&mut read).await?;
                let _ = hung.wait_for(|hung| !hung).await;
                self.handle(kind, &body, &mut id, &mut is_5, &sink);
            }
        };
        let writing = async {
            while let Some(bytes) = queue.recv().await {
                write.write_all(&bytes).await?;
            }
            Ok(())
        };
        tokio::select! {
            result = reading => result,
            result = writing => result,
        }
    }

    fn handle(
        &self,
        kind: u8,
        body: &[u8],
        id: &mut String,
        is_5: &mut bool,
        sink: &mpsc::UnboundedSender<Vec<u8>>,
    ) {
        let answer = |bytes: &[u8]| {
            let _ = sink.send(bytes.to_vec());
        };
        let mut shared = self.shared.lock().unwrap();
        shared.heard.push((kind, body.to_vec()));
        self.heard_more.send_replace(());
        match kind >> 4 {
            1 => {
                // Protocol name, level, flags, keep-alive: ten bytes; properties; then the client id.
                *is_5 = body[6] == 5;
                let after = behind_properties(*is_5, &body[10..]);
                *id = String::from_utf8(text(after).to_vec()).unwrap();
                let present = u8::from(shared.session_present);
                if *is_5 {
                    answer(&[0x20, 3, present, shared.refuse_with, 0]);
                } else {
                    answer(&[0x20, 2, present, shared.refuse_with]);
                }
                answer(&shared.greeting);
                if shared.refuse_with == 0 {
                    shared.clients.insert(
                        id.clone(),
                        Client {
                            filters: Vec::new(),
                            sink: sink.clone(),
                        },
                    );
                }
            }
            3 => {
                let topic = text(body);
                let rest = &body[2 + topic.len()..];
                let (packet_id, payload) = if kind & 0b110 == 0 {
                    (&rest[..0], rest)
                } else {
                    rest.split_at(2)
                };
                if let [high, low] = packet_id {
                    // PUBACK or PUBREC.
                    let first = if kind & 0b100 == 0 { 0x40 } else { 0x50 };
                    let bytes = [first, 2, *high, *low];
                    match &mut shared.withheld {
                        Some(withheld) => withheld.push((sink.clone(), bytes.to_vec())),
                        None => answer(&bytes),
                    }
                }
                let topic = std::str::from_utf8(topic).unwrap().to_owned();
                if shared.losing > 0 {
                    shared.losing -= 1;
                    return;
                }
                drop(shared);
                self.publish(&topic, payload);
            }
            // A PUBREC is answered with a PUBREL, and that with a PUBCOMP.
            5 => answer(&[0x62, 2, body[0], body[1]]),
            6 => answer(&[0x70, 2, body[0], body[1]]),
            8 => {
                let mut ack = vec![0x90, 0, body[0], body[1]];
                ack.extend(is_5.then_some(0));
                let mut rest = behind_properties(*is_5, &body[2..]);
                while !rest.is_empty() {
                    let filter = std::str::from_utf8(text(rest)).unwrap().to_owned();
                    rest = &rest[3 + filter.len()..];
                    let rejected = shared.rejected.as_ref() == Some(&filter);
                    ack.push(if rejected { 0x80 } else { 1 });
                    if let Some(client) = shared.clients.get_mut(id)
                        && !rejected
                    {
                        client.filters.push(filter);
                    }
                }
                ack[1] = u8::try_from(ack.len() - 2).unwrap();
                answer(&ack);
            }
            10 => {
                let mut ack = vec![0xb0, 0, body[0], body[1]];
                ack.extend(is_5.then_some(0));
                let mut rest = behind_properties(*is_5, &body[2..]);
                while !rest.is_empty() {
                    let filter = text(rest);
                    rest = &rest[2 + filter.len()..];
                    ack.extend(is_5.then_some(0));
                    if let Some(client) = shared.clients.get_mut(id) {
                        client.filters.retain(|known| known.as_bytes() != filter);
                    }
                }
                ack[1] = u8::try_from(ack.len() - 2).unwrap();
                answer(&ack);
            }
            12 => answer(&[0xd0, 0]),
            14 => {
                shared.clients.remove(id);
            }
            _ => {}
        }
    }
}

async fn packet(read: &mut OwnedReadHalf) -> std::io::Result<(u8, Vec<u8>)> {
    let kind = read.read_u8().await?;
    let (mut length, mut shift) = (0, 0);
    loop {
        let byte = read.read_u8().await?;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    Ok((kind, body))
}

fn publish_packet(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(&[0, 1]);
    body.extend_from_slice(payload);
    let mut packet = vec![0x32];
    let mut length = body.len();
    while length > 0x7f {
        packet.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    packet.push(u8::try_from(length).unwrap());
    packet.extend(body);
    packet
}

/// Short ones.
fn behind_properties(is_5: bool, bytes: &[u8]) -> &[u8] {
    if is_5 {
        &bytes[1 + usize::from(bytes[0])..]
    } else {
        bytes
    }
}

fn text(bytes: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    &bytes[2..2 + length]
}

/// Filters are topics, or end in `#`: enough here.
fn matches(filter: &str, topic: &str) -> bool {
    filter == topic
        || filter
            .strip_suffix('#')
            .is_some_and(|prefix| topic.starts_with(prefix))
}
