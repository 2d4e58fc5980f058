//! One topic filter and its relations to topics and to other filters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A valid MQTT topic filter; cheap to clone.
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

/// Why a string is not a topic filter that Skein can use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// The string is empty.
    Empty,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("a topic filter has at least one character"),
        }
    }
}

impl std::error::Error for FilterError {}

impl TopicFilter {
    /// Checks and takes a filter.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        if text.is_empty() {
            return Err(FilterError::Empty);
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
}

impl FromStr for TopicFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
