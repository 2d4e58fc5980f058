//! Schema errors in plain words: what is wrong with a value, and what to write instead.

use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use super::schema::Place;
use super::suggest::nearest;
use super::tree::Content;
use crate::name::BrokerName;
use crate::resources::{NAME_PATTERN, PERIOD_PATTERN, SIZE_PATTERN};
use crate::resources::{Period, Size};

/// What is wrong with a value, and what to do.
pub(crate) fn value(kind: &ValidationErrorKind, place: &Place<'_>) -> (String, String) {
    let schema = place.schema;
    let hint = || hint(schema);
    match kind {
        ValidationErrorKind::Type { .. } => wrong_type(place),
        ValidationErrorKind::Enum { options } => {
            let options: Vec<&str> = options
                .as_array()
                .map(|list| list.iter().filter_map(Value::as_str).collect())
                .unwrap_or_default();
            let text = shown(place);
            let remedy = match nearest(place.node.text().unwrap_or_default(), options.iter().copied()) {
                Some(near) => format!("did you mean {near}? ({})", options.join(", ")),
                None => format!("write one of {}", options.join(", ")),
            };
            (format!("{text} is not one of its values"), remedy)
        }
        ValidationErrorKind::Minimum { limit } => (
            format!("{} is less than {}", shown(place), whole(limit)),
            range(schema),
        ),
        ValidationErrorKind::Maximum { limit } => (
            format!("{} is more than {}", shown(place), whole(limit)),
            range(schema),
        ),
        ValidationErrorKind::MinLength { .. } if place.node.text() == Some("") => {
            ("it is empty".to_owned(), hint())
        }
        ValidationErrorKind::Pattern { .. } | ValidationErrorKind::MinLength { .. } => {
            let text = place.node.text().unwrap_or_default();
            let pattern = schema["pattern"].as_str().unwrap_or_default();
            judged(pattern, text, schema)
                .unwrap_or_else(|| (format!("{} does not have the right form", shown(place)), hint()))
        }
        ValidationErrorKind::MaxLength { limit } => (format!("it is longer than {limit} characters"), hint()),
        ValidationErrorKind::MinItems { .. } if place.node.items().is_empty() => {
            ("it is empty".to_owned(), "add at least one entry".to_owned())
        }
        ValidationErrorKind::MinItems { limit } | ValidationErrorKind::MaxItems { limit } => {
            let count = place.node.items().len();
            if schema["minItems"] == schema["maxItems"] {
                (format!("it has {} instead of {limit}", entries(count)), hint())
            } else {
                (
                    format!("it has {count} entries, more than {limit}"),
                    "use a selector, or split it".to_owned(),
                )
            }
        }
        ValidationErrorKind::MinProperties { .. } => {
            ("it is empty".to_owned(), "add at least one entry".to_owned())
        }
        ValidationErrorKind::MaxProperties { limit } => (
            format!("it has more than {limit} entries"),
            "leave some out".to_owned(),
        ),
        other => (
            format!("it breaks the rule {:?} of the schema", other.keyword()),
            hint(),
        ),
    }
}

fn entries(count: usize) -> String {
    if count == 1 {
        "1 entry".to_owned()
    } else {
        format!("{count} entries")
    }
}

fn wrong_type(place: &Place<'_>) -> (String, String) {
    let expected: Vec<&str> = match &place.schema["type"] {
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one],
        _ => Vec::new(),
    };
    let words = expected
        .iter()
        .map(|word| plain(word))
        .collect::<Vec<_>>()
        .join(" or ");
    let message = format!("{words} is expected, but this is {}", place.node.what());
    let wants = |word: &str| expected.contains(&word);
    let remedy = match &place.node.content {
        Content::Number(_, text) if place.schema["pattern"] == PERIOD_PATTERN => documented(
            &format!("write {text}s or {text}ms: a duration has a unit"),
            place.schema,
        ),
        Content::Number(_, text) if wants("string") => format!("write \"{text}\" in quotes"),
        Content::Bool(value) if wants("string") && place.schema["pattern"].is_null() => {
            format!("write \"{value}\" in quotes")
        }
        Content::Text(text) if wants("integer") && text.parse::<i64>().is_ok() => {
            format!("write {text} without quotes")
        }
        Content::Text(text) if wants("boolean") && ["true", "false"].contains(&&**text) => {
            format!("write {text} without quotes")
        }
        Content::Text(text) if wants("boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => "write true".to_owned(),
            "no" | "off" | "n" => "write false".to_owned(),
            _ => "write true or false".to_owned(),
        },
        Content::Text(text) if place.schema["properties"]["broker"].is_object() => {
            format!("write {{broker: {text}}}")
        }
        _ if wants("array") => "write a list: [one, two], or lines that start with '-'".to_owned(),
        _ if wants("integer") && place.schema["maximum"].is_number() => range(place.schema),
        _ => hint(place.schema),
    };
    (message, remedy)
}

fn plain(word: &str) -> &str {
    match word {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a mapping",
        other => other,
    }
}

fn shown(place: &Place<'_>) -> String {
    match &place.node.content {
        Content::Text(text) if text.chars().count() > 60 => {
            format!("\"{}…\"", text.chars().take(60).collect::<String>())
        }
        Content::Text(text) => format!("{text:?}"),
        Content::Number(_, text) => text.to_string(),
        Content::Bool(value) => value.to_string(),
        _ => place.node.what().to_owned(),
    }
}

fn range(schema: &Value) -> String {
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(minimum), Some(maximum)) => format!("write a whole number from {minimum} to {maximum}"),
        (Some(minimum), None) => format!("write a whole number from {minimum} on"),
        _ => hint(schema),
    }
}

/// Why a name, duration or size cannot be read; `None` if it can, or if the pattern is none of these.
fn unreadable(pattern: &str, text: &str) -> Option<String> {
    match pattern {
        PERIOD_PATTERN => text.parse::<Period>().err().map(|error| error.to_string()),
        SIZE_PATTERN => text.parse::<Size>().err().map(|error| error.to_string()),
        NAME_PATTERN => BrokerName::new(text).err().map(|error| error.to_string()),
        _ => None,
    }
}

/// What to write, with the field's own documentation.
pub(crate) fn hint(schema: &Value) -> String {
    let wanted = match (schema["pattern"].as_str(), schema["type"].as_str()) {
        (Some(NAME_PATTERN), _) => "write the name of a broker",
        (Some(PERIOD_PATTERN), _) => "write a duration such as 50ms or 5s",
        (Some(SIZE_PATTERN), _) => "write a size such as 64Mi",
        (_, Some(kind)) => &format!("write {}", plain(kind)),
        (_, None) => "correct it or leave it out",
    };
    documented(wanted, schema)
}

/// How to add a field that is missing.
pub(crate) fn add(name: &str, schema: &Value) -> String {
    documented(&format!("add `{name}:`"), schema)
}

/// Advice with the first sentences of the field's documentation. What types of others say of themselves is too long.
fn documented(advice: &str, schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.trim_end_matches('.') {
        "" => advice.to_owned(),
        text if text.len() > 200 => advice.to_owned(),
        text => format!("{advice} ({text})"),
    }
}

/// What is wrong with a name, duration or size, and what to write.
pub(crate) fn judged(pattern: &str, text: &str, schema: &Value) -> Option<(String, String)> {
    let reason = unreadable(pattern, text)?;
    Some(match reason.rsplit_once("; ") {
        Some((reason, remedy)) => (reason.to_owned(), documented(remedy, schema)),
        None => (reason, hint(schema)),
    })
}

/// A limit without the decimal point that schemas carry.
fn whole(limit: &Value) -> String {
    limit
        .as_f64()
        .map_or_else(|| limit.to_string(), |limit| limit.to_string())
}
