//! Stands in for another client for a moment: takes its session over, asks for what is to be changed in it, and leaves.
//!
//! Packet by packet and not over [`crate::session`]: a session that is resumed may go on with any exchange that its client
//! had begun, such as the release of a message that only that client knows. A client library takes that for a mistake and
//! ends; here all that is not an answer is passed over, and nothing is acknowledged. Who wants to do otherwise, as `adopting`,
//! takes the packets themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Address;
use crate::dialect::{self, Answer, Dialect, Request};
use crate::session::SessionError;

/// How long the broker may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What is said at least once in so many seconds, or the broker takes us for gone.
pub(crate) const KEEP_ALIVE: u16 = 30;

/// Bytes read at once.
const READ: usize = 64 << 10;

/// Requests under way at once.
const AT_ONCE: usize = 32;

/// For whom to stand in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Role<'a> {
    /// Where the broker is.
    pub(crate) address: &'a Address,
    /// User name and password, if it asks for them.
    pub(crate) credentials: Option<&'a (String, String)>,
    /// A live client that has this is kicked.
    pub(crate) client_id: &'a str,
}

/// A connection under somebody else's client id.
pub(crate) struct StandIn {
    stream: TcpStream,
    dialect: Dialect,
    incoming: BytesMut,
    /// There was a session.
    pub(crate) resumed: bool,
    /// Messages at QoS 1 and 2 that may be under way to the broker at once.
    pub(crate) window: u16,
}

impl StandIn {
    /// Connects; `clean` ends the session that is there.
    pub(crate) async fn connect(role: Role<'_>, dialect: Dialect, clean: bool) -> Result<Self, SessionError> {
        in_time(async {
            let address = (role.address.host.as_str(), role.address.port);
            let stream = TcpStream::connect(address)
                .await
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => SessionError::Refused,
                    _ => SessionError::Io(error),
                })?;
            stream.set_nodelay(true).map_err(SessionError::Io)?;
            let mut stand_in = Self {
                stream,
                dialect,
                incoming: BytesMut::new(),
                resumed: false,
                window: 0,
            };
            let connect = dialect.connect(role.client_id, clean, KEEP_ALIVE, role.credentials)?;
            stand_in.send(&connect).await?;
            match stand_in.next().await? {
                Answer::Connected { resumed, window } => {
                    stand_in.resumed = resumed;
                    stand_in.window = window;
                    Ok(stand_in)
                }
                Answer::Refused(why) => Err(SessionError::Rejected(why)),
                other => Err(SessionError::Closed(format!("{other:?} instead of CONNACK"))),
            }
        })
        .await
    }

    /// Sends requests, some at once, and waits until the broker has done each.
    pub(crate) async fn ask(&mut self, requests: &[Request]) -> Result<(), SessionError> {
        for requests in requests.chunks(AT_ONCE) {
            in_time(self.ask_some(requests)).await?;
        }
        Ok(())
    }

    async fn ask_some(&mut self, requests: &[Request]) -> Result<(), SessionError> {
        let mut open = BTreeMap::new();
        for (number, request) in (1..).zip(requests) {
            self.send(&self.dialect.request(request, number)?).await?;
            open.insert(number, request);
        }
        while !open.is_empty() {
            if let Answer::Asked { number, rejected } = self.next().await?
                && let Some(request) = open.remove(&number)
                && let Some(rejected) = rejected
            {
                let filter = match request {
                    Request::Subscribe { wanted, .. } => wanted.get(rejected).map(|wanted| &wanted.filter),
                    Request::Unsubscribe(filters) => filters.get(rejected),
                };
                return Err(SessionError::SubscriptionRejected(
                    filter.cloned().unwrap_or_default(),
                ));
            }
        }
        Ok(())
    }

    /// Sends packets of 3.1.1 at once.
    pub(crate) async fn say(&mut self, packets: &[Packet]) -> Result<(), SessionError> {
        if packets.is_empty() {
            return Ok(());
        }
        let bytes = dialect::packets(packets)?;
        in_time(self.send(&bytes)).await
    }

    /// Sends packets that are written down already.
    pub(crate) async fn say_written(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        in_time(self.send(bytes)).await
    }

    /// The next answer to us.
    pub(crate) async fn answer(&mut self) -> Result<Answer, SessionError> {
        in_time(self.next()).await
    }

    /// The same, if it is there already.
    pub(crate) fn answer_at_hand(&mut self) -> Result<Option<Answer>, SessionError> {
        self.take()
    }

    /// The next packet of 3.1.1, whatever it is and however long it takes. Dropping the future loses nothing.
    pub(crate) async fn packet(&mut self) -> Result<Packet, SessionError> {
        loop {
            if let Some(packet) = self.packet_at_hand()? {
                return Ok(packet);
            }
            self.read().await?;
        }
    }

    /// The same, if it is there already.
    pub(crate) fn packet_at_hand(&mut self) -> Result<Option<Packet>, SessionError> {
        dialect::take_packet(&mut self.incoming)
    }

    /// Leaves with a word.
    pub(crate) async fn leave(mut self) -> Result<(), SessionError> {
        in_time(async {
            self.send(Dialect::disconnect()).await?;
            self.stream.shutdown().await.map_err(SessionError::Io)
        })
        .await
    }

    /// Leaves with a word while the broker still has much to say. An end at once would be a reset, by which what we said last,
    /// and it has not read, is lost.
    pub(crate) async fn leave_early(mut self) -> Result<(), SessionError> {
        in_time(async {
            self.send(Dialect::disconnect()).await?;
            self.stream.shutdown().await.map_err(SessionError::Io)?;
            while self.read().await.is_ok() {
                self.incoming.clear();
            }
            Ok(())
        })
        .await
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        self.stream.write_all(bytes).await.map_err(SessionError::Io)
    }

    async fn next(&mut self) -> Result<Answer, SessionError> {
        loop {
            if let Some(answer) = self.take()? {
                return Ok(answer);
            }
            self.read().await?;
        }
    }

    fn take(&mut self) -> Result<Option<Answer>, SessionError> {
        loop {
            match self.dialect.take(&mut self.incoming)? {
                Some(Answer::Foreign) => {}
                Some(Answer::Ended(reason)) => {
                    return Err(SessionError::Closed(format!(
                        "the broker ended it with reason {reason:#04x}"
                    )));
                }
                other => return Ok(other),
            }
        }
    }

    async fn read(&mut self) -> Result<(), SessionError> {
        // By itself a buffer grows by some bytes and no more. What was taken of it may still be in use, so that not all of it
        // can be had back.
        if self.incoming.capacity() - self.incoming.len() < READ / 16 {
            self.incoming.reserve(READ);
        }
        let read = self.stream.read_buf(&mut self.incoming).await;
        if read.map_err(SessionError::Io)? == 0 {
            return Err(SessionError::Closed("the broker closed it".to_owned()));
        }
        Ok(())
    }
}

async fn in_time<T>(what: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
    tokio::time::timeout(PATIENCE, what)
        .await
        .unwrap_or(Err(SessionError::TimedOut(PATIENCE)))
}
