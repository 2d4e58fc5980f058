//! A client in a script's hands: connects once, does what it is told, keeps what comes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{Connect, Packet, PubAck, PubComp, PubRec, PubRel, Publish, QoS, Subscribe, Unsubscribe};
use skein_e2e::wait_until;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const LARGEST: usize = 1 << 20;
/// For what must come; nobody waits that long where it does.
const SOON: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Seen {
    /// What came: the text, with `!` for a retain flag.
    heard: Vec<String>,
    /// Packet identifiers that were answered in full.
    done: BTreeSet<u16>,
    /// It releases nothing by itself.
    holds: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    seen: Arc<Mutex<Seen>>,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    reader: JoinHandle<()>,
    next_id: u16,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Client {
    pub(crate) async fn connect(address: &str, id: &str, clean: bool, silent: bool) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(tokio::sync::Mutex::new(writer));
        let mut connect = Connect::new(id);
        connect.clean_session = clean;
        connect.keep_alive = 60;
        send(&writer, &Packet::Connect(connect)).await?;
        let mut incoming = BytesMut::new();
        let answer = timeout(SOON, receive(&mut reader, &mut incoming))
            .await
            .context("no CONNACK")??;
        if !matches!(answer, Packet::ConnAck(_)) {
            bail!("{answer:?} instead of CONNACK");
        }
        let seen = Arc::new(Mutex::new(Seen::default()));
        let reader = tokio::spawn(read(
            reader,
            incoming,
            Arc::clone(&writer),
            Arc::clone(&seen),
            silent,
        ));
        Ok(Self {
            seen,
            writer,
            reader,
            next_id: 0,
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request and waits until it is answered.
    async fn ask(&mut self, make: impl FnOnce(u16) -> Packet) -> Result<()> {
        self.next_id += 1;
        let id = self.next_id;
        send(&self.writer, &make(id)).await?;
        self.answered(id).await
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        let mut subscribe = Subscribe::new(filter, level(qos));
        self.ask(|id| {
            subscribe.pkid = id;
            Packet::Subscribe(subscribe)
        })
        .await
    }

    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> Result<()> {
        let mut unsubscribe = Unsubscribe::new(filter);
        self.ask(|id| {
            unsubscribe.pkid = id;
            Packet::Unsubscribe(unsubscribe)
        })
        .await
    }

    pub(crate) async fn publish(&mut self, topic: &str, qos: u8, text: &str, retain: bool) -> Result<()> {
        let text = if text == "-" { "" } else { text };
        let mut publish = Publish::new(topic, level(qos), text);
        publish.retain = retain;
        if qos == 0 {
            return send(&self.writer, &Packet::Publish(publish)).await;
        }
        self.ask(|id| {
            publish.pkid = id;
            Packet::Publish(publish)
        })
        .await
    }

    /// Publishes with QoS 2, waits for PUBREC, and leaves it at that.
    pub(crate) async fn begin(&mut self, topic: &str, text: &str, id: u16) -> Result<()> {
        self.with(|seen| seen.holds = true);
        let mut publish = Publish::new(topic, QoS::ExactlyOnce, text);
        publish.pkid = id;
        send(&self.writer, &Packet::Publish(publish)).await?;
        self.answered(id).await?;
        self.with(|seen| seen.done.remove(&id));
        Ok(())
    }

    /// Releases what was begun, on whichever connection, and waits until all is completed.
    pub(crate) async fn release(&mut self, ids: &[u16]) -> Result<()> {
        for id in ids {
            send(&self.writer, &Packet::PubRel(PubRel::new(*id))).await?;
            self.answered(*id).await?;
        }
        Ok(())
    }

    async fn answered(&self, id: u16) -> Result<()> {
        wait_until("an answer", SOON, async || {
            self.with(|seen| seen.done.contains(&id))
        })
        .await
    }

    /// Ends the connection with a word.
    pub(crate) async fn leave(self) -> Result<()> {
        send(&self.writer, &Packet::Disconnect).await?;
        self.writer.lock().await.shutdown().await?;
        Ok(())
    }

    /// All that came, once so many messages came and no more do.
    pub(crate) async fn take(&self, count: usize) -> Vec<String> {
        let length = || self.with(|seen| seen.heard.len());
        let enough = wait_until("messages", SOON, async || length() >= count).await;
        // What must not come has as much time as a link takes to come back.
        let quiet = if count == 0 || enough.is_err() { 2500 } else { 700 };
        tokio::time::sleep(Duration::from_millis(quiet)).await;
        self.with(|seen| std::mem::take(&mut seen.heard))
    }
}

fn level(qos: u8) -> QoS {
    rumqttc::qos(qos).unwrap_or(QoS::AtMostOnce)
}

async fn send(writer: &tokio::sync::Mutex<OwnedWriteHalf>, packet: &Packet) -> Result<()> {
    let mut bytes = BytesMut::new();
    packet
        .write(&mut bytes, LARGEST)
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    writer.lock().await.write_all(&bytes).await?;
    Ok(())
}

async fn receive(reader: &mut OwnedReadHalf, incoming: &mut BytesMut) -> Result<Packet> {
    loop {
        match Packet::read(incoming, LARGEST) {
            Ok(packet) => return Ok(packet),
            Err(CodecError::InsufficientBytes(_)) => {}
            Err(error) => bail!("not MQTT: {error}"),
        }
        if reader.read_buf(incoming).await? == 0 {
            bail!("the broker closed the connection");
        }
    }
}

async fn read(
    mut reader: OwnedReadHalf,
    mut incoming: BytesMut,
    writer: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    seen: Arc<Mutex<Seen>>,
    silent: bool,
) {
    let mut unreleased = BTreeSet::new();
    while let Ok(packet) = receive(&mut reader, &mut incoming).await {
        let mut answer = None;
        {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match packet {
                Packet::SubAck(ack) => drop(seen.done.insert(ack.pkid)),
                Packet::UnsubAck(ack) => drop(seen.done.insert(ack.pkid)),
                Packet::PubAck(ack) => drop(seen.done.insert(ack.pkid)),
                Packet::PubComp(ack) => drop(seen.done.insert(ack.pkid)),
                Packet::PubRec(got) if seen.holds => drop(seen.done.insert(got.pkid)),
                Packet::PubRec(got) => answer = Some(Packet::PubRel(PubRel::new(got.pkid))),
                Packet::PubRel(release) => {
                    unreleased.remove(&release.pkid);
                    answer = Some(Packet::PubComp(PubComp::new(release.pkid)));
                }
                Packet::Publish(publish) => {
                    let again = publish.qos == QoS::ExactlyOnce && unreleased.contains(&publish.pkid);
                    if !again {
                        let text = String::from_utf8_lossy(&publish.payload).into_owned();
                        let text = if text.is_empty() { "-".to_owned() } else { text };
                        seen.heard
                            .push(if publish.retain { format!("{text}!") } else { text });
                    }
                    answer = match publish.qos {
                        _ if silent => None,
                        QoS::AtMostOnce => None,
                        QoS::AtLeastOnce => Some(Packet::PubAck(PubAck::new(publish.pkid))),
                        QoS::ExactlyOnce => {
                            unreleased.insert(publish.pkid);
                            Some(Packet::PubRec(PubRec::new(publish.pkid)))
                        }
                    };
                }
                _ => {}
            }
        }
        if let Some(answer) = answer
            && send(&writer, &answer).await.is_err()
        {
            return;
        }
    }
}
