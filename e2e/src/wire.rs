//! One MQTT 3.1.1 client connection that comes back by itself. It knows sockets, time and packets (`rumqttc`'s codec);
//! what to say is up to a [`Role`].
//!
//! The session state is kept here in the tests, not in `rumqttc`'s event loop, because a ledger must know exactly which
//! message was acknowledged, and what to repeat on a resumed and on a fresh session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{Connect, ConnectReturnCode, Packet, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RECONNECT_INTERVAL: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(2);
const PING_INTERVAL: Duration = Duration::from_millis(500);
/// A broker that says nothing for so long is taken for hung, and the connection is opened anew.
const SILENCE: Duration = Duration::from_secs(2);
/// A broker closes the connection of a client that said goodbye well within this.
const GOODBYE: Duration = Duration::from_millis(500);
const MAX_PACKET: usize = 16 << 20;

/// What a client says and makes of what it hears. No I/O.
pub(crate) trait Role: Send + 'static {
    /// Its client id.
    fn client_id(&self) -> &str;
    /// Whether its session ends with the connection.
    fn clean_session(&self) -> bool;
    /// It is connected: what to send first.
    fn connected(&mut self, session_present: bool) -> Vec<Packet>;
    /// It heard something: what to answer.
    fn heard(&mut self, packet: Packet, now: Instant) -> Vec<Packet>;
    /// Called every few milliseconds, connected or not: what to send now.
    fn due(&mut self, connected: bool, now: Instant) -> Vec<Packet>;
}

/// Whether a client is to be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is.
    Here,
    /// It says goodbye, and hears the broker out: what has no acknowledgement and was on its way arrives.
    Left,
    /// It is gone without a word, as after a power cut.
    Gone,
}

/// A client that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Client<R> {
    role: Arc<Mutex<R>>,
    presence: watch::Sender<Presence>,
    task: JoinHandle<()>,
}

impl<R: Role> Client<R> {
    pub(crate) fn start(address: &str, role: R) -> Self {
        let role = Arc::new(Mutex::new(role));
        let (presence, receiver) = watch::channel(Presence::Here);
        let task = tokio::spawn(run(address.to_owned(), Arc::clone(&role), receiver));
        Self { role, presence, task }
    }

    /// Looks at or changes the role.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut R) -> T) -> T {
        look(&mut self.role.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Disconnects, or connects again.
    pub(crate) fn set_presence(&self, presence: Presence) {
        self.presence.send_replace(presence);
    }
}

impl<R> Drop for Client<R> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<R: Role>(address: String, role: Arc<Mutex<R>>, mut presence: watch::Receiver<Presence>) {
    let with = || role.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if *presence.borrow_and_update() != Presence::Here {
            if presence.changed().await.is_err() {
                return;
            }
            continue;
        }
        let mut connect = Connect::new(with().client_id());
        connect.clean_session = with().clean_session();
        connect.keep_alive = 10;
        let opened = timeout(CONNECT_TIMEOUT, Wire::open(&address, connect)).await;
        if let Ok(Ok((wire, session_present))) = opened {
            // However the connection ends, the next one takes up the same role.
            let _ = talk(wire, session_present, &role, &mut presence).await;
        }
        with().due(false, Instant::now());
        tokio::time::sleep(RECONNECT_INTERVAL).await;
    }
}

async fn talk<R: Role>(
    mut wire: Wire,
    session_present: bool,
    role: &Mutex<R>,
    presence: &mut watch::Receiver<Presence>,
) -> Result<()> {
    let with = || role.lock().unwrap_or_else(PoisonError::into_inner);
    let first = with().connected(session_present);
    wire.send(&first).await?;
    let mut tick = tokio::time::interval(TICK);
    let mut heard = Instant::now();
    let mut pinged = Instant::now();
    loop {
        tokio::select! {
            packet = wire.receive() => {
                heard = Instant::now();
                let answers = with().heard(packet?, heard);
                wire.send(&answers).await?;
            }
            _ = tick.tick() => {
                let now = Instant::now();
                if now - heard > SILENCE {
                    bail!("the broker is silent");
                }
                let mut due = with().due(true, now);
                if now - pinged > PING_INTERVAL {
                    pinged = now;
                    due.push(Packet::PingReq);
                }
                wire.send(&due).await?;
            }
            changed = presence.changed() => {
                let presence = *presence.borrow();
                if changed.is_err() || presence == Presence::Left {
                    wire.send(&[Packet::Disconnect]).await?;
                    return hear_out(wire, role).await;
                }
                if presence == Presence::Gone {
                    return Ok(());
                }
            }
        }
    }
}

/// Takes what was on its way and nobody acknowledges; of the rest the broker keeps account.
async fn hear_out<R: Role>(mut wire: Wire, role: &Mutex<R>) -> Result<()> {
    while let Ok(packet) = timeout(GOODBYE, wire.receive()).await {
        if let Packet::Publish(publish) = packet?
            && publish.qos == QoS::AtMostOnce
        {
            let mut role = role.lock().unwrap_or_else(PoisonError::into_inner);
            role.heard(Packet::Publish(publish), Instant::now());
        }
    }
    Ok(())
}

/// A socket that speaks packets.
pub(crate) struct Wire {
    stream: TcpStream,
    incoming: BytesMut,
}

impl Wire {
    /// Connects, and tells whether the broker had a session.
    pub(crate) async fn open(address: &str, connect: Connect) -> Result<(Self, bool)> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        let mut wire = Self {
            stream,
            incoming: BytesMut::with_capacity(64 << 10),
        };
        wire.send(&[Packet::Connect(connect)]).await?;
        match wire.receive().await? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok((wire, ack.session_present)),
            other => bail!("{address} refused the connection: {other:?}"),
        }
    }

    /// Sends packets in one write.
    pub(crate) async fn send(&mut self, packets: &[Packet]) -> Result<()> {
        if packets.is_empty() {
            return Ok(());
        }
        let mut outgoing = BytesMut::new();
        for packet in packets {
            packet
                .write(&mut outgoing, MAX_PACKET)
                .map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        timeout(SILENCE, self.stream.write_all(&outgoing))
            .await
            .context("the broker takes nothing")??;
        Ok(())
    }

    /// The next packet. May be cancelled without losing anything.
    pub(crate) async fn receive(&mut self) -> Result<Packet> {
        loop {
            match Packet::read(&mut self.incoming, MAX_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => bail!("not MQTT: {error}"),
            }
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
    }
}
