//! Colours, as escapes in text; `anstream` takes them out where nobody could see them.

use anstyle::{AnsiColor, Style};
use skein_planner::plan::Severity;

/// No style.
pub const PLAIN: Style = Style::new();
/// Of a section.
pub const TITLE: Style = Style::new().bold();
/// What is seldom looked for.
pub const FAINT: Style = Style::new().dimmed();
/// As it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Worth a look.
pub const CAREFUL: Style = AnsiColor::Yellow.on_default();
/// Wrong.
pub const BAD: Style = AnsiColor::Red.on_default();

/// Text in a style.
pub fn paint(style: Style, text: impl AsRef<str>) -> String {
    let text = text.as_ref();
    if style == PLAIN {
        text.to_owned()
    } else {
        format!("{style}{text}{style:#}")
    }
}

/// The word and the style of a severity.
#[must_use]
pub fn severity(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Error => ("error", BAD.bold()),
        Severity::Warning => ("warning", CAREFUL),
        Severity::Info => ("info", FAINT),
    }
}

/// `1 broker`, `2 brokers`.
#[must_use]
pub fn count(number: usize, one: &str) -> String {
    match (number, one) {
        (1, _) => format!("1 {one}"),
        (_, "class") => format!("{number} classes"),
        _ => format!("{number} {one}s"),
    }
}
