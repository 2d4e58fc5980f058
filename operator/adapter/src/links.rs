//! Links as JSON: kept beside each configuration, so that the next life knows what a broker may be carrying.

use serde::{Deserialize, Serialize};
use skein_api::name::{BrokerName, ClassName, Qos};
use skein_filters::TopicFilter;
use skein_mosquitto::link::{Direction, Line, Link, Mode};

/// What was kept is no list of links.
#[derive(Debug, thiserror::Error)]
#[error("not a list of links: {0}")]
pub struct LinkError(String);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinkRecord {
    downstream: BrokerName,
    upstream: BrokerName,
    mode: Option<String>,
    /// What earlier versions wrote in place of the mode.
    #[serde(default, skip_serializing)]
    duplex: Option<bool>,
    lines: Vec<LineRecord>,
    control: Vec<LineRecord>,
    class: ClassName,
}

#[derive(Serialize, Deserialize)]
struct LineRecord {
    filter: String,
    direction: DirectionRecord,
    qos: u8,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DirectionRecord {
    In,
    Out,
    Both,
}

/// Links as JSON.
///
/// # Errors
/// Never for links that the planner makes.
pub fn to_json<'a>(links: impl IntoIterator<Item = &'a Link>) -> Result<serde_json::Value, LinkError> {
    let records: Vec<LinkRecord> = links
        .into_iter()
        .map(|link| LinkRecord {
            downstream: link.downstream.clone(),
            upstream: link.upstream.clone(),
            mode: Some(link.mode.to_string()),
            duplex: None,
            lines: link.lines.iter().map(record).collect(),
            control: link.control.iter().map(record).collect(),
            class: link.class.clone(),
        })
        .collect();
    serde_json::to_value(records).map_err(|error| LinkError(error.to_string()))
}

/// Links from JSON.
///
/// # Errors
/// If it is not what [`to_json`] writes, or wrote in an earlier version.
pub fn from_json(json: &serde_json::Value) -> Result<Vec<Link>, LinkError> {
    let records = Vec::<LinkRecord>::deserialize(json).map_err(|error| LinkError(error.to_string()))?;
    records
        .into_iter()
        .map(|link| {
            Ok(Link {
                downstream: link.downstream,
                upstream: link.upstream,
                mode: mode(link.mode.as_deref(), link.duplex)?,
                lines: link.lines.iter().map(line).collect::<Result<_, _>>()?,
                control: link.control.iter().map(line).collect::<Result<_, _>>()?,
                class: link.class,
            })
        })
        .collect()
}

fn mode(word: Option<&str>, duplex: Option<bool>) -> Result<Mode, LinkError> {
    match (word, duplex) {
        (Some(word), _) => word.parse().map_err(|()| LinkError(format!("mode {word}"))),
        (None, Some(true)) => Ok(Mode::Duplex),
        (None, Some(false)) => Ok(Mode::Pull),
        (None, None) => Err(LinkError("no mode".to_owned())),
    }
}

fn record(line: &Line) -> LineRecord {
    LineRecord {
        filter: line.filter.as_str().to_owned(),
        direction: match line.direction {
            Direction::In => DirectionRecord::In,
            Direction::Out => DirectionRecord::Out,
            Direction::Both => DirectionRecord::Both,
        },
        qos: line.qos.into(),
    }
}

fn line(record: &LineRecord) -> Result<Line, LinkError> {
    Ok(Line {
        filter: TopicFilter::parse(&record.filter)
            .map_err(|error| LinkError(format!("{}: {error}", record.filter)))?,
        direction: match record.direction {
            DirectionRecord::In => Direction::In,
            DirectionRecord::Out => Direction::Out,
            DirectionRecord::Both => Direction::Both,
        },
        qos: Qos::new(record.qos.into()).ok_or_else(|| LinkError(format!("QoS {}", record.qos)))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_come_back_as_they_were() {
        let name = |text| BrokerName::new(text).unwrap();
        let line = |filter, direction, qos| Line {
            filter: TopicFilter::parse(filter).unwrap(),
            direction,
            qos,
        };
        let links = [
            Link {
                downstream: name("a"),
                upstream: name("b"),
                mode: Mode::Pull,
                lines: [line("farm/+/soil", Direction::In, Qos::ExactlyOnce)].into(),
                control: [line("$skein/probe/soil/#", Direction::In, Qos::AtLeastOnce)].into(),
                class: ClassName::new("soil").unwrap(),
            },
            Link {
                downstream: name("c"),
                upstream: name("b"),
                mode: Mode::Duplex,
                lines: [
                    line("x", Direction::Out, Qos::AtMostOnce),
                    line("y/#", Direction::Both, Qos::AtLeastOnce),
                ]
                .into(),
                control: [].into(),
                class: ClassName::new("x").unwrap(),
            },
        ];
        assert_eq!(from_json(&to_json(&links).unwrap()).unwrap(), links);
    }

    /// A link of the class x with one line for this filter, and this field.
    fn json(filter: &str, field: &str, value: &serde_json::Value) -> serde_json::Value {
        let mut link = serde_json::json!({
            "downstream": "a", "upstream": "b", "control": [], "class": "x",
            "lines": [{"filter": filter, "direction": "in", "qos": 1}],
        });
        link[field] = value.clone();
        serde_json::json!([link])
    }

    #[test]
    fn links_that_an_earlier_version_kept_are_read() {
        for (duplex, mode) in [(false, Mode::Pull), (true, Mode::Duplex)] {
            let links = from_json(&json("x", "duplex", &duplex.into())).unwrap();
            assert_eq!(links[0].mode, mode);
            let kept = to_json(&links).unwrap();
            assert_eq!(kept, json("x", "mode", &mode.to_string().into()));
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        assert!(from_json(&serde_json::Value::Null).is_err());
        assert_eq!(from_json(&to_json(&[]).unwrap()).unwrap(), []);
        let reason = |json| from_json(&json).unwrap_err().to_string();
        assert!(reason(json("a/#/b", "mode", &"pull".into())).contains("a/#/b"));
        assert!(reason(json("a", "mode", &"push".into())).contains("mode push"));
        assert!(reason(json("a", "other", &true.into())).contains("no mode"));
    }
}
