//! Which Mosquitto options a user may pass through, and which are Skein's.
//!
//! The table is `mosquitto.conf(5)` of 2.0 and 2.1, each entry tried on 2.0.11, 2.0.21 and 2.1.2. What is not in it is
//! refused, with the nearest name that is.

mod table;

use skein_api::fleet::Fleet;

use crate::config::words::{is_value, writable};
use crate::version::Version;
use table::{Entry, Kind, Rule};

/// A setting that Skein does not pass through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}; {remedy}")]
pub struct Refused {
    /// The option.
    pub key: String,
    /// Why not.
    pub reason: String,
    /// What to do instead.
    pub remedy: String,
}

/// Whether a user may set this option to this value, in any supported version.
pub fn review(key: &str, value: &str) -> Result<(), Refused> {
    let refuse = |reason: String, remedy: String| {
        Err(Refused {
            key: key.to_owned(),
            reason,
            remedy,
        })
    };
    match table::find(key) {
        None => {
            let remedy = nearest(key).map_or_else(
                || "see mosquitto.conf(5) for what there is".to_owned(),
                |known| format!("did you mean {known}?"),
            );
            refuse("Mosquitto has no such option that Skein knows".to_owned(), remedy)
        }
        Some(Entry {
            rule: Rule::Ours(why),
            ..
        }) => refuse(why.reason().to_owned(), why.remedy().to_owned()),
        Some(Entry {
            rule: Rule::Free { kind, .. },
            ..
        }) => match kind.refusal(value) {
            None => Ok(()),
            Some(expected) => refuse(
                format!("{value:?} is no value for it"),
                format!("expected {expected}"),
            ),
        },
    }
}

/// Whether a user may set this option to this value in this version.
pub fn review_for(key: &str, value: &str, version: Version) -> Result<(), Refused> {
    review(key, value)?;
    match since(key) {
        Some(since) if version < since => Err(Refused {
            key: key.to_owned(),
            reason: format!("Mosquitto {version} does not have it"),
            remedy: format!("remove it, or use {since} or later"),
        }),
        _ => Ok(()),
    }
}

/// The first version that has an option, if the oldest supported one has not.
#[must_use]
pub fn since(key: &str) -> Option<Version> {
    match table::find(key)?.rule {
        Rule::Free { since, .. } => since,
        Rule::Ours(_) => None,
    }
}

/// A changed value takes effect at a reload.
pub(crate) fn reloads(key: &str) -> bool {
    matches!(
        table::find(key),
        Some(Entry {
            rule: Rule::Free { reloads: true, .. },
            ..
        })
    )
}

impl Kind {
    /// What is expected instead of this value; `None` if it is fine.
    fn refusal(self, value: &str) -> Option<String> {
        match self {
            Self::Switch => (!matches!(value, "true" | "false")).then(|| "true or false".to_owned()),
            Self::Number(least, most) => {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                let number = value.parse::<u32>().ok().filter(|_| digits);
                let fits = number.is_some_and(|number| (least..=most).contains(&number));
                (!fits).then(|| format!("a number from {least} to {most}"))
            }
            Self::Words(known) => {
                let good = is_value(value) && value.split_whitespace().all(|word| known.contains(&word));
                (!good).then(|| format!("one or more of {}", known.join(", ")))
            }
            Self::Text => (!is_value(value))
                .then(|| "one line without control characters or spaces around it".to_owned()),
            Self::Prefix => {
                let good = is_value(value) && !value.contains(' ') && !value.starts_with("skein");
                (!good).then(|| {
                    "one word that does not start with skein, which is Skein's own prefix".to_owned()
                })
            }
        }
    }
}

/// Everything in a fleet that Mosquitto's configuration cannot or must not say: (object as `Broker/a`, field as
/// `spec.managed.settings.max_keepalive`, what is wrong and what to do), by object.
///
/// Besides settings these are filters that no version, or not the version asked for, can bridge.
#[must_use]
pub fn review_fleet(fleet: &Fleet) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut oldest = None;
    for (name, broker) in &fleet.brokers {
        let Some(managed) = broker.managed() else {
            continue;
        };
        let asked = managed.version.as_deref().and_then(series);
        oldest = oldest.into_iter().chain(asked).min();
        for (key, value) in &managed.settings {
            let verdict = asked.map_or_else(|| review(key, value), |version| review_for(key, value, version));
            if let Err(Refused { reason, remedy, .. }) = verdict {
                let field = format!("spec.{}.settings.{key}", broker.section());
                found.push((format!("Broker/{name}"), field, format!("{reason}; {remedy}")));
            }
        }
    }
    // Without a version asked for, the newest decides here; the real one does when the configuration is compiled.
    let version = oldest.unwrap_or(NEWEST);
    for (name, topic) in &fleet.topics {
        let commands = topic.commands.iter().enumerate();
        let fields = std::iter::once(("spec.filter".to_owned(), &topic.filter))
            .chain(commands.map(|(index, filter)| (format!("spec.commands[{index}]"), filter)));
        for (field, filter) in fields {
            if let Err(reason) = writable(filter, version) {
                let what = format!("{reason}; change the filter, or cover that level with +");
                found.push((format!("Topic/{name}"), field, what));
            }
        }
    }
    found
}

/// A version that stands for everything up to now.
const NEWEST: Version = Version::new(u16::MAX, 0, 0);

/// The newest version of a series, as far as options go: `2.0` is before 2.1, `2.1` is 2.1.
fn series(asked: &str) -> Option<Version> {
    let version: Version = asked.parse().ok()?;
    let whole_series = asked.split('.').count() < 3;
    Some(if whole_series {
        Version {
            patch: u16::MAX,
            ..version
        }
    } else {
        version
    })
}

/// The known option that is nearest to a mistyped one, if it is near.
fn nearest(key: &str) -> Option<&'static str> {
    let distances = table::all().map(|entry| (distance(key, entry.key), entry.key));
    distances
        .min()
        .filter(|(distance, known)| *distance * 3 <= known.len())
        .map(|(_, known)| known)
}

/// Levenshtein distance in bytes.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, left) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut above_left = index + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(other.bytes()) {
            let replaced = diagonal + usize::from(left != right);
            diagonal = *cell;
            above_left = replaced.min(*cell + 1).min(above_left + 1);
            *cell = above_left;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
