//! Striking secrets out of texts and objects.
//!
//! By what they are called (`remote_password`, `token`, …), by what they look like (private keys, tokens, hashes of passwords), and by
//! what they are: what Secrets were seen to hold is struck out wherever it occurs.

use std::collections::BTreeSet;

use serde_json::Value;

/// What is written instead.
pub(super) const STRUCK: &str = "REDACTED";

/// What a name contains whose value nobody is to see.
const NAMES: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "authorization",
    "private_key",
    "privatekey",
    "api_key",
    "apikey",
    "access_key",
    "credential",
    "client_secret",
];
/// What it is, if it is nothing but this.
const WHOLE: [&str; 3] = ["token", "secret", "salt"];

/// What is shorter is no secret, and would be found in innocent words.
const SHORTEST: usize = 6;

/// Secrets that are known.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    /// Longest first, so that none is left in half.
    known: Vec<String>,
}

impl Redactor {
    /// One that knows what Secrets hold: each value, if it is one secret, and what in it is called like one.
    pub(super) fn knowing<'a>(values: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut known = BTreeSet::new();
        for (key, value) in values {
            if is_secret(key)
                || !value.trim().contains(char::is_whitespace) && !value.trim_start().starts_with(['{', '['])
            {
                known.insert(value.trim().to_owned());
            }
            if let Ok(value) = serde_json::from_str(value) {
                inside(&value, &mut known);
            }
            strike(value, &mut |secret| {
                known.insert(secret.to_owned());
            });
        }
        let mut known: Vec<String> = known
            .into_iter()
            .filter(|secret| secret.len() >= SHORTEST && secret != STRUCK)
            .collect();
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { known }
    }

    /// A text without secrets.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = strike(text, &mut |_| {});
        for secret in &self.known {
            if text.contains(secret) {
                text = text.replace(secret, STRUCK);
            }
        }
        text
    }

    /// An object without them, and without what only repeats it.
    pub(super) fn object(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("managedFields");
                fields.remove("kubectl.kubernetes.io/last-applied-configuration");
                // As an environment has it.
                let is_named = fields.get("name").and_then(Value::as_str).is_some_and(is_secret);
                for (name, value) in fields {
                    let hides = is_secret(name) || (is_named && name == "value");
                    match value {
                        Value::String(text) if hides => STRUCK.clone_into(text),
                        value => self.object(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.object(item)),
            Value::String(text) => *text = self.text(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    // What only says where a secret is, or which file, is none.
    let refers = ["file", "ref", "name", "path"]
        .iter()
        .any(|end| name.ends_with(end));
    !refers
        && (WHOLE.contains(&name.as_str())
            || ["_token", "_psk"].iter().any(|end| name.ends_with(end))
            || NAMES.iter().any(|part| name.contains(part)))
}

/// What in a JSON value is called like a secret.
fn inside(value: &Value, known: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if is_secret(name) => {
                        known.insert(text.clone());
                    }
                    value => inside(value, known),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| inside(item, known)),
        Value::String(text) => {
            // A configuration in a record.
            strike(text, &mut |secret| {
                known.insert(secret.to_owned());
            });
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A text with all struck out that is called or looks like a secret; each is told.
fn strike(text: &str, found: &mut dyn FnMut(&str)) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        if in_key {
            in_key = !line.contains("-----END");
        } else if line.contains("-----BEGIN") && line.contains("PRIVATE KEY") {
            in_key = !line.contains("-----END");
            out += STRUCK;
            out.push('\n');
        } else {
            out += &strike_line(line, found);
        }
    }
    out
}

fn strike_line(line: &str, found: &mut dyn FnMut(&str)) -> String {
    let line = &strike_logins(line, found);
    let mut out = String::with_capacity(line.len());
    let mut rest = line.as_str();
    let (mut hides, mut is_first, mut gap) = (Hides::Nothing, true, "");
    while !rest.is_empty() {
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            let between = after.find(is_word).unwrap_or(after.len());
            (gap, rest) = after.split_at(between);
            out += gap;
            if gap.contains(['\n', ',', ';', '}', ']', ')']) {
                hides = Hides::Nothing;
            }
            continue;
        }
        let is_scheme = ["bearer", "basic"].contains(&word.to_ascii_lowercase().as_str());
        let length = match hides {
            _ if is_scheme => 0,
            Hides::Nothing if looks_secret(word) => value(rest, "", false),
            Hides::Nothing => 0,
            hides => value(rest, gap, hides == Hides::Line),
        };
        if length > 0 {
            found(&rest[..length]);
            out += STRUCK;
            rest = &rest[length..];
            hides = Hides::Nothing;
        } else {
            out += word;
            if is_secret(word) || word.eq_ignore_ascii_case("bearer") {
                hides = if is_first { Hides::Line } else { Hides::Value };
            }
            rest = after;
        }
        is_first = false;
    }
    out
}

/// What follows is a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hides {
    Nothing,
    /// One value.
    Value,
    /// The rest of the line, as a configuration has it.
    Line,
}

fn is_word(c: char) -> bool {
    !c.is_whitespace() && !"\"'`,;(){}[]<>=:\\".contains(c)
}

/// How long a secret is that begins here, given what stands before it.
fn value(rest: &str, gap: &str, is_line: bool) -> usize {
    for quote in ["\\\"", "\"", "'"] {
        if gap.ends_with(quote) {
            return closing(rest, quote);
        }
    }
    let ends: &[char] = if is_line {
        &['\n', '\r']
    } else {
        &['"', '\'', '\n', '\r', ',', '}', ' ', '\\']
    };
    rest.find(ends).unwrap_or(rest.len())
}

/// Where a quoted text ends.
fn closing(rest: &str, quote: &str) -> usize {
    let mut from = 0;
    while let Some(end) = rest[from..].find(quote).map(|end| from + end) {
        let is_escaped = quote == "\"" && rest[..end].ends_with('\\');
        if !is_escaped {
            return end;
        }
        from = end + quote.len();
    }
    rest.trim_end_matches(['\n', '\r']).len()
}

/// A JSON web token, or a hash of a password as `mosquitto_passwd` writes it.
fn looks_secret(word: &str) -> bool {
    let is_token = word.starts_with("eyJ") && word.matches('.').count() == 2;
    let is_hash = ["$6$", "$7$"].iter().any(|kind| word.starts_with(kind));
    is_token || is_hash
}

/// Takes names and passwords out of addresses: `mqtts://user:password@host`.
fn strike_logins(line: &str, found: &mut dyn FnMut(&str)) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(begin) = rest.find("://").map(|at| at + 3) {
        let (before, after) = rest.split_at(begin);
        out += before;
        let ends = |c: char| c.is_whitespace() || "\"'/<>".contains(c);
        let end = after.find(ends).unwrap_or(after.len());
        let (place, next) = after.split_at(end);
        match place.rsplit_once('@') {
            Some((login, host)) => {
                found(login);
                out += &format!("{STRUCK}@{host}");
            }
            None => out += place,
        }
        rest = next;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_called_a_secret_is_struck_out_and_nothing_else() {
        let plain = Redactor::default();
        for (text, left) in [
            (
                "remote_password hunter2-x\nremote_username b",
                "remote_password REDACTED\nremote_username b",
            ),
            ("  password: hunter2-x\n", "  password: REDACTED\n"),
            (
                "{\"password\":\"hunter2-x\",\"user\":\"b\"}",
                "{\"password\":\"REDACTED\",\"user\":\"b\"}",
            ),
            (
                "{\\\"password\\\":\\\"hunter2-x\\\"}",
                "{\\\"password\\\":\\\"REDACTED\\\"}",
            ),
            ("a token=hunter2-x, epoch 3", "a token=REDACTED, epoch 3"),
            (
                "Authorization: Bearer hunter2-x",
                "Authorization: Bearer REDACTED",
            ),
            ("bridge_psk hunter2-x", "bridge_psk REDACTED"),
            (
                "remote_password correct horse, battery\n",
                "remote_password REDACTED\n",
            ),
            (
                "{\"password\": \"correct \\\"horse, x\", \"a\": 1}",
                "{\"password\": \"REDACTED\", \"a\": 1}",
            ),
            (
                "at mqtts://me:hunter2-x@b:8883/ now",
                "at mqtts://REDACTED@b:8883/ now",
            ),
            ("user:$7$101$c2FsdA==$aGFzaA==", "user:REDACTED"),
            ("password_file /etc/users", "password_file /etc/users"),
            ("the topic soil, at b", "the topic soil, at b"),
            (
                "a\n-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----\nb",
                "a\nREDACTED\nb",
            ),
            ("see eyJhbGciOi.eyJzdWIi.c2ln now", "see REDACTED now"),
        ] {
            assert_eq!(plain.text(text), left);
        }
    }

    #[test]
    fn an_object_keeps_its_shape() {
        let mut object = json!({
            "metadata": {
                "name": "a-skein",
                "managedFields": [{}],
                "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter2-x", "note": "fine"},
            },
            "spec": {
                "env": [{"name": "DB_PASSWORD", "value": "hunter2-x"}, {"name": "SKEIN_IMAGE", "value": "skein:1"}],
                "automountServiceAccountToken": true,
                "volumes": [{"secret": {"secretName": "a-skein"}}],
            },
            "data": {"mosquitto.conf": "listener 1883\nremote_password hunter2-x\n"},
        });
        Redactor::default().object(&mut object);
        assert_eq!(
            object,
            json!({
                "metadata": {"name": "a-skein", "annotations": {"note": "fine"}},
                "spec": {
                    "env": [{"name": "DB_PASSWORD", "value": "REDACTED"}, {"name": "SKEIN_IMAGE", "value": "skein:1"}],
                    "automountServiceAccountToken": true,
                    "volumes": [{"secret": {"secretName": "a-skein"}}],
                },
                "data": {"mosquitto.conf": "listener 1883\nremote_password REDACTED\n"},
            })
        );
    }

    #[test]
    fn what_secrets_hold_is_struck_out_wherever_it_is() {
        let config = "connection b\nremote_username b\nremote_password derived-9\n";
        let desired = json!({"epoch": 3, "config": config}).to_string();
        let users = json!({"clients": [{"username": "b", "password": "salted-77"}]}).to_string();
        let values = [
            ("token", "0123456789abcdef"),
            ("desired.json", desired.as_str()),
            ("users.json", users.as_str()),
            ("opaque", "correct-horse"),
        ];
        let knowing = Redactor::knowing(values);
        let log =
            "refused: 0123456789abcdef tried derived-9, then salted-77 and correct-horse; connection b stays";
        assert_eq!(
            knowing.text(log),
            "refused: REDACTED tried REDACTED, then REDACTED and REDACTED; connection b stays"
        );
    }
}
