//! Every field of every custom resource, walked by what its definition says: what lies on its bounds is taken, what lies beyond is
//! refused in words that name the field, and what is there stays as it was.

#![allow(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use skein_e2e::{ApiProxy, Cluster, definitions, repository};

/// Objects that have every field between them.
fn specimens() -> Vec<(&'static str, Value)> {
    let queue = json!({"messages": 7, "bytes": "1Mi"});
    let watched = json!({"interval": "1s", "misses": 3});
    let failover = json!({"policy": "Automatic", "after": "5s", "failback": "Automatic",
        "collisions": "Manual", "substitutes": ["b"]});
    let selected = json!([{"broker": "a"}, {"selector": {"matchLabels": {"site": "field"}}}]);
    vec![
        (
            "brokers",
            json!({"heartbeat": watched, "failover": failover, "managed": {
                "version": "2.1", "image": "example.org/mosquitto:2.1", "durability": "durable", "queue": queue,
                "storage": {"size": "1Gi", "className": "fast"}, "resources": {"requests": {"cpu": "1"}},
                "listeners": [{"name": "tls", "port": 8883}], "allowAnonymous": true,
                "users": {"secretName": "people"}, "settings": {"max_keepalive": 60},
            }}),
        ),
        (
            "brokers",
            json!({"heartbeat": watched, "failover": failover, "external": {
                "address": "192.0.2.7:1883", "tls": false, "credentials": {"secretName": "login"}, "control": "Agent",
                "durability": "durable", "queue": queue, "allowAnonymous": true, "settings": {"max_keepalive": 60},
            }}),
        ),
        (
            "noderoutes",
            json!({"between": ["a", "b"], "cost": 1, "paused": false}),
        ),
        ("noderoutes", json!({"from": "a", "to": "b"})),
        (
            "topics",
            json!({"filter": "farm/+/soil", "qos": 1, "retained": true, "producers": selected, "consumers": selected,
                "commands": ["farm/+/set"], "receipts": "None", "expected": {"messagesPerSecond": 5, "bytes": 100}}),
        ),
        (
            "migrations",
            json!({"broker": "a", "to": "b", "reason": "Drain", "end": false, "abandon": false, "approved": false}),
        ),
    ]
}

/// What a definition says that is Kubernetes' own to judge.
const FOREIGN: &str = "/managed/resources";

/// What follows from another field, so that its own bounds are not all: tried by `cluster_resources`.
const DEPENDENT: [(&str, &str); 2] = [("/external/control", "None"), ("/between", "")];

/// One field, as its definition has it.
struct Field<'a> {
    /// Without the numbers of list items and the keys of maps.
    path: String,
    /// A JSON pointer into the specimen.
    at: String,
    schema: &'a Value,
}

/// The fields of a schema that a specimen has.
fn fields<'a>(schema: &'a Value, specimen: &Value, path: &str, at: &str, found: &mut Vec<Field<'a>>) {
    if path == FOREIGN {
        return;
    }
    if !path.is_empty() {
        found.push(Field {
            path: path.to_owned(),
            at: at.to_owned(),
            schema,
        });
    }
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(inner) = specimen.get(name) {
            fields(
                schema,
                inner,
                &format!("{path}/{name}"),
                &format!("{at}/{name}"),
                found,
            );
        }
    }
    for (index, inner) in specimen.as_array().into_iter().flatten().enumerate() {
        let (path, at) = (format!("{path}/[]"), format!("{at}/{index}"));
        fields(&schema["items"], inner, &path, &at, found);
    }
    if let (Some(values), Some(inner)) = (schema.get("additionalProperties"), specimen.as_object()) {
        for (key, inner) in inner {
            fields(
                values,
                inner,
                &format!("{path}/{{}}"),
                &format!("{at}/{key}"),
                found,
            );
        }
    }
}

/// All paths of a schema.
fn paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    if path == FOREIGN {
        return;
    }
    found.insert(path.to_owned());
    for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
        paths(schema, &format!("{path}/{name}"), found);
    }
    if let Some(items) = schema.get("items") {
        paths(items, &format!("{path}/[]"), found);
    }
    if let Some(values) = schema.get("additionalProperties") {
        paths(values, &format!("{path}/{{}}"), found);
    }
}

/// Values for a field: on its bounds, which are taken, and beyond.
#[derive(Default)]
struct Probes {
    taken: Vec<Value>,
    refused: Vec<Value>,
}

fn probes(schema: &Value, now: &Value) -> Probes {
    let mut probes = Probes::default();
    #[allow(
        clippy::cast_possible_truncation,
        reason = "bounds are whole numbers, written with a point"
    )]
    let number = |key: &str| schema[key].as_f64().map(|bound| bound as i64);
    let size = |key: &str| schema[key].as_u64().map(|bound| usize::try_from(bound).unwrap());
    if let Some(values) = schema["enum"].as_array() {
        probes.taken.extend(values.iter().cloned());
        probes.refused.push(json!("Nonsense"));
        probes.refused.push(json!(7));
        return probes;
    }
    if schema["x-kubernetes-int-or-string"] == true {
        probes.refused.extend([json!(true), json!([])]);
        if schema.get("pattern").is_some() {
            probes.taken.extend([json!("2Mi"), json!(4096)]);
            probes
                .refused
                .extend([json!("12 potatoes"), json!("-1"), json!("")]);
        }
        probes
            .refused
            .extend(number("minimum").map(|bound| json!(bound - 1)));
        return probes;
    }
    match schema["type"].as_str().unwrap_or_default() {
        "boolean" => {
            probes.taken.extend([json!(true), json!(false)]);
            probes.refused.extend([json!("yes"), json!(1)]);
        }
        "integer" => {
            probes.taken.extend(number("minimum").map(|bound| json!(bound)));
            probes.taken.extend(number("maximum").map(|bound| json!(bound)));
            probes
                .refused
                .extend(number("minimum").map(|bound| json!(bound - 1)));
            probes
                .refused
                .extend(number("maximum").map(|bound| json!(bound + 1)));
            probes.refused.extend([json!("7"), json!(1.5), json!(true)]);
        }
        "string" => {
            probes.refused.extend([json!(7), json!(true), json!({})]);
            probes
                .refused
                .extend(size("minLength").filter(|least| *least > 0).map(|_| json!("")));
            let pattern = schema["pattern"].as_str();
            probes.refused.extend(pattern.map(|_| json!("Not / so!")));
            if let Some(most) = size("maxLength") {
                probes.refused.push(json!("a".repeat(most + 1)));
                // Of these letters a name may consist, and text of any kind.
                if pattern.is_none_or(|pattern| pattern.starts_with("^[a-z0-9]")) {
                    probes.taken.push(json!("a".repeat(most)));
                }
            }
        }
        "array" => {
            probes.refused.extend([json!("one"), json!({})]);
            let item = &now[0];
            let some = |count: usize| Value::Array(vec![item.clone(); count]);
            probes.refused.extend(size("maxItems").map(|most| some(most + 1)));
            probes
                .refused
                .extend(size("minItems").map(|least| some(least - 1)));
        }
        "object" => {
            probes.refused.extend([json!("one"), json!([])]);
            if let Some(most) = size("maxProperties") {
                let entries = (0..=most).map(|number| (format!("key{number}"), json!("value")));
                probes.refused.push(Value::Object(entries.collect()));
            }
            probes.refused.extend(size("minProperties").map(|_| json!({})));
        }
        other => unreachable!("a field of type {other:?}"),
    }
    probes
}

fn definition(plural: &str) -> Result<Value> {
    let path = repository()
        .join("crds")
        .join(format!("{plural}.mqtt.skein.dev.yaml"));
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let definition: Value = serde_saphyr::from_str(&text)?;
    Ok(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone())
}

#[tokio::test]
async fn every_field_is_taken_within_its_bounds_and_refused_by_name_beyond() -> Result<()> {
    let Some(cluster) = Cluster::find("every_field_is_taken_within_its_bounds_and_refused_by_name_beyond")
    else {
        return Ok(());
    };
    definitions(&cluster).await?;
    cluster.without_controller().await?;
    let namespace = cluster.namespace("fields").await?;
    let api = ApiProxy::start(&cluster).await?;
    let (mut walked, mut asked) = (BTreeSet::new(), 0);
    let mut wrong = Vec::new();
    for (plural, specimen) in specimens() {
        let schema = definition(plural)?;
        let folder = format!(
            "/apis/mqtt.skein.dev/v1alpha1/namespaces/{}/{plural}",
            namespace.name()
        );
        let tried = format!("{folder}?dryRun=All&fieldValidation=Strict");
        let kind = match plural {
            "brokers" => "Broker",
            "noderoutes" => "NodeRoute",
            "topics" => "Topic",
            _ => "Migration",
        };
        let object = |spec: &Value| {
            json!({"apiVersion": "mqtt.skein.dev/v1alpha1", "kind": kind,
                "metadata": {"name": "specimen"}, "spec": spec})
        };
        let sound = api.create(&tried, &object(&specimen)).await?;
        ensure!(sound.is_ok(), "the specimen of {kind}: {sound:?}");
        let mut found = Vec::new();
        fields(&schema, &specimen, "", "", &mut found);
        for Field { path, at, schema } in found {
            walked.insert(format!("{plural}{path}"));
            let probes = probes(schema, specimen.pointer(&at).unwrap());
            let of_others = |value: &Value| {
                DEPENDENT
                    .iter()
                    .any(|(field, which)| path == *field && (which.is_empty() || value == which))
            };
            let taken = probes.taken.into_iter().filter(|value| !of_others(value));
            let all = taken.map(|value| (value, true));
            for (value, is_sound) in all.chain(probes.refused.into_iter().map(|value| (value, false))) {
                asked += 1;
                let mut spec = specimen.clone();
                *spec.pointer_mut(&at).unwrap() = value.clone();
                let answer = api.create(&tried, &object(&spec)).await?;
                let name = at
                    .rsplit('/')
                    .find(|part| part.parse::<usize>().is_err())
                    .unwrap();
                match answer {
                    Ok(_) if is_sound => {}
                    Ok(_) => wrong.push(format!("{plural}{at}: {value} is taken")),
                    Err(status) if is_sound => {
                        wrong.push(format!("{plural}{at}: {value} is refused: {}", status["message"]));
                    }
                    Err(status) if status["message"].as_str().is_none_or(|said| !said.contains(name)) => {
                        wrong.push(format!(
                            "{plural}{at}: {value}: the field is not named: {}",
                            status["message"]
                        ));
                    }
                    Err(_) => {}
                }
            }
            // And back from the error.
            let sound = api.create(&tried, &object(&specimen)).await?;
            ensure!(sound.is_ok(), "the specimen of {kind} after {path}: {sound:?}");
        }
        // A field that nobody knows is one that somebody has misspelt.
        let mut spec = specimen.clone();
        spec["intervall"] = json!("1s");
        let answer = api.create(&tried, &object(&spec)).await?;
        ensure!(
            answer.is_err_and(|status| status["message"].to_string().contains("intervall")),
            "an unknown field of {kind} is taken"
        );
    }
    for plural in ["brokers", "noderoutes", "topics", "migrations"] {
        let mut all = BTreeSet::new();
        paths(&definition(plural)?, "", &mut all);
        let all = all.into_iter().filter(|path| !path.is_empty());
        let missed: Vec<String> = all
            .map(|path| format!("{plural}{path}"))
            .filter(|path| !walked.contains(path))
            .collect();
        ensure!(missed.is_empty(), "no specimen has {missed:?}");
    }
    println!("{} fields, {asked} values", walked.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
