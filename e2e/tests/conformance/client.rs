//! A client of either protocol version that does what a case says and nothing by itself, but for acknowledgements, which
//! it can be told to withhold.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::codec;
use crate::packet::{Answer, Heard, Hello, Message, Received, Said, Version, Wish};

/// Far longer than a broker takes for anything, also with many cases at a time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Without a word.
    Closed,
    /// With a reason, as 5.0 gives one.
    Reason(u8),
}

/// One connection. What arrives while it waits for an answer is kept for [`Client::receive`].
pub(crate) struct Client {
    version: Version,
    stream: TcpStream,
    incoming: BytesMut,
    arrived: VecDeque<Received>,
    last_id: u16,
    withholding: bool,
    /// Whether the broker had a session of it.
    pub(crate) session_present: bool,
}

impl Client {
    pub(crate) async fn connect(address: &str, hello: &Hello) -> Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("cannot reach {address}"))?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            version: hello.version,
            stream,
            incoming: BytesMut::new(),
            arrived: VecDeque::new(),
            last_id: 0,
            withholding: false,
            session_present: false,
        };
        client.say(&[Said::Connect(hello)]).await?;
        match client.hear().await? {
            Heard::Connected {
                session_present,
                code: 0,
            } => client.session_present = session_present,
            other => bail!("{} was not let in: {other:?}", hello.client_id),
        }
        Ok(client)
    }

    /// From now on acknowledges nothing.
    pub(crate) fn withhold(&mut self) {
        self.withholding = true;
    }

    fn next_id(&mut self, qos: u8) -> u16 {
        if qos == 0 {
            return 0;
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    async fn say(&mut self, said: &[Said<'_>]) -> Result<()> {
        let mut outgoing = BytesMut::new();
        for said in said {
            codec::write(self.version, said, &mut outgoing)?;
        }
        let written = timeout(PATIENCE, self.stream.write_all(&outgoing)).await;
        Ok(written.context("the broker takes nothing")??)
    }

    /// The next packet; none if the broker closed the connection.
    async fn hear_or_end(&mut self) -> Result<Option<Heard>> {
        loop {
            if let Some(heard) = codec::read(self.version, &mut self.incoming)? {
                return Ok(Some(heard));
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.incoming)).await;
            match read.context("the broker says nothing")? {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn hear(&mut self) -> Result<Heard> {
        match self.hear_or_end().await? {
            Some(Heard::Disconnect(reason)) => {
                bail!("the broker ended the connection: {}", reason_name(reason))
            }
            Some(heard) => Ok(heard),
            None => bail!("the broker closed the connection"),
        }
    }

    /// Keeps a message, and acknowledges what is to be acknowledged.
    async fn take(&mut self, heard: Heard) -> Result<()> {
        let answer = match heard {
            Heard::Message(received) => {
                let answer = match received.qos {
                    0 => None,
                    1 => Some((Answer::Acknowledged, received.id)),
                    _ => Some((Answer::Received, received.id)),
                };
                self.arrived.push_back(*received);
                answer
            }
            Heard::Answer(Answer::Release, id, _) => Some((Answer::Complete, id)),
            _ => None,
        };
        match answer {
            Some((kind, id)) if !self.withholding => self.say(&[Said::Answer(kind, id)]).await,
            _ => Ok(()),
        }
    }

    /// Subscribes, and gives the QoS that was granted.
    pub(crate) async fn subscribe(&mut self, wish: &Wish) -> Result<u8> {
        let sent = self.next_id(1);
        self.say(&[Said::Subscribe(sent, wish)]).await?;
        loop {
            match self.hear().await? {
                Heard::Subscribed(id, code) if id == sent => {
                    ensure!(code <= 2, "{wish:?} is refused: {}", reason_name(code));
                    return Ok(code);
                }
                other => self.take(other).await?,
            }
        }
    }

    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> Result<()> {
        let sent = self.next_id(1);
        self.say(&[Said::Unsubscribe(sent, filter)]).await?;
        loop {
            match self.hear().await? {
                Heard::Unsubscribed(id) if id == sent => return Ok(()),
                other => self.take(other).await?,
            }
        }
    }

    /// Publishes, and waits until the broker has answered all that the QoS asks for; gives the first answer's reason. After
    /// a message with QoS 0 a ping tells that the broker has it.
    pub(crate) async fn publish(&mut self, message: &Message) -> Result<u8> {
        let reasons = self.publish_all(std::slice::from_ref(message)).await?;
        if message.qos == 0 {
            self.ping().await?;
        }
        Ok(reasons.first().copied().unwrap_or(0))
    }

    /// Publishes many without waiting in between, and waits for all answers. Gives the reasons of the first answers.
    pub(crate) async fn publish_all(&mut self, messages: &[Message]) -> Result<Vec<u8>> {
        let sent: Vec<u16> = messages.iter().map(|message| self.next_id(message.qos)).collect();
        let said: Vec<Said<'_>> = sent
            .iter()
            .zip(messages)
            .map(|(id, message)| Said::Publish(*id, message))
            .collect();
        self.say(&said).await?;
        let mut open = messages.iter().filter(|message| message.qos > 0).count();
        let mut reasons = Vec::new();
        while open > 0 {
            match self.hear().await? {
                Heard::Answer(Answer::Acknowledged, _, reason) => {
                    reasons.push(reason);
                    open -= 1;
                }
                Heard::Answer(Answer::Received, id, reason) => {
                    reasons.push(reason);
                    // Refused: there is nothing to release.
                    if reason >= 0x80 {
                        open -= 1;
                    } else {
                        self.say(&[Said::Answer(Answer::Release, id)]).await?;
                    }
                }
                Heard::Answer(Answer::Complete, ..) => open -= 1,
                other => self.take(other).await?,
            }
        }
        Ok(reasons)
    }

    /// Waits until the broker has handled all that was said.
    pub(crate) async fn ping(&mut self) -> Result<()> {
        self.say(&[Said::Ping]).await?;
        loop {
            match self.hear().await? {
                Heard::Pong => return Ok(()),
                other => self.take(other).await?,
            }
        }
    }

    /// The next message, however long that takes.
    pub(crate) async fn receive(&mut self) -> Result<Received> {
        let next = async {
            loop {
                if let Some(received) = self.arrived.pop_front() {
                    return Ok(received);
                }
                let heard = self.hear().await?;
                self.take(heard).await?;
            }
        };
        timeout(PATIENCE, next).await.context("no message comes")?
    }

    /// All messages before this one.
    pub(crate) async fn until(&mut self, end: &Message) -> Result<Vec<Received>> {
        let mut before = Vec::new();
        loop {
            let received = match self.receive().await {
                Ok(received) => received,
                Err(error) => {
                    let topics: Vec<String> = before.iter().map(|one: &Received| brief(&one.topic)).collect();
                    return Err(error)
                        .with_context(|| format!("awaiting {}, after {topics:?}", brief(&end.topic)));
                }
            };
            if received.topic != end.topic {
                before.push(received);
            } else if received.payload == end.payload {
                return Ok(before);
            }
            // Else a further copy of the end of something earlier.
        }
    }

    /// Waits until the broker ends the connection.
    pub(crate) async fn ended(&mut self) -> Result<End> {
        let mut end = End::Closed;
        loop {
            match self.hear_or_end().await? {
                Some(Heard::Disconnect(reason)) => end = End::Reason(reason),
                Some(heard) => self.take(heard).await?,
                None => return Ok(end),
            }
        }
    }

    /// Sends a message that the broker may answer by ending the connection; tells how it did, or nothing if it did not.
    pub(crate) async fn publish_or_end(&mut self, message: &Message) -> Result<Option<End>> {
        let sent = self.next_id(message.qos);
        // A broker that hangs up in the middle of it makes writing fail.
        let _ = self.say(&[Said::Publish(sent, message), Said::Ping]).await;
        let mut end = End::Closed;
        loop {
            match self.hear_or_end().await? {
                Some(Heard::Disconnect(reason)) => end = End::Reason(reason),
                Some(Heard::Pong) => return Ok(None),
                Some(Heard::Answer(Answer::Received, id, _)) => {
                    self.say(&[Said::Answer(Answer::Release, id)]).await?;
                }
                Some(_) => {}
                None => return Ok(Some(end)),
            }
        }
    }

    /// Leaves with DISCONNECT, and waits until the broker has seen it.
    pub(crate) async fn disconnect(self) -> Result<()> {
        self.disconnect_with(0).await
    }

    /// The same with a reason.
    pub(crate) async fn disconnect_with(mut self, reason: u8) -> Result<()> {
        self.say(&[Said::Disconnect(reason)]).await?;
        // Nothing may follow it.
        self.withhold();
        self.ended().await.map(|_| ())
    }

    /// Breaks the connection off without DISCONNECT.
    pub(crate) fn break_off(self) {
        drop(self);
    }
}

/// A reason of 5.0 in words.
pub(crate) fn reason_name(reason: u8) -> String {
    let name = match reason {
        0x00 => "success",
        0x10 => "no matching subscribers",
        0x82 => "protocol error",
        0x87 => "not authorized",
        0x8D => "keep alive timeout",
        0x8E => "session taken over",
        0x90 => "topic name invalid",
        0x95 => "packet too large",
        other => return format!("reason {other:#04x}"),
    };
    name.to_owned()
}

/// The beginning of a text that may be very long.
fn brief(text: &str) -> String {
    text.chars().take(80).collect()
}
