//! What of a document is left to judge when some of its fields broke the schema. Knows paths, not resources.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// The value without these fields. A list with a wrong item is left out as a whole: its indices would shift.
pub(super) fn without(value: &Value, paths: &BTreeSet<String>) -> Value {
    let mut value = value.clone();
    for path in paths {
        remove(&mut value, path);
    }
    // What every topic must have is filled in, so that the rest of it can be judged; nothing is said about these.
    if let Some(spec) = value.get_mut("spec").and_then(Value::as_object_mut) {
        for (field, filler) in [
            ("filter", json!("-")),
            ("producers", json!([])),
            ("consumers", json!([])),
        ] {
            if paths.contains(&format!("spec.{field}")) {
                spec.entry(field).or_insert(filler);
            }
        }
    }
    value
}

fn remove(value: &mut Value, path: &str) {
    let Some(object) = value.as_object_mut() else {
        return;
    };
    let fits = |key: &&String| {
        path.strip_prefix(key.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    let Some(key) = object.keys().filter(fits).max_by_key(|key| key.len()).cloned() else {
        return;
    };
    let rest = &path[key.len()..];
    match rest.strip_prefix('.') {
        Some(rest) => {
            if let Some(inner) = object.get_mut(&key) {
                remove(inner, rest);
            }
        }
        None => match rest.strip_prefix('[').and_then(|rest| rest.split_once("].")) {
            // A field of an item of a list.
            Some((index, rest)) => {
                let index = index.parse::<usize>().ok();
                if let Some(item) = index.and_then(|index| object.get_mut(&key)?.get_mut(index)) {
                    remove(item, rest);
                }
            }
            None => {
                object.remove(&key);
            }
        },
    }
}

/// The fields that these are part of; `None` once there is nothing below `spec` left to leave out.
pub(super) fn parents(paths: &BTreeSet<String>) -> Option<BTreeSet<String>> {
    let parent = |path: &String| {
        let end = path.rfind(['.', '[']).unwrap_or(0);
        let parent = path.get(..end).unwrap_or_default();
        if parent.len() <= "spec".len() {
            path.clone()
        } else {
            parent.to_owned()
        }
    };
    let parents: BTreeSet<String> = paths.iter().map(parent).collect();
    (parents != *paths).then_some(parents)
}
