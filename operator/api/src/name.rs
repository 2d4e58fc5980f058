//! Checked names and quantities that the whole workspace shares.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A name that is not one: which, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a name: {reason}")]
pub struct NameError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

fn check(text: &str) -> Result<(), NameError> {
    let fail = |reason| {
        Err(NameError {
            text: text.to_owned(),
            reason,
        })
    };
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.len() > 63 {
        return fail("it is longer than 63 characters");
    }
    if text
        .bytes()
        .any(|byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'))
    {
        return fail("only a-z, 0-9 and '-' are allowed");
    }
    if !edge(text.bytes().next()) || !edge(text.bytes().last()) {
        return fail("it must start and end with a letter or a digit");
    }
    Ok(())
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        ///
        /// An RFC 1123 label, as Kubernetes wants it: at most 63 of `a-z`, `0-9`, `-`. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text).map(|()| Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )+};
}

names! {
    /// The name of a `Broker`.
    BrokerName
    /// The name of a `NodeRoute`.
    RouteName
    /// The name of a `Topic` resource (not an MQTT topic).
    TopicName
    /// The name of an overlap class: the name of one of its topics, kept while any of them stays.
    ClassName
}

impl From<&TopicName> for ClassName {
    fn from(topic: &TopicName) -> Self {
        Self(topic.0.clone())
    }
}

/// The cost of a route: 1 to 10,000, in units of the user's choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Cost(u16);

impl Cost {
    /// The smallest cost, and the default.
    pub const ONE: Self = Self(1);
    /// The largest cost.
    pub const MAX: Self = Self(10_000);

    /// A cost, if it is from 1 to 10,000.
    #[must_use]
    pub fn new(cost: i64) -> Option<Self> {
        u16::try_from(cost)
            .ok()
            .filter(|cost| (1..=Self::MAX.0).contains(cost))
            .map(Self)
    }

    /// The cost as a number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// An MQTT quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "i64")]
pub enum Qos {
    /// 0: at most once.
    AtMostOnce,
    /// 1: at least once.
    #[default]
    AtLeastOnce,
    /// 2: exactly once.
    ExactlyOnce,
}

impl Qos {
    /// The level, if the number is 0, 1 or 2.
    #[must_use]
    pub fn new(level: i64) -> Option<Self> {
        match level {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// A number that is no quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no QoS: expected 0, 1 or 2")]
pub struct QosError(pub i64);

impl TryFrom<i64> for Qos {
    type Error = QosError;

    fn try_from(level: i64) -> Result<Self, QosError> {
        Self::new(level).ok_or(QosError(level))
    }
}

impl From<Qos> for u8 {
    fn from(qos: Qos) -> u8 {
        qos as u8
    }
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (*self as u8).fmt(f)
    }
}
