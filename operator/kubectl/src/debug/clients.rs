//! Client ids, replaced by numbers where a person does not want them known.

use std::collections::BTreeMap;

use serde_json::Value;

/// Clients by the names they are given instead.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// None: they are left as they are.
    known: Option<BTreeMap<String, usize>>,
}

/// Whose are no client's: sessions of Skein's own.
const OURS: &str = "skein:";

/// What Mosquitto writes before and after a client's id.
const SAID: [(&str, &str); 4] = [
    (" as ", " (p"),
    ("Client ", " disconnected"),
    ("Client ", " closed its connection"),
    ("Client ", " has exceeded timeout"),
];

impl Clients {
    /// Has them replaced.
    pub(super) fn hidden() -> Self {
        Self {
            known: Some(BTreeMap::new()),
        }
    }

    fn learn(&mut self, id: &str) {
        if let Some(known) = &mut self.known
            && !id.is_empty()
            && !id.starts_with(OURS)
        {
            let next = known.len() + 1;
            known.entry(id.to_owned()).or_insert(next);
        }
    }

    /// Learns of those that a Migration names.
    pub(super) fn learn_migration(&mut self, migration: &Value) {
        let lists = [
            ("/status/waiting", "client"),
            ("/status/abandoned", "client"),
            ("/status/notMoved", "what"),
        ];
        for (list, field) in lists {
            let items = migration.pointer(list).and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                self.learn(item[field].as_str().unwrap_or_default());
            }
        }
        let moved = migration.pointer("/status/moved").and_then(Value::as_array);
        let clients = moved
            .into_iter()
            .flatten()
            .filter_map(|moved| moved["clients"].as_array());
        for client in clients.flatten() {
            self.learn(client.as_str().unwrap_or_default());
        }
    }

    /// Learns of those that a log of Mosquitto's names.
    pub(super) fn learn_log(&mut self, log: &str) {
        for line in log.lines() {
            for (before, after) in SAID {
                if let Some((_, rest)) = line.split_once(before)
                    && let Some((id, _)) = rest.split_once(after)
                    && !id.contains(' ')
                {
                    self.learn(id);
                }
            }
        }
    }

    /// A text with their numbers instead.
    pub(super) fn text(&self, text: &str) -> String {
        let Some(known) = self.known.as_ref().filter(|known| !known.is_empty()) else {
            return text.to_owned();
        };
        let is_part = |c: char| c.is_alphanumeric() || "-_.:/".contains(c);
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            let bare = word.trim_end_matches(['.', ':']);
            match known.get(bare) {
                Some(number) => {
                    out += &format!("client-{number}");
                    out += &word[bare.len()..];
                }
                None => out += word,
            }
            let next = after.chars().next().map_or(0, char::len_utf8);
            out += &after[..next];
            rest = &after[next..];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_same_client_has_the_same_number_wherever_it_is_named() {
        let mut clients = Clients::hidden();
        clients.learn_migration(&json!({"status": {
            "waiting": [{"client": "pump-7", "messages": 3}],
            "moved": [{"at": "b", "clients": ["gate", "skein:a:b:pull:soil"]}],
        }}));
        clients.learn_log("1: New client connected from 10.0.0.1:5 as meter/1 (p2, c1, k60).\n");
        let text = "pump-7 waits; Client gate disconnected. meter/1: skein:a:b:pull:soil stays, pump-77 too";
        assert_eq!(
            clients.text(text),
            "client-1 waits; Client client-2 disconnected. client-3: skein:a:b:pull:soil stays, pump-77 too"
        );
    }

    #[test]
    fn unless_it_is_wished_they_stay() {
        let mut clients = Clients::default();
        clients.learn_log("New client connected from 10.0.0.1:5 as pump (p2, c1, k60).\n");
        assert_eq!(clients.text("pump waits"), "pump waits");
    }
}
