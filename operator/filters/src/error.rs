//! Why a string is not a topic filter that Skein can use. Knows the reasons and the remedies, not where it was written.

use std::fmt;

use crate::TopicFilter;

/// Why a string is not a topic filter that Skein can use.
///
/// Each message says what is wrong and what to do; the caller names the object and the field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilterError {
    /// The string is empty.
    Empty,
    /// It has more than [`TopicFilter::MAX_BYTES`].
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It has more than [`TopicFilter::MAX_LEVELS`].
    TooDeep {
        /// How many it has.
        levels: usize,
    },
    /// It holds a character that a broker, or a line of its configuration file, cannot hold.
    Character {
        /// Which.
        character: char,
        /// Where, in bytes from the start.
        offset: usize,
    },
    /// A level after `#`.
    HashNotLast {
        /// The level that is `#`, counted from 1.
        level: usize,
    },
    /// `+` or `#` beside other characters in a level.
    WildcardInLevel {
        /// That level.
        level: String,
    },
    /// A shared subscription.
    Shared {
        /// Its first level: `$share` or `$queue`.
        prefix: String,
    },
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("a topic filter has at least one character: give one, or `#` for every topic")
            }
            Self::TooLong { bytes } => {
                let most = TopicFilter::MAX_BYTES;
                write!(
                    f,
                    "it has {bytes} bytes, and MQTT carries at most {most}: shorten it, or use a wildcard"
                )
            }
            Self::TooDeep { levels } => {
                let most = TopicFilter::MAX_LEVELS;
                write!(
                    f,
                    "it has {levels} levels, and Mosquitto takes at most {most}: end it earlier with `#`"
                )
            }
            Self::Character {
                character: '\n' | '\r',
                offset,
            } => write!(
                f,
                "it holds a line break at byte {offset}, which would start a new line in the broker's configuration: \
                 remove it"
            ),
            Self::Character {
                character: '\0',
                offset,
            } => {
                write!(
                    f,
                    "it holds a NUL character at byte {offset}, which MQTT forbids: remove it"
                )
            }
            Self::Character { character, offset } => {
                let code = u32::from(*character);
                write!(
                    f,
                    "it holds the unprintable character U+{code:04X} at byte {offset}, which is not safe in the \
                     broker's configuration and which Mosquitto refuses in topics: remove it"
                )
            }
            Self::HashNotLast { level } => write!(
                f,
                "`#` stands in level {level} and others follow, but it is for the end only: remove what follows, or \
                 use `+` for one level"
            ),
            Self::WildcardInLevel { level } => write!(
                f,
                "the level {level:?} mixes a wildcard with other characters: `+` and `#` stand alone in their level, \
                 so write `+` for the whole level"
            ),
            Self::Shared { prefix } => write!(
                f,
                "it is a shared subscription ({prefix:?}), which hands each message to one subscriber only, so a \
                 broker would get a part of them: give the plain filter; clients may still share it on their broker"
            ),
        }
    }
}

impl std::error::Error for FilterError {}
