//! Sentences for people, broken into lines that fit a narrow terminal.

use unicode_width::UnicodeWidthStr as _;

/// Columns that sentences stay within.
const WIDTH: usize = 78;

/// Sentences after a label: further lines begin below the first word, not below the label.
///
/// ```text
///   a kill           it keeps all that it acknowledged, but perhaps for the
///                    very last message
/// ```
pub(crate) fn hung(label: &str, painted: &str, width: usize, text: &str) -> String {
    let indent = 2 + width + if width == 0 { 0 } else { 2 };
    let mut out = format!("  {painted}{}", " ".repeat(indent - 2 - label.width()));
    let mut column = indent;
    for (number, word) in text.split_whitespace().enumerate() {
        if number > 0 && column + 1 + word.width() > WIDTH {
            out += "\n";
            out += &" ".repeat(indent);
            column = indent;
        } else if number > 0 {
            out += " ";
            column += 1;
        }
        out += word;
        column += word.width();
    }
    out + "\n"
}

/// Sentences on their own.
pub(crate) fn paragraph(text: &str) -> String {
    hung("", "", 0, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_within_the_width_and_lose_no_word() {
        let text = "one two three ".repeat(20);
        let shown = hung("a kill", "a kill", 10, &text);
        assert!(shown.lines().count() > 3);
        assert!(shown.lines().all(|line| line.width() <= WIDTH), "{shown}");
        assert!(shown.starts_with("  a kill      one two"), "{shown}");
        assert!(
            shown
                .lines()
                .skip(1)
                .all(|line| line.starts_with(&" ".repeat(14))),
            "{shown}"
        );
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&shown)[2..], words(&text));
        assert_eq!(paragraph("a  b"), "  a b\n");
    }
}
