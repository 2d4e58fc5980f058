//! What an unquoted YAML scalar means: the core schema of YAML 1.2 (section 10.3.2). No positions, no documents.

use serde_json::Number;

use super::tree::Content;

/// Reads an unquoted scalar.
pub(crate) fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    match number(text) {
        Some(number) => Content::Number(number, text.into()),
        None => Content::Text(text.into()),
    }
}

fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        let whole = text.strip_prefix('+').unwrap_or(text);
        let whole = whole
            .parse::<i64>()
            .map(Number::from)
            .or_else(|_| whole.parse::<u64>().map(Number::from));
        return whole
            .ok()
            .or_else(|| text.parse().ok().and_then(Number::from_f64));
    }
    let float = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-');
    if unsigned.bytes().all(float) {
        text.parse().ok().and_then(Number::from_f64)
    } else {
        None
    }
}

fn radix(digits: &str, radix: u32) -> Option<Number> {
    let valid = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if valid {
        i64::from_str_radix(digits, radix).ok().map(Number::from)
    } else {
        None
    }
}

/// Whether YAML 1.1, which kubectl reads, takes this unquoted text for true or false.
pub(crate) fn is_boolean_to_kubectl(text: &str) -> bool {
    ["y", "n", "yes", "no", "on", "off"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
        && text.chars().skip(1).all(char::is_lowercase)
        || ["YES", "NO", "ON", "OFF"].contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> &'static str {
        match plain(text) {
            Content::Null => "null",
            Content::Bool(_) => "bool",
            Content::Number(number, _) if number.is_f64() => "float",
            Content::Number(..) => "int",
            _ => "text",
        }
    }

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        for (text, expected) in [
            ("~", "null"),
            ("", "null"),
            ("true", "bool"),
            ("yes", "text"),
            ("12", "int"),
            ("-12", "int"),
            ("+7", "int"),
            ("0x1f", "int"),
            ("0o17", "int"),
            ("2.1", "float"),
            ("1e3", "float"),
            (".5", "float"),
            ("2.1.2", "text"),
            ("50ms", "text"),
            ("1-2", "text"),
            ("18446744073709551616", "float"),
            (".", "text"),
            ("-", "text"),
            ("e5", "text"),
            ("inf", "text"),
            ("0x", "text"),
            ("0x-1", "text"),
            ("1e999", "text"),
        ] {
            assert_eq!(kind(text), expected, "{text:?}");
        }
    }

    #[test]
    fn words_that_kubectl_takes_for_booleans_are_known() {
        for text in ["y", "N", "yes", "No", "ON"] {
            assert!(is_boolean_to_kubectl(text), "{text}");
        }
        for text in ["true", "yEs", "yesterday", ""] {
            assert!(!is_boolean_to_kubectl(text), "{text}");
        }
    }
}
