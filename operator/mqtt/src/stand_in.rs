//! Stands in for another client for a moment: takes its session over, asks for what is to be changed in it, and leaves.
//!
//! Packet by packet and not over [`crate::session`]: a session that is resumed may go on with any exchange that its client
//! had begun, such as the release of a message that only that client knows. A client library takes that for a mistake and
//! ends; here all that is not an answer is passed over, and nothing is acknowledged.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{Connect, ConnectReturnCode, Login, Packet, SubscribeReasonCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Address;
use crate::session::{PACKET_LIMIT, SessionError};

/// How long the broker may take for anything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests under way at once.
pub(crate) const AT_ONCE: usize = 32;

/// A connection under somebody else's client id.
pub(crate) struct StandIn {
    stream: TcpStream,
    incoming: BytesMut,
    /// There was a session.
    pub(crate) resumed: bool,
}

impl StandIn {
    /// Connects; a live client that has the id is kicked.
    pub(crate) async fn connect(
        address: &Address,
        credentials: Option<&(String, String)>,
        client_id: &str,
        clean_session: bool,
    ) -> Result<Self, SessionError> {
        in_time(async {
            let stream = TcpStream::connect((address.host.as_str(), address.port))
                .await
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::ConnectionRefused => SessionError::Refused,
                    _ => SessionError::Io(error),
                })?;
            stream.set_nodelay(true).map_err(SessionError::Io)?;
            let mut connect = Connect::new(client_id);
            connect.clean_session = clean_session;
            connect.keep_alive = 2 * u16::try_from(PATIENCE.as_secs()).unwrap_or(u16::MAX / 2);
            connect.login = credentials.map(|(user, password)| Login::new(user.clone(), password.clone()));
            let mut stand_in = Self {
                stream,
                incoming: BytesMut::new(),
                resumed: false,
            };
            stand_in.send(&Packet::Connect(connect)).await?;
            match stand_in.next().await? {
                Packet::ConnAck(answer) if answer.code == ConnectReturnCode::Success => {
                    stand_in.resumed = answer.session_present;
                    Ok(stand_in)
                }
                Packet::ConnAck(answer) => Err(SessionError::Rejected(match answer.code {
                    ConnectReturnCode::BadClientId => "it does not take the client id",
                    ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                        "it does not know the user, or bars it"
                    }
                    _ => "it is not available",
                })),
                other => Err(SessionError::Closed(format!("{other:?} instead of CONNACK"))),
            }
        })
        .await
    }

    /// Sends requests and waits until the broker has answered each.
    pub(crate) async fn ask(&mut self, requests: Vec<Packet>) -> Result<(), SessionError> {
        in_time(async {
            let mut open = BTreeSet::new();
            for (number, mut request) in (1..).zip(requests) {
                match &mut request {
                    Packet::Subscribe(subscribe) => subscribe.pkid = number,
                    Packet::Unsubscribe(unsubscribe) => unsubscribe.pkid = number,
                    _ => continue,
                }
                self.send(&request).await?;
                open.insert(number);
            }
            while !open.is_empty() {
                match self.next().await? {
                    Packet::SubAck(answer) => {
                        if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                            let number = answer.pkid;
                            return Err(SessionError::SubscriptionRejected(format!("request {number}")));
                        }
                        open.remove(&answer.pkid);
                    }
                    Packet::UnsubAck(answer) => {
                        open.remove(&answer.pkid);
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await
    }

    /// Leaves with a word.
    pub(crate) async fn leave(mut self) -> Result<(), SessionError> {
        in_time(async {
            self.send(&Packet::Disconnect).await?;
            self.stream.shutdown().await.map_err(SessionError::Io)
        })
        .await
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), SessionError> {
        let mut bytes = BytesMut::new();
        packet
            .write(&mut bytes, PACKET_LIMIT)
            .map_err(|error| SessionError::Invalid(error.to_string()))?;
        self.stream.write_all(&bytes).await.map_err(SessionError::Io)
    }

    async fn next(&mut self) -> Result<Packet, SessionError> {
        loop {
            match Packet::read(&mut self.incoming, PACKET_LIMIT) {
                Ok(packet) => return Ok(packet),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(error) => return Err(SessionError::Closed(error.to_string())),
            }
            let read = self.stream.read_buf(&mut self.incoming).await;
            if read.map_err(SessionError::Io)? == 0 {
                return Err(SessionError::Closed("the broker closed it".to_owned()));
            }
        }
    }
}

async fn in_time<T>(what: impl Future<Output = Result<T, SessionError>>) -> Result<T, SessionError> {
    tokio::time::timeout(PATIENCE, what)
        .await
        .unwrap_or(Err(SessionError::TimedOut(PATIENCE)))
}
