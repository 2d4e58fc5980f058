//! Reads back what `render` writes.

use super::Config;

/// A text that `render` did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

/// The configuration that `text` is the rendering of.
pub fn parse(text: &str) -> Result<Config, ParseError> {
    let _ = text;
    Err(ParseError {
        line: 1,
        what: "not yet".to_owned(),
    })
}
