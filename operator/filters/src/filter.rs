//! One topic filter and its relations to topics and to other filters.
//!
//! The relations compare the sets of topics that filters match, so `+/#` and `#` are equal to them. They ignore that
//! no topic is longer than 65,535 bytes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::FilterError;

/// A valid MQTT topic filter; cheap to clone.
///
/// Equality and order are those of the text: `+/#` and `#` differ although they match the same topics (each
/// [covers](Self::covers) the other).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicFilter(Arc<str>);

/// One level of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level<'a> {
    /// A literal level (it may be empty).
    Literal(&'a str),
    /// `+`: any one level.
    Plus,
    /// `#`: this level's parent and everything below it. Only ever the last level.
    Hash,
}

/// What a filter says of topics, the same for all filters that match the same topics.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// At least one level, without the `#`; `+` stands for itself.
    pub(crate) stem: &'a str,
    /// Whether longer topics match too.
    pub(crate) open: bool,
}

impl<'a> Shape<'a> {
    pub(crate) fn levels(self) -> std::str::Split<'a, char> {
        self.stem.split('/')
    }
}

/// Whether `+` in the level numbered `depth` stands for this literal: not where it is a `$` topic's first one.
pub(crate) fn plus_matches(depth: usize, literal: &str) -> bool {
    depth > 0 || !literal.starts_with('$')
}

impl TopicFilter {
    /// The most bytes a filter (or a topic) has: MQTT 3.1.1, section 4.7.3.
    pub const MAX_BYTES: usize = 65_535;
    /// The most levels: Mosquitto refuses more than 200 slashes.
    pub const MAX_LEVELS: usize = 201;

    /// Checks and takes a filter.
    ///
    /// Beyond MQTT's own rules it refuses control characters and the other characters that Mosquitto refuses, so that
    /// a filter is always safe to write on a line of a configuration file (a space is allowed here), and shared
    /// subscriptions, which a bridge cannot use without losing messages.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(FilterError::TooLong { bytes: text.len() });
        }
        if let Some((offset, character)) = text.char_indices().find(|(_, character)| is_refused(*character)) {
            return Err(FilterError::Character { character, offset });
        }
        let count = text.split('/').count();
        if count > Self::MAX_LEVELS {
            return Err(FilterError::TooDeep { levels: count });
        }
        for (index, level) in text.split('/').enumerate() {
            match level {
                "$share" | "$queue" if index == 0 => {
                    return Err(FilterError::Shared {
                        prefix: level.to_owned(),
                    });
                }
                "+" => {}
                "#" if index + 1 == count => {}
                "#" => return Err(FilterError::HashNotLast { level: index + 1 }),
                _ if level.contains(['+', '#']) => {
                    return Err(FilterError::WildcardInLevel {
                        level: level.to_owned(),
                    });
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// The filter as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its levels, from the left.
    pub fn levels(&self) -> impl Iterator<Item = Level<'_>> {
        self.0.split('/').map(|level| match level {
            "+" => Level::Plus,
            "#" => Level::Hash,
            literal => Level::Literal(literal),
        })
    }

    /// Whether it has no wildcard, so that it is the one topic it matches.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains(['+', '#'])
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        match &*self.0 {
            // `#` includes its parent level, but there is no topic without a level,
            "#" => Shape {
                stem: "+",
                open: true,
            },
            // and none that is one empty level.
            "/#" => Shape {
                stem: "/+",
                open: true,
            },
            text => match text.strip_suffix("/#") {
                Some(stem) => Shape { stem, open: true },
                None => Shape {
                    stem: text,
                    open: false,
                },
            },
        }
    }

    fn from_levels<'a>(levels: impl Iterator<Item = &'a str>, open: bool) -> Self {
        let mut text = String::new();
        for (index, level) in levels.enumerate() {
            if index > 0 {
                text.push('/');
            }
            text.push_str(level);
        }
        match (open, text.as_str()) {
            (true, "+") => Self("#".into()),
            (true, "/+") => Self("/#".into()),
            (true, stem) => Self(format!("{stem}/#").into()),
            (false, stem) => Self(stem.into()),
        }
    }

    /// Whether a message published to `topic` (its characters taken literally) is one of this filter's.
    #[must_use]
    pub fn matches(&self, topic: &str) -> bool {
        if topic.is_empty() {
            return false;
        }
        let shape = self.shape();
        let mut topic = topic.split('/');
        for (depth, level) in shape.levels().enumerate() {
            let Some(literal) = topic.next() else { return false };
            if level != literal && !(level == "+" && plus_matches(depth, literal)) {
                return false;
            }
        }
        shape.open || topic.next().is_none()
    }

    /// Whether it matches every topic that `other` matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.shape(), other.shape());
        let mut other = theirs.levels();
        for (depth, level) in mine.levels().enumerate() {
            let Some(narrow) = other.next() else { return false };
            // A wildcard level never starts with `$`, so `+` covers it too.
            if level != narrow && !(level == "+" && plus_matches(depth, narrow)) {
                return false;
            }
        }
        mine.open || (!theirs.open && other.next().is_none())
    }

    /// Whether some topic matches both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.shape(), other.shape());
        let (mut left, mut right) = (mine.levels(), theirs.levels());
        let mut depth = 0;
        loop {
            match (left.next(), right.next()) {
                (Some(left), Some(right)) if meet(depth, left, right).is_none() => return false,
                (Some(_), Some(_)) => depth += 1,
                (Some(_), None) => return theirs.open,
                (None, Some(_)) => return mine.open,
                (None, None) => return true,
            }
        }
    }

    /// The filter that matches just the topics that match both; `None` if there are none.
    ///
    /// It can be longer than either, and than [`Self::MAX_BYTES`] if they are nearly so.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            return Some(other.clone());
        }
        if other.covers(self) {
            return Some(self.clone());
        }
        if !self.overlaps(other) {
            return None;
        }
        let (mine, theirs) = (self.shape(), other.shape());
        let (mut left, mut right) = (mine.levels(), theirs.levels());
        let levels = (0..).map_while(|depth| match (left.next(), right.next()) {
            (Some(left), Some(right)) => meet(depth, left, right),
            (left, right) => left.or(right),
        });
        Some(Self::from_levels(levels, mine.open && theirs.open))
    }

    /// The filter that covers both and is covered by every other filter that does; `None` if no filter covers both
    /// (`$SYS/a` and `b`: wildcards do not reach topics that start with `$`).
    #[must_use]
    pub fn least_cover(&self, other: &Self) -> Option<Self> {
        if self.covers(other) {
            return Some(self.clone());
        }
        if other.covers(self) {
            return Some(other.clone());
        }
        let (mine, theirs) = (self.shape(), other.shape());
        let first = |shape: Shape<'_>| shape.levels().next().is_some_and(|level| level.starts_with('$'));
        if (first(mine) || first(theirs)) && mine.levels().next() != theirs.levels().next() {
            return None;
        }
        let same_length = mine.levels().count() == theirs.levels().count();
        let levels = mine
            .levels()
            .zip(theirs.levels())
            .map(|(left, right)| if left == right { left } else { "+" });
        Some(Self::from_levels(
            levels,
            mine.open || theirs.open || !same_length,
        ))
    }

    /// A topic that matches it: each wildcard stands for one level `any`.
    #[must_use]
    pub fn witness(&self) -> String {
        self.witness_with("any")
    }

    /// A topic that matches it: each wildcard stands for one level `level`, which is not empty, holds no `/` and does
    /// not start with `$`. A level that no other filter names makes it match as few of them as possible.
    #[must_use]
    pub fn witness_with(&self, level: &str) -> String {
        let mut topic = String::with_capacity(self.0.len() + level.len());
        for (index, part) in self.0.split('/').enumerate() {
            if index > 0 {
                topic.push('/');
            }
            topic.push_str(if matches!(part, "+" | "#") { level } else { part });
        }
        topic
    }
}

/// What matches both of two levels of stems.
fn meet<'a>(depth: usize, left: &'a str, right: &'a str) -> Option<&'a str> {
    match (left, right) {
        _ if left == right => Some(left),
        ("+", literal) | (literal, "+") if plus_matches(depth, literal) => Some(literal),
        _ => None,
    }
}

/// Control characters and Unicode's non-characters: Mosquitto refuses topics with either.
fn is_refused(character: char) -> bool {
    let code = u32::from(character);
    character.is_control() || (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE
}

impl FromStr for TopicFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
