//! `KIND/NAME`, as `explain` takes it and findings write it.

use std::fmt;
use std::str::FromStr;

use skein_api::name::{BrokerName, RouteName, TopicName};

/// A declared object that can be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// `topic/NAME`
    Topic(TopicName),
    /// `broker/NAME`
    Broker(BrokerName),
    /// `route/NAME`
    Route(RouteName),
}

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shape = "write topic/NAME, broker/NAME or route/NAME";
        let (kind, name) = text
            .split_once('/')
            .ok_or_else(|| format!("there is no '/' in it; {shape}"))?;
        match kind.to_ascii_lowercase().as_str() {
            "topic" | "topics" => TopicName::new(name)
                .map(Self::Topic)
                .map_err(|error| error.to_string()),
            "broker" | "brokers" => BrokerName::new(name)
                .map(Self::Broker)
                .map_err(|error| error.to_string()),
            "route" | "routes" | "noderoute" => RouteName::new(name)
                .map(Self::Route)
                .map_err(|error| error.to_string()),
            _ => Err(format!("{kind:?} cannot be explained; {shape}")),
        }
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic/{name}"),
            Self::Broker(name) => write!(f, "broker/{name}"),
            Self::Route(name) => write!(f, "route/{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_written_as_it_is_read() {
        for text in ["topic/soil", "broker/a", "route/a-b"] {
            assert_eq!(text.parse::<Object>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_bad_object_says_how_to_write_one() {
        assert_eq!(
            "soil".parse::<Object>().unwrap_err(),
            "there is no '/' in it; write topic/NAME, broker/NAME or route/NAME"
        );
        assert!(
            "link/a"
                .parse::<Object>()
                .unwrap_err()
                .starts_with("\"link\" cannot be explained")
        );
        assert!("broker/A".parse::<Object>().unwrap_err().contains("only a-z"));
    }
}
