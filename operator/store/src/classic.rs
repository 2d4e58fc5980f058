//! The classic store: one file that the broker writes as a whole and renames into place. Knows what its chunks mean and how
//! they belong together; how they lie in the file is in `chunks`.

mod chunks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use crate::error::StoreError;
use crate::inventory::{Expiry, Retained, Sessions, stored_time};
use crate::place::{Fingerprint, Stamp, State};
use chunks::{Chunk, Chunks, Direction, Fault};

/// A classic store. The file is opened anew at each call: it never changes once it is in place, but another one takes it.
#[derive(Debug)]
pub(crate) struct Classic {
    path: PathBuf,
}

impl Classic {
    /// Takes a store whose format is known.
    pub(crate) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let classic = Self { path };
        classic.read(|file| Chunks::of(file).map(drop))?;
        Ok(classic)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn fingerprint(&self) -> Result<Fingerprint, StoreError> {
        Ok(Fingerprint(State::File(Stamp::at(&self.path)?)))
    }

    pub(crate) fn sessions(&self) -> Result<Sessions, StoreError> {
        self.read(sessions)
    }

    pub(crate) fn retained(
        &self,
        with_payload: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Vec<Retained>, StoreError> {
        self.read(|file| retained(file, with_payload))
    }

    fn read<T>(&self, work: impl FnOnce(&mut BufReader<File>) -> Result<T, Fault>) -> Result<T, StoreError> {
        let file = File::open(&self.path).map_err(StoreError::system("open", &self.path))?;
        work(&mut BufReader::with_capacity(64 << 10, file)).map_err(|fault| match fault {
            Fault::System(source) => StoreError::system("read", &self.path)(source),
            Fault::NoStore => StoreError::NotAStore {
                path: self.path.clone(),
            },
            Fault::Format { found, newer } => StoreError::Format {
                path: self.path.clone(),
                found: found.to_string(),
                known: "5 and 6",
                newer,
            },
            Fault::Damaged { offset, what } => StoreError::Damaged {
                path: self.path.clone(),
                offset,
                what,
            },
        })
    }
}

/// Reads all sessions. Memory goes with their number and that of the messages, not with payloads.
fn sessions<R: Read + Seek>(input: &mut BufReader<R>) -> Result<Sessions, Fault> {
    let mut sessions = Sessions::default();
    let mut sizes: HashMap<u64, u32> = HashMap::new();
    let mut chunks = Chunks::of(input)?;
    while let Some(chunk) = chunks.next(&mut |_| false)? {
        match chunk {
            Chunk::Message(message) => {
                sessions.number(message.number);
                sizes.insert(message.number, message.bytes);
            }
            Chunk::Client {
                client_id,
                username,
                interval,
                expires_at,
            } => {
                let session = sessions.named(client_id);
                session.username = username;
                session.expiry = Expiry::stored(interval, expires_at);
            }
            Chunk::Queued {
                client_id,
                message,
                direction,
            } => {
                // The broker passes over what belongs to no message: it has expired.
                let Some(bytes) = sizes.get(&message) else {
                    continue;
                };
                let session = sessions.named(client_id);
                match direction {
                    Direction::In => session.unreleased += 1,
                    Direction::Out => session.waiting.add(message, u64::from(*bytes)),
                }
            }
            Chunk::Subscription {
                client_id,
                filter,
                qos,
                options,
                identifier,
            } => sessions
                .named(client_id)
                .subscribe(filter, qos, options, identifier),
            Chunk::Retained { .. } | Chunk::Other => {}
        }
    }
    Ok(sessions.completed())
}

/// Reads all retained messages. Which messages are retained is said at the end of the file, so it is read twice.
fn retained<R: Read + Seek>(
    input: &mut BufReader<R>,
    with_payload: &mut dyn FnMut(&str) -> bool,
) -> Result<Vec<Retained>, Fault> {
    let mut numbers = BTreeSet::new();
    let mut chunks = Chunks::of(input)?;
    while let Some(chunk) = chunks.next(&mut |_| false)? {
        if let Chunk::Retained { message } = chunk {
            numbers.insert(message);
        }
    }
    let mut found = Vec::with_capacity(numbers.len());
    let mut chunks = Chunks::of(input)?;
    chunks.name_topics_of(numbers);
    while let Some(chunk) = chunks.next(with_payload)? {
        let Chunk::Message(message) = chunk else { continue };
        let Some(topic) = message.topic else { continue };
        found.push(Retained {
            topic,
            number: message.number,
            source: message.source,
            qos: message.qos,
            expires_at: stored_time(message.expires_at),
            bytes: u64::from(message.bytes),
            payload: message.payload,
        });
    }
    found.sort_by(|left, right| left.topic.cmp(&right.topic));
    Ok(found)
}
