//! A client of MQTT 5.0 in the test's own hands.

#![allow(dead_code, reason = "each test uses some of it")]

use std::time::Duration;

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::Error as CodecError;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, Disconnect, DisconnectReasonCode, Filter, LastWill,
    LastWillProperties, Packet, PubAck, PubRec, Publish, Subscribe,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const QUIET: Duration = Duration::from_millis(200);
const SOON: Duration = Duration::from_secs(10);

/// Its connection.
pub(crate) struct Five {
    stream: TcpStream,
    incoming: BytesMut,
    pub(crate) session_present: bool,
}

impl Five {
    pub(crate) async fn connect(address: &str, client_id: &str, expiry: u32) -> Result<Self> {
        Self::connect_with(address, client_id, expiry, None).await
    }

    /// With a will on this topic, so many seconds after it is gone.
    pub(crate) async fn mortal(address: &str, client_id: &str, topic: &str, delay: u32) -> Result<Self> {
        let will = LastWill {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            message: Bytes::copy_from_slice(client_id.as_bytes()),
            qos: rumqttc::v5::mqttbytes::QoS::AtLeastOnce,
            retain: false,
            properties: Some(LastWillProperties {
                delay_interval: Some(delay),
                payload_format_indicator: None,
                message_expiry_interval: None,
                content_type: None,
                response_topic: None,
                correlation_data: None,
                user_properties: Vec::new(),
            }),
        };
        Self::connect_with(address, client_id, 60, Some(will)).await
    }

    async fn connect_with(
        address: &str,
        client_id: &str,
        expiry: u32,
        will: Option<LastWill>,
    ) -> Result<Self> {
        let mut properties = ConnectProperties::new();
        properties.session_expiry_interval = Some(expiry);
        let connect = Connect {
            keep_alive: 60,
            client_id: client_id.to_owned(),
            clean_start: false,
            properties: Some(properties),
        };
        let mut client = Self {
            stream: TcpStream::connect(address).await?,
            incoming: BytesMut::new(),
            session_present: false,
        };
        client.send(Packet::Connect(connect, will, None)).await?;
        let Packet::ConnAck(answer) = client.next().await? else {
            bail!("no CONNACK")
        };
        if answer.code != ConnectReturnCode::Success {
            bail!("refused: {:?}", answer.code);
        }
        client.session_present = answer.session_present;
        Ok(client)
    }

    async fn send(&mut self, packet: Packet) -> Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, None)?;
        Ok(self.stream.write_all(&bytes).await?)
    }

    async fn next(&mut self) -> Result<Packet> {
        loop {
            match Packet::read(&mut self.incoming, None) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(error.into()),
            }
            if self.stream.read_buf(&mut self.incoming).await? == 0 {
                bail!("closed");
            }
        }
    }

    /// All that comes until the broker is silent, acknowledged.
    pub(crate) async fn take(&mut self) -> Result<Vec<Publish>> {
        let mut taken = Vec::new();
        while let Ok(packet) = timeout(QUIET, self.next()).await {
            if let Packet::Publish(publish) = packet? {
                let id = publish.pkid;
                if publish.qos == rumqttc::v5::mqttbytes::QoS::AtLeastOnce {
                    self.send(Packet::PubAck(PubAck::new(id, None))).await?;
                } else if publish.qos == rumqttc::v5::mqttbytes::QoS::ExactlyOnce {
                    self.send(Packet::PubRec(PubRec::new(id, None))).await?;
                }
                taken.push(publish);
            }
        }
        Ok(taken)
    }

    /// Subscribes at QoS 1, and gives nothing but what comes later.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<()> {
        let filter = Filter::new(filter.to_owned(), rumqttc::v5::mqttbytes::QoS::AtLeastOnce);
        let mut subscribe = Subscribe::new_many([filter], None);
        subscribe.pkid = 1;
        self.send(Packet::Subscribe(subscribe)).await?;
        self.take().await.map(drop)
    }

    /// Publishes, and gives what comes before the acknowledgement.
    pub(crate) async fn publish(&mut self, topic: &str) -> Result<Vec<Publish>> {
        let mut came = Vec::new();
        let mut publish = Publish::new(topic, rumqttc::v5::mqttbytes::QoS::AtLeastOnce, "own", None);
        publish.pkid = 1;
        self.send(Packet::Publish(publish)).await?;
        loop {
            match timeout(SOON, self.next()).await?? {
                Packet::PubAck(_) => return Ok(came),
                Packet::Publish(publish) => came.push(publish),
                _ => {}
            }
        }
    }

    pub(crate) async fn leave(mut self) -> Result<()> {
        let reason = DisconnectReasonCode::NormalDisconnection;
        self.send(Packet::Disconnect(Disconnect::new(reason))).await
    }
}
