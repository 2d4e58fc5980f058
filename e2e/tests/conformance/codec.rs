//! Packets of both protocol versions as bytes. It knows no sockets.
//!
//! Most packets are the same few bytes in both versions; CONNECT, PUBLISH and subscriptions go through `rumqttc`'s codecs.

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rumqttc::v5::mqttbytes as codec5;
use rumqttc::v5::mqttbytes::v5;
use rumqttc::{self as v3, QoS};

use crate::packet::{Answer, Heard, Hello, Message, Properties, Received, Said, Version};

const MOST: usize = 256 << 20;

fn three<T, E: std::fmt::Debug>(result: Result<T, E>) -> Result<T> {
    result.map_err(|error| anyhow::anyhow!("{error:?}"))
}

fn quality(qos: u8) -> Result<QoS> {
    three(rumqttc::qos(qos))
}

fn quality5(qos: u8) -> Result<codec5::QoS> {
    codec5::qos(qos).with_context(|| format!("no QoS {qos}"))
}

/// Appends a packet.
pub(crate) fn write(version: Version, said: &Said<'_>, to: &mut BytesMut) -> Result<()> {
    match (said, version) {
        (Said::Connect(hello), _) => return write_connect(hello, to),
        (Said::Publish(id, message), Version::Three) => {
            let qos = quality(message.qos)?;
            let mut publish = v3::Publish::from_bytes(&message.topic, qos, message.payload.clone());
            publish.pkid = *id;
            publish.retain = message.retain;
            three(publish.write(to))?;
        }
        (Said::Publish(id, message), Version::Five) => {
            let properties = Some(message.properties.clone());
            let qos = quality5(message.qos)?;
            let mut publish = v5::Publish::new(&message.topic, qos, message.payload.clone(), properties);
            publish.pkid = *id;
            publish.retain = message.retain;
            three(publish.write(to))?;
        }
        (Said::Subscribe(id, wish), Version::Three) => {
            let mut subscribe = v3::Subscribe::new(&wish.filter, quality(wish.qos)?);
            subscribe.pkid = *id;
            three(subscribe.write(to))?;
        }
        (Said::Subscribe(id, wish), Version::Five) => {
            let mut filter = v5::Filter::new(&wish.filter, quality5(wish.qos)?);
            filter.nolocal = wish.no_local;
            filter.preserve_retain = wish.as_published;
            filter.retain_forward_rule = wish.retained.clone();
            let properties = wish.identifier.map(|id| v5::SubscribeProperties {
                id: Some(id),
                user_properties: Vec::new(),
            });
            let mut subscribe = v5::Subscribe::new(filter, properties);
            subscribe.pkid = *id;
            three(subscribe.write(to))?;
        }
        (Said::Unsubscribe(id, filter), Version::Three) => {
            let mut unsubscribe = v3::Unsubscribe::new(*filter);
            unsubscribe.pkid = *id;
            three(unsubscribe.write(to))?;
        }
        (Said::Unsubscribe(id, filter), Version::Five) => {
            let mut unsubscribe = v5::Unsubscribe::new(*filter, None);
            unsubscribe.pkid = *id;
            three(unsubscribe.write(to))?;
        }
        (Said::Answer(kind, id), _) => {
            let flags = u8::from(*kind == Answer::Release) << 1;
            to.put_slice(&[(*kind as u8) << 4 | flags, 2]);
            to.put_u16(*id);
        }
        (Said::Ping, _) => to.put_slice(&[0xC0, 0]),
        (Said::Disconnect(reason), Version::Five) if *reason != 0 => to.put_slice(&[0xE0, 1, *reason]),
        (Said::Disconnect(_), _) => to.put_slice(&[0xE0, 0]),
    }
    Ok(())
}

fn write_connect(hello: &Hello, to: &mut BytesMut) -> Result<()> {
    let will = hello.will.as_ref();
    match hello.version {
        Version::Three => {
            let mut connect = v3::Connect::new(&hello.client_id);
            connect.clean_session = hello.clean;
            connect.keep_alive = hello.keep_alive;
            connect.last_will = match will {
                Some(will) => Some(v3::LastWill::new(
                    &will.topic,
                    will.payload.to_vec(),
                    quality(will.qos)?,
                    will.retain,
                )),
                None => None,
            };
            three(connect.write(to))?;
        }
        Version::Five => {
            let mut properties = v5::ConnectProperties::new();
            properties.session_expiry_interval = hello.expiry;
            let connect = v5::Connect {
                keep_alive: hello.keep_alive,
                client_id: hello.client_id.clone(),
                clean_start: hello.clean,
                properties: Some(properties),
            };
            let will = match will {
                Some(will) => {
                    let properties = v5::LastWillProperties {
                        delay_interval: hello.will_delay,
                        payload_format_indicator: None,
                        message_expiry_interval: None,
                        content_type: None,
                        response_topic: None,
                        correlation_data: None,
                        user_properties: will.properties.user_properties.clone(),
                    };
                    Some(v5::LastWill {
                        topic: Bytes::from(will.topic.clone()),
                        message: will.payload.clone(),
                        qos: quality5(will.qos)?,
                        retain: will.retain,
                        properties: Some(properties),
                    })
                }
                None => None,
            };
            three(connect.write(&will, &None, to))?;
        }
    }
    Ok(())
}

/// Takes the first packet, if all of it is there.
pub(crate) fn read(version: Version, from: &mut BytesMut) -> Result<Option<Heard>> {
    let Some(length) = frame_length(from)? else {
        return Ok(None);
    };
    let kind = from[0] >> 4;
    let mut frame = from.split_to(length);
    if kind == 3 {
        return Ok(Some(Heard::Message(Box::new(read_message(version, &mut frame)?))));
    }
    // Behind the fixed header: none of these packets is long, unless it has properties that nobody here reads.
    let body = &frame[if frame[1] < 0x80 { 2 } else { 3 }..];
    let id = || Ok::<_, anyhow::Error>(u16::from_be_bytes([*at(body, 0)?, *at(body, 1)?]));
    // In 5.0 the reason may be left out, if it is "success".
    let reason = body.get(2).copied().unwrap_or(0);
    let answer = |answer| Ok::<_, anyhow::Error>(Heard::Answer(answer, id()?, reason));
    let heard = match kind {
        2 => Heard::Connected {
            session_present: at(body, 0)? & 1 == 1,
            code: *at(body, 1)?,
        },
        4 => answer(Answer::Acknowledged)?,
        5 => answer(Answer::Received)?,
        6 => answer(Answer::Release)?,
        7 => answer(Answer::Complete)?,
        // One filter was asked for, so the last byte is its answer.
        9 => Heard::Subscribed(id()?, *body.last().context("an empty SUBACK")?),
        11 => Heard::Unsubscribed(id()?),
        13 => Heard::Pong,
        14 => Heard::Disconnect(body.first().copied().unwrap_or(0)),
        other => bail!("packet type {other} is not for clients"),
    };
    Ok(Some(heard))
}

fn at(body: &[u8], index: usize) -> Result<&u8> {
    body.get(index).context("a packet that ends too early")
}

/// How long the first packet is, once enough of it is there to tell and then all of it.
fn frame_length(from: &BytesMut) -> Result<Option<usize>> {
    let mut remaining = 0;
    for index in 1..=4 {
        let Some(byte) = from.get(index) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7F) << (7 * (index - 1));
        if byte & 0x80 == 0 {
            let length = 1 + index + remaining;
            return Ok((from.remaining() >= length).then_some(length));
        }
    }
    bail!("a packet without a length")
}

fn read_message(version: Version, frame: &mut BytesMut) -> Result<Received> {
    let received = match version {
        Version::Three => match three(v3::Packet::read(frame, MOST))? {
            v3::Packet::Publish(publish) => Received {
                dup: publish.dup,
                id: publish.pkid,
                message: Message {
                    topic: publish.topic,
                    payload: publish.payload,
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    properties: Properties::default(),
                },
            },
            other => bail!("{other:?} is no PUBLISH"),
        },
        Version::Five => match three(v5::Packet::read(frame, None))? {
            v5::Packet::Publish(publish) => Received {
                dup: publish.dup,
                id: publish.pkid,
                message: Message {
                    topic: String::from_utf8(publish.topic.to_vec())?,
                    payload: publish.payload,
                    qos: publish.qos as u8,
                    retain: publish.retain,
                    properties: publish.properties.unwrap_or_default(),
                },
            },
            other => bail!("{other:?} is no PUBLISH"),
        },
    };
    Ok(received)
}
