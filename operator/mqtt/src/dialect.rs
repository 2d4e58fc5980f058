//! What a stand-in says and what it hears, as bytes, in both versions of MQTT. Knows no sockets and no sessions.

use bytes::BytesMut;
use rumqttc::mqttbytes::{self, Error, v4};
use rumqttc::v5::mqttbytes::v5;
use rumqttc::{PacketType, QoS, v5::mqttbytes::QoS as QoS5};

use crate::session::{PACKET_LIMIT, Qos, SessionError};

/// The same limit for the other codec.
#[allow(clippy::cast_possible_truncation, reason = "it has 28 bits")]
const LIMIT_5: Option<u32> = Some(PACKET_LIMIT as u32);

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// 3.1.1.
    V3_1_1,
    /// 5.0.
    V5 {
        /// Seconds that the session outlives the connection: all ones is for ever.
        expiry: u32,
    },
}

/// What is subscribed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) filter: String,
    pub(crate) qos: Qos,
    /// 5.0 alone has the following.
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
}

/// What a stand-in asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Over 5.0 no retained message is sent for it; over 3.1.1 there is no identifier.
    Subscribe {
        wanted: Vec<Wanted>,
        identifier: Option<u32>,
    },
    Unsubscribe(Vec<String>),
}

/// A step of an exchange about a message that we published at QoS 1 or 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is to be released (QoS 2).
    Received,
    /// The exchange is over.
    Done,
}

/// What a broker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Connected {
        /// There was a session.
        resumed: bool,
        /// Messages at QoS 1 and 2 that may be under way to the broker at once.
        window: u16,
    },
    Refused(&'static str),
    Asked {
        number: u16,
        /// Which of the filters it rejects, if any.
        rejected: Option<usize>,
    },
    /// To a message of ours.
    Published {
        number: u16,
        step: Step,
        /// Why it is not taken, as 5.0 calls it.
        rejected: Option<String>,
    },
    /// It is alive, and has seen to all that came before the question.
    Alive,
    /// It ends the connection, for this reason (3.14.2.1 of 5.0).
    Ended(u8),
    /// To somebody else, or a message.
    Foreign,
}

impl Dialect {
    pub(crate) fn connect(
        self,
        client_id: &str,
        clean: bool,
        keep_alive: u16,
        credentials: Option<&(String, String)>,
    ) -> Result<BytesMut, SessionError> {
        match self {
            Self::V3_1_1 => {
                let mut connect = v4::Connect::new(client_id);
                connect.clean_session = clean;
                connect.keep_alive = keep_alive;
                connect.login =
                    credentials.map(|(user, password)| v4::Login::new(user.clone(), password.clone()));
                written(&v4::Packet::Connect(connect))
            }
            Self::V5 { expiry } => {
                let mut properties = v5::ConnectProperties::new();
                properties.session_expiry_interval = Some(expiry);
                // Nothing is acknowledged, so of what waits one message is sent and no more.
                properties.receive_maximum = Some(1);
                let connect = v5::Connect {
                    keep_alive,
                    client_id: client_id.to_owned(),
                    clean_start: clean,
                    properties: Some(properties),
                };
                let login =
                    credentials.map(|(user, password)| v5::Login::new(user.clone(), password.clone()));
                written_5(&v5::Packet::Connect(connect, None, login))
            }
        }
    }

    pub(crate) fn request(self, request: &Request, number: u16) -> Result<BytesMut, SessionError> {
        match (self, request) {
            (Self::V3_1_1, Request::Subscribe { wanted, .. }) => {
                let filters = wanted
                    .iter()
                    .map(|wanted| v4::SubscribeFilter::new(wanted.filter.clone(), level(wanted.qos)));
                let mut subscribe = v4::Subscribe::new_many(filters);
                subscribe.pkid = number;
                written(&v4::Packet::Subscribe(subscribe))
            }
            (Self::V3_1_1, Request::Unsubscribe(filters)) => {
                written(&v4::Packet::Unsubscribe(v4::Unsubscribe {
                    pkid: number,
                    topics: filters.clone(),
                }))
            }
            (Self::V5 { .. }, Request::Subscribe { wanted, identifier }) => {
                let filters = wanted.iter().map(|wanted| v5::Filter {
                    path: wanted.filter.clone(),
                    qos: level_5(wanted.qos),
                    nolocal: wanted.no_local,
                    preserve_retain: wanted.retain_as_published,
                    retain_forward_rule: v5::RetainForwardRule::Never,
                });
                let properties = identifier.map(|identifier| v5::SubscribeProperties {
                    id: usize::try_from(identifier).ok(),
                    user_properties: Vec::new(),
                });
                let mut subscribe = v5::Subscribe::new_many(filters, properties);
                subscribe.pkid = number;
                written_5(&v5::Packet::Subscribe(subscribe))
            }
            (Self::V5 { .. }, Request::Unsubscribe(filters)) => {
                written_5(&v5::Packet::Unsubscribe(v5::Unsubscribe {
                    pkid: number,
                    filters: filters.clone(),
                    properties: None,
                }))
            }
        }
    }

    /// The end of a connection, which both say alike.
    pub(crate) fn disconnect() -> &'static [u8] {
        &[0xE0, 0]
    }

    /// Takes the next packet off what has come, if there is a whole one, and tells what it answers. What is none is not read.
    pub(crate) fn take(self, incoming: &mut BytesMut) -> Result<Option<Answer>, SessionError> {
        let Some((kind, mut frame)) = take_frame(incoming)? else {
            return Ok(None);
        };
        let answer = match kind {
            PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck => match self {
                Self::V3_1_1 => answer(read(&mut frame)?),
                Self::V5 { .. } => answer_5(read_5(&mut frame)?),
            },
            PacketType::PubAck | PacketType::PubRec | PacketType::PubComp
                if matches!(self, Self::V5 { .. }) =>
            {
                answer_5(read_5(&mut frame)?)
            }
            PacketType::PingResp => Answer::Alive,
            PacketType::Disconnect => Answer::Ended(frame.get(2).copied().unwrap_or_default()),
            _ => Answer::Foreign,
        };
        Ok(Some(answer))
    }
}

/// Takes the next packet of 3.1.1 off what has come, if there is a whole one, whatever it is.
pub(crate) fn take_packet(incoming: &mut BytesMut) -> Result<Option<v4::Packet>, SessionError> {
    match take_frame(incoming)? {
        Some((_, mut frame)) => read(&mut frame).map(Some),
        None => Ok(None),
    }
}

/// Packets of 3.1.1, one behind the other.
pub(crate) fn packets(packets: &[v4::Packet]) -> Result<BytesMut, SessionError> {
    let mut bytes = BytesMut::new();
    for packet in packets {
        packet
            .write(&mut bytes, PACKET_LIMIT)
            .map_err(|error| invalid(&error))?;
    }
    Ok(bytes)
}

/// A whole packet, with its head.
fn take_frame(incoming: &mut BytesMut) -> Result<Option<(PacketType, BytesMut)>, SessionError> {
    let head = match mqttbytes::check(incoming.iter(), PACKET_LIMIT) {
        Ok(head) => head,
        Err(Error::InsufficientBytes(_)) => return Ok(None),
        Err(error) => return Err(closed(&error)),
    };
    let kind = head.packet_type().map_err(|error| closed(&error))?;
    Ok(Some((kind, incoming.split_to(head.frame_length()))))
}

fn read(frame: &mut BytesMut) -> Result<v4::Packet, SessionError> {
    v4::Packet::read(frame, PACKET_LIMIT).map_err(|error| closed(&error))
}

fn read_5(frame: &mut BytesMut) -> Result<v5::Packet, SessionError> {
    v5::Packet::read(frame, LIMIT_5).map_err(|error| closed(&error))
}

fn answer(packet: v4::Packet) -> Answer {
    match packet {
        v4::Packet::ConnAck(answer) => match answer.code {
            v4::ConnectReturnCode::Success => Answer::Connected {
                resumed: answer.session_present,
                window: u16::MAX,
            },
            v4::ConnectReturnCode::BadClientId => Answer::Refused(BAD_ID),
            v4::ConnectReturnCode::BadUserNamePassword | v4::ConnectReturnCode::NotAuthorized => {
                Answer::Refused(BAD_USER)
            }
            _ => Answer::Refused(UNAVAILABLE),
        },
        v4::Packet::SubAck(answer) => Answer::Asked {
            number: answer.pkid,
            rejected: answer
                .return_codes
                .iter()
                .position(|code| *code == v4::SubscribeReasonCode::Failure),
        },
        v4::Packet::UnsubAck(answer) => Answer::Asked {
            number: answer.pkid,
            rejected: None,
        },
        _ => Answer::Foreign,
    }
}

fn answer_5(packet: v5::Packet) -> Answer {
    match packet {
        v5::Packet::ConnAck(answer) => match answer.code {
            v5::ConnectReturnCode::Success => Answer::Connected {
                resumed: answer.session_present,
                window: answer
                    .properties
                    .and_then(|properties| properties.receive_max)
                    .unwrap_or(u16::MAX),
            },
            v5::ConnectReturnCode::ClientIdentifierNotValid => Answer::Refused(BAD_ID),
            v5::ConnectReturnCode::BadUserNamePassword
            | v5::ConnectReturnCode::NotAuthorized
            | v5::ConnectReturnCode::Banned => Answer::Refused(BAD_USER),
            _ => Answer::Refused(UNAVAILABLE),
        },
        v5::Packet::SubAck(answer) => Answer::Asked {
            number: answer.pkid,
            rejected: answer
                .return_codes
                .iter()
                .position(|code| !matches!(code, v5::SubscribeReasonCode::Success(_))),
        },
        v5::Packet::UnsubAck(answer) => Answer::Asked {
            number: answer.pkid,
            rejected: answer.reasons.iter().position(|reason| {
                !matches!(
                    reason,
                    v5::UnsubAckReason::Success | v5::UnsubAckReason::NoSubscriptionExisted
                )
            }),
        },
        v5::Packet::PubAck(answer) => Answer::Published {
            number: answer.pkid,
            step: Step::Done,
            rejected: match answer.reason {
                v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers => None,
                reason => Some(format!("{reason:?}")),
            },
        },
        v5::Packet::PubRec(answer) => match answer.reason {
            v5::PubRecReason::Success | v5::PubRecReason::NoMatchingSubscribers => Answer::Published {
                number: answer.pkid,
                step: Step::Received,
                rejected: None,
            },
            reason => Answer::Published {
                number: answer.pkid,
                step: Step::Done,
                rejected: Some(format!("{reason:?}")),
            },
        },
        v5::Packet::PubComp(answer) => Answer::Published {
            number: answer.pkid,
            step: Step::Done,
            rejected: None,
        },
        _ => Answer::Foreign,
    }
}

const BAD_ID: &str = "it does not take the client id";
const BAD_USER: &str = "it does not know the user, or bars it";
const UNAVAILABLE: &str = "it is not available";

fn written(packet: &v4::Packet) -> Result<BytesMut, SessionError> {
    packets(std::slice::from_ref(packet))
}

fn written_5(packet: &v5::Packet) -> Result<BytesMut, SessionError> {
    let mut bytes = BytesMut::new();
    write_5(packet, &mut bytes)?;
    Ok(bytes)
}

/// Writes a packet of 5.0 behind others.
pub(crate) fn write_5(packet: &v5::Packet, bytes: &mut BytesMut) -> Result<(), SessionError> {
    packet
        .write(bytes, LIMIT_5)
        .map(drop)
        .map_err(|error| invalid(&error))
}

fn invalid(error: &impl ToString) -> SessionError {
    SessionError::Invalid(error.to_string())
}

fn closed(error: &impl ToString) -> SessionError {
    SessionError::Closed(error.to_string())
}

pub(crate) fn level(qos: Qos) -> QoS {
    match qos {
        Qos::AtMostOnce => QoS::AtMostOnce,
        Qos::AtLeastOnce => QoS::AtLeastOnce,
        Qos::ExactlyOnce => QoS::ExactlyOnce,
    }
}

pub(crate) fn quality(level: QoS) -> Qos {
    match level {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

pub(crate) fn level_5(qos: Qos) -> QoS5 {
    match qos {
        Qos::AtMostOnce => QoS5::AtMostOnce,
        Qos::AtLeastOnce => QoS5::AtLeastOnce,
        Qos::ExactlyOnce => QoS5::ExactlyOnce,
    }
}
