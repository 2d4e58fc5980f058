//! How a classic store lies in its file: a head, then chunks. Bounds of everything are checked, nothing is believed; no
//! sessions here.
//!
//! Formats 5 (Mosquitto 1.6) and 6 (2.0 and 2.1): 15 bytes of magic, 4 that are 0, the format (4). Each chunk is its kind (4),
//! its length without these 8 bytes (4), a head of fixed length, and what has the lengths told there. Numbers are big-endian
//! but for those of messages, times and the kind-1 head, which are as the broker's machine writes them.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use skein_api::name::Qos;

use crate::place::CLASSIC_MAGIC;

/// Why reading ended.
#[derive(Debug)]
pub(super) enum Fault {
    System(io::Error),
    NoStore,
    Format { found: u32, newer: bool },
    Damaged { offset: u64, what: &'static str },
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// What a chunk says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Message(Message),
    Client {
        client_id: String,
        username: Option<String>,
        interval: u32,
        expires_at: i64,
    },
    Queued {
        client_id: String,
        message: u64,
        direction: Direction,
    },
    Subscription {
        client_id: String,
        filter: String,
        qos: Qos,
        options: u8,
        identifier: u32,
    },
    Retained {
        message: u64,
    },
    /// Settings of the store, or a kind that is not known: the broker passes over those, too.
    Other,
}

/// A message, whoever it is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) expires_at: i64,
    pub(super) qos: Qos,
    pub(super) bytes: u32,
    /// Of those that [`Chunks::name_topics_of`] asks for.
    pub(super) topic: Option<String>,
    /// The client id of who published it, of the same ones; none if nobody did.
    pub(super) source: Option<String>,
    /// If asked for by the topic.
    pub(super) payload: Option<Vec<u8>>,
}

/// Which way a message goes, seen from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// The chunks of a store, one after the other.
#[derive(Debug)]
pub(super) struct Chunks<'a, R> {
    input: &'a mut BufReader<R>,
    format: u32,
    /// Where the next byte is, where the chunk ends, and where the file does.
    at: u64,
    end: u64,
    length: u64,
    topics: BTreeSet<u64>,
}

const HEAD: u64 = 23;

impl<'a, R: Read + Seek> Chunks<'a, R> {
    /// Begins at the beginning.
    pub(super) fn of(input: &'a mut BufReader<R>) -> Result<Self, Fault> {
        let length = input.seek(SeekFrom::End(0))?;
        input.seek(SeekFrom::Start(0))?;
        let mut chunks = Self {
            input,
            format: 0,
            at: 0,
            end: length.min(HEAD),
            length,
            topics: BTreeSet::new(),
        };
        if length < 15 || chunks.array::<15>()? != *CLASSIC_MAGIC {
            return Err(Fault::NoStore);
        }
        chunks.skip(4)?;
        chunks.format = chunks.u32()?;
        match chunks.format {
            5 | 6 => Ok(chunks),
            found => Err(Fault::Format {
                found,
                newer: found > 6,
            }),
        }
    }

    /// Gives the topics and sources of these messages from now on.
    pub(super) fn name_topics_of(&mut self, messages: BTreeSet<u64>) {
        self.topics = messages;
    }

    /// Where the last chunk ended.
    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The next chunk. Of messages whose topics are to be named, those get their payload for whose topic the function says so.
    pub(super) fn next(
        &mut self,
        with_payload: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Option<Chunk>, Fault> {
        self.skip(self.end - self.at)?;
        if self.at == self.length {
            return Ok(None);
        }
        self.end = self.length;
        let kind = self.u32()?;
        let length = u64::from(self.u32()?);
        if length > self.length - self.at {
            return Err(self.damaged("the file ends before its last chunk does"));
        }
        self.end = self.at + length;
        Ok(Some(match kind {
            1 => self.settings()?,
            2 => self.message(with_payload)?,
            3 => self.queued()?,
            4 => Chunk::Retained {
                message: u64::from_ne_bytes(self.array()?),
            },
            5 => self.subscription()?,
            6 => self.client()?,
            _ => Chunk::Other,
        }))
    }

    /// The last number given to a message (8), whether the broker was ending (1), the size of such numbers (1).
    fn settings(&mut self) -> Result<Chunk, Fault> {
        self.skip(9)?;
        if self.u8()? != 8 {
            return Err(self.damaged("messages are not numbered with 8 bytes"));
        }
        Ok(Chunk::Other)
    }

    fn message(&mut self, with_payload: &mut dyn FnMut(&str) -> bool) -> Result<Chunk, Fault> {
        let number = u64::from_ne_bytes(self.array()?);
        let expires_at = i64::from_ne_bytes(self.array()?);
        let bytes = self.u32()?;
        self.skip(2)?; // The publisher's packet identifier.
        let client_id = self.u16()?;
        let username = self.u16()?;
        let topic = self.u16()?;
        self.skip(2)?; // The listener's port.
        let qos = self.qos()?;
        self.skip(1)?; // Whether it was published with the retain flag, which does not mean that it is retained now.
        let mut message = Message {
            number,
            expires_at,
            qos,
            bytes,
            topic: None,
            source: None,
            payload: None,
        };
        if self.topics.contains(&number) {
            message.source = Some(self.text(client_id)?).filter(|source| !source.is_empty());
            self.skip(u64::from(username))?;
            let topic = self.text(topic)?;
            if with_payload(&topic) {
                message.payload = Some(self.bytes(u64::from(bytes))?);
            } else {
                self.skip(u64::from(bytes))?;
            }
            message.topic = Some(topic);
        } else {
            self.skip(u64::from(client_id) + u64::from(username) + u64::from(topic) + u64::from(bytes))?;
        }
        Ok(Chunk::Message(message))
    }

    fn queued(&mut self) -> Result<Chunk, Fault> {
        let message = u64::from_ne_bytes(self.array()?);
        self.skip(2)?; // The packet identifier.
        let client_id = self.u16()?;
        self.skip(3)?; // QoS, state, and the flags retain and dup.
        let direction = match self.u8()? {
            0 => Direction::In,
            1 => Direction::Out,
            _ => return Err(self.damaged("a message goes neither in nor out")),
        };
        Ok(Chunk::Queued {
            client_id: self.text(client_id)?,
            message,
            direction,
        })
    }

    fn subscription(&mut self) -> Result<Chunk, Fault> {
        let identifier = self.u32()?;
        let client_id = self.u16()?;
        let filter = self.u16()?;
        let qos = self.qos()?;
        let options = self.u8()?;
        self.skip(2)?;
        Ok(Chunk::Subscription {
            client_id: self.text(client_id)?,
            filter: self.text(filter)?,
            qos,
            options,
            identifier,
        })
    }

    fn client(&mut self) -> Result<Chunk, Fault> {
        let expires_at = i64::from_ne_bytes(self.array()?);
        let interval = self.u32()?;
        self.skip(2)?; // The last packet identifier.
        let client_id = self.u16()?;
        let username = if self.format == 5 {
            0
        } else {
            self.skip(2)?; // The listener's port.
            let username = self.u16()?;
            self.skip(4)?;
            username
        };
        let client_id = self.text(client_id)?;
        let username = self.bytes(u64::from(username))?;
        // Before 2.0.16 a session without a user is written with the length of the user before, every other time with the
        // two bytes of that length exchanged: then it is followed by what else is in the broker's memory.
        let username = if username.is_empty() || username.contains(&0) {
            None
        } else {
            Some(self.utf8(username)?)
        };
        Ok(Chunk::Client {
            client_id,
            username,
            interval,
            expires_at,
        })
    }

    fn damaged(&self, what: &'static str) -> Fault {
        Fault::Damaged {
            offset: self.at,
            what,
        }
    }

    /// Goes on by so many bytes, if the chunk has them.
    fn claim(&mut self, bytes: u64) -> Result<(), Fault> {
        if bytes > self.end - self.at {
            return Err(self.damaged(if self.end == self.length {
                "the file ends in the middle of a chunk"
            } else {
                "a chunk is shorter than its content"
            }));
        }
        self.at += bytes;
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Fault> {
        self.claim(bytes)?;
        // No chunk is longer than 4 GiB and a few strings.
        let bytes = i64::try_from(bytes).map_err(|_| self.damaged("a chunk is too long"))?;
        Ok(self.input.seek_relative(bytes)?)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.array().map(u32::from_be_bytes)
    }

    fn qos(&mut self) -> Result<Qos, Fault> {
        let level = self.u8()?;
        Qos::new(i64::from(level)).ok_or_else(|| self.damaged("a QoS is none of 0, 1 and 2"))
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, Fault> {
        self.claim(count)?;
        // The file is at least so long, so this takes no more memory than it has bytes.
        let mut bytes = Vec::new();
        self.input.by_ref().take(count).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == count {
            Ok(bytes)
        } else {
            Err(self.damaged("the file became shorter while it was read"))
        }
    }

    fn text(&mut self, length: u16) -> Result<String, Fault> {
        let bytes = self.bytes(u64::from(length))?;
        self.utf8(bytes)
    }

    fn utf8(&self, bytes: Vec<u8>) -> Result<String, Fault> {
        String::from_utf8(bytes).map_err(|_| self.damaged("a name is not UTF-8"))
    }
}
