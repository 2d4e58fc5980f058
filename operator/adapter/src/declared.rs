//! What is declared, judged: whether it can run, and what an edit changes. Where the texts come from, files or objects of a
//! cluster, is for those who use it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skein_api::fleet::Fleet;
pub use skein_api::manifest::Problem;
use skein_api::manifest::{self, Severity, Source};
use skein_api::resources::{Migration, MigrationSpec};

/// A manifest file, as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Its path.
    pub path: String,
    /// What was in it.
    pub text: String,
}

/// What a set of files declares.
#[derive(Clone, Debug)]
pub struct Declared {
    /// The fleet.
    pub fleet: Arc<Fleet>,
    /// What people want moved, by the name of the Migration.
    pub migrations: BTreeMap<String, MigrationSpec>,
    /// What does not stand against it, and may surprise.
    pub warnings: Vec<Problem>,
}

/// All the files together: a fleet that can run, or everything that stands against it. The one judgement for every
/// command, so that what can be planned can be run.
///
/// # Errors
/// Every problem, warnings too, if one of them is an error.
pub fn load(files: &[ManifestFile]) -> Result<Declared, Vec<Problem>> {
    load_where(files, |_| Vec::new())
}

/// Something that may be declared and that cannot be done: object, field, what is wrong, what to do.
pub type Objection = (String, &'static str, &'static str, &'static str);

/// The same, where something more than elsewhere stands against a fleet.
///
/// # Errors
/// As [`load`].
pub fn load_where(
    files: &[ManifestFile],
    object: impl Fn(&Fleet) -> Vec<Objection>,
) -> Result<Declared, Vec<Problem>> {
    let sources: Vec<Source<'_>> = files
        .iter()
        .map(|file| Source {
            path: &file.path,
            text: &file.text,
        })
        .collect();
    let mut loaded = manifest::load(&sources);
    let mut problems = std::mem::take(&mut loaded.problems);
    let fleet = loaded.fleet.take();
    if let Some(fleet) = &fleet {
        let later =
            skein_mosquitto::settings::review_fleet(fleet)
                .into_iter()
                .map(|(object, field, text)| {
                    let (message, remedy) = text.rsplit_once("; ").unwrap_or((&text, "change or remove it"));
                    loaded.problem(Severity::Error, &object, &field, message, remedy)
                });
        problems.extend(later);
        for (object, field, message, remedy) in not_there_yet(fleet).into_iter().chain(object(fleet)) {
            if !problems
                .iter()
                .any(|known| known.object == object && known.field == field)
            {
                problems.push(loaded.problem(Severity::Error, &object, field, message, remedy));
            }
        }
    }
    match fleet {
        Some(fleet) if problems.iter().all(|problem| problem.severity != Severity::Error) => Ok(Declared {
            fleet: Arc::new(fleet),
            migrations: named(loaded.migrations),
            warnings: problems,
        }),
        _ => Err(problems),
    }
}

fn named(migrations: Vec<Migration>) -> BTreeMap<String, MigrationSpec> {
    let named = |migration: Migration| Some((migration.metadata.name?, migration.spec));
    migrations.into_iter().filter_map(named).collect()
}

/// What may be declared and is not there yet.
fn not_there_yet(fleet: &Fleet) -> Vec<Objection> {
    let mut found = Vec::new();
    for (name, broker) in &fleet.brokers {
        let mut add = |field, message, remedy| found.push((format!("Broker/{name}"), field, message, remedy));
        if broker.managed().is_some_and(|managed| managed.users.is_some()) {
            add(
                "spec.managed.users",
                "clients cannot log in with names of their own yet",
                "remove it, set allowAnonymous: true, and keep the broker on a network you trust",
            );
        }
    }
    found
}

/// What differs between two fleets, a line each, as `topic soil added`.
#[must_use]
pub fn differences(old: &Fleet, new: &Fleet) -> Vec<String> {
    let mut lines = Vec::new();
    compare("broker", &old.brokers, &new.brokers, &mut lines);
    compare("route", &old.routes, &new.routes, &mut lines);
    compare("topic", &old.topics, &new.topics, &mut lines);
    lines
}

/// What differs between objects of a kind, a line each.
pub fn compare<K: Ord + std::fmt::Display, V: PartialEq>(
    kind: &str,
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    lines: &mut Vec<String>,
) {
    for (name, value) in new {
        match old.get(name) {
            None => lines.push(format!("{kind} {name} added")),
            Some(before) if before != value => lines.push(format!("{kind} {name} changed")),
            Some(_) => {}
        }
    }
    lines.extend(
        old.keys()
            .filter(|name| !new.contains_key(name))
            .map(|name| format!("{kind} {name} removed")),
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use skein_api::fleet::FleetBuilder;

    #[test]
    fn differences_name_every_object() {
        let old = FleetBuilder::new()
            .routes("a-b b-c")
            .topic("soil", "soil/#", "a", "c")
            .build();
        let new = FleetBuilder::new()
            .routes("a-b:7 b-d")
            .topic("soil", "soil/#", "a", "b")
            .build();
        assert_eq!(
            differences(&old, &new),
            [
                "broker d added",
                "broker c removed",
                "route a-b changed",
                "route b-d added",
                "route b-c removed",
                "topic soil changed",
            ]
        );
        assert!(differences(&old, &old).is_empty());
    }

    #[test]
    fn what_people_want_moved_is_declared_beside_the_fleet() {
        let head = "apiVersion: mqtt.skein.dev/v1alpha1\nkind:";
        let broker = |name| {
            format!(
                "{head} Broker\nmetadata: {{name: {name}}}\nspec: {{managed: {{allowAnonymous: true}}}}\n---\n"
            )
        };
        let drain = format!(
            "{head} Migration\nmetadata: {{name: away}}\nspec: {{broker: a, to: b, abandon: true}}\n"
        );
        let files = [ManifestFile {
            path: "fleet.yaml".to_owned(),
            text: broker("a") + &broker("b") + &drain,
        }];
        let declared = load(&files).unwrap();
        let away = &declared.migrations["away"];
        assert_eq!((away.broker.as_str(), away.abandon, away.end), ("a", true, false));
        assert_eq!(away.to.as_ref().map(ToString::to_string).as_deref(), Some("b"));
        let mut changes = Vec::new();
        compare("migration", &BTreeMap::new(), &declared.migrations, &mut changes);
        assert_eq!(changes, ["migration away added"]);
    }
}
