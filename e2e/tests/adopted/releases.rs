//! Messages of QoS 2 that b had received and u had not released when b was lost: which they are, and how b is made to pass
//! them on. u sends the release of each to whoever resumes b's session, and b awaits it from u; a packet identifier is all
//! that there is to it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{ConnAck, Connect, ConnectReturnCode, Login, Packet, PubRel, QoS, SubAck, SubscribeReasonCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Member, SESSION};
use crate::rendered::SOON;

const LARGEST: usize = 1 << 20;
const QUIET: Duration = Duration::from_millis(300);

struct Packets {
    stream: TcpStream,
    incoming: BytesMut,
}

impl Packets {
    fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            incoming: BytesMut::new(),
        }
    }

    async fn send(&mut self, packet: Packet) -> Result<()> {
        let mut bytes = BytesMut::new();
        let written = packet.write(&mut bytes, LARGEST);
        written.map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(self.stream.write_all(&bytes).await?)
    }

    async fn next(&mut self) -> Result<Packet> {
        loop {
            match Packet::read(&mut self.incoming, LARGEST) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => bail!("not MQTT: {error}"),
            }
            ensure!(self.stream.read_buf(&mut self.incoming).await? > 0, "closed");
        }
    }

    /// Reads a packet that the codec does not know: a bridge's CONNECT.
    async fn skip(&mut self) -> Result<()> {
        self.stream.read_u8().await?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        self.stream.read_exact(&mut vec![0; length]).await?;
        Ok(())
    }
}

/// What u releases in b's session, by packet identifier. Nothing is acknowledged.
pub(crate) async fn begun(u: &Member) -> Result<Vec<u16>> {
    let mut packets = Packets::new(TcpStream::connect(u.running.address()).await?);
    let mut connect = Connect::new(SESSION);
    connect.clean_session = false;
    connect.login = u.skein().map(|(user, password)| Login::new(user, password));
    packets.send(Packet::Connect(connect)).await?;
    let mut released = Vec::new();
    while let Ok(packet) = timeout(QUIET, packets.next()).await {
        if let Packet::PubRel(release) = packet? {
            released.push(release.pkid);
        }
    }
    packets.send(Packet::Disconnect).await?;
    Ok(released)
}

/// Takes u's place for b's bridge for as long as it takes to release messages. It has none itself.
pub(crate) struct Releaser(TcpListener);

impl Releaser {
    pub(crate) async fn start() -> Result<Self> {
        Ok(Self(TcpListener::bind("127.0.0.1:0").await?))
    }

    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// Returns when b has completed all.
    pub(crate) async fn release(self, begun: &[u16]) -> Result<()> {
        let done = timeout(SOON, self.release_in_time(begun)).await;
        done.context("b does not complete what is released")?
    }

    async fn release_in_time(self, begun: &[u16]) -> Result<()> {
        let mut packets = Packets::new(self.0.accept().await?.0);
        packets.skip().await?;
        let resumed = ConnAck {
            session_present: true,
            code: ConnectReturnCode::Success,
        };
        packets.send(Packet::ConnAck(resumed)).await?;
        for id in begun {
            packets.send(Packet::PubRel(PubRel::new(*id))).await?;
        }
        let mut completed = 0;
        while completed < begun.len() {
            match packets.next().await? {
                Packet::PubComp(_) => completed += 1,
                Packet::Subscribe(subscribe) => {
                    let granted = vec![SubscribeReasonCode::Success(QoS::ExactlyOnce)];
                    let answer = SubAck::new(subscribe.pkid, granted);
                    packets.send(Packet::SubAck(answer)).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}
