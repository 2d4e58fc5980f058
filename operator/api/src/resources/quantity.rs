//! Durations and sizes as users write them: `50ms`, `64Mi`. They know their text form and its schema, nothing else.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration or size that cannot be read: what was given and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what}: {reason}")]
pub struct QuantityError {
    /// `duration` or `size`.
    pub what: &'static str,
    /// What was given.
    pub text: String,
    /// What is wrong with it, and what to write.
    pub reason: String,
}

/// A length of time, written as whole numbers with a unit: `50ms`, `5s`, `2m`, `1h`, `1m30s`. At most 30 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(Duration);

pub(crate) const PERIOD_PATTERN: &str = "^([0-9]+(ms|s|m|h))+$";
const LONGEST_MILLIS: u64 = 30 * 24 * 3_600_000;

impl Period {
    /// A period of so many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The period as a duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Period {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = |reason: String| QuantityError {
            what: "duration",
            text: text.to_owned(),
            reason,
        };
        if text.is_empty() {
            return Err(fail("it is empty; write 5s, say".to_owned()));
        }
        let mut total: u64 = 0;
        let mut rest = text;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
            // A byte that is no ASCII letter may be inside a character, so split at letters only.
            let (unit, after) = after.split_at(letters);
            if after.starts_with('.') {
                return Err(fail(
                    "only whole numbers are allowed; write 1500ms instead of 1.5s".to_owned(),
                ));
            }
            if text.contains(char::is_whitespace) {
                return Err(fail("it holds a space; write 5s or 1m30s".to_owned()));
            }
            if number.is_empty() {
                return Err(fail(format!(
                    "a number is expected at {rest:?}; write 50ms, 5s, 2m or 1h"
                )));
            }
            let millis = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                "" => {
                    return Err(fail(format!(
                        "the number {number} has no unit; write {number}s or {number}ms"
                    )));
                }
                _ => {
                    return Err(fail(format!("{unit:?} is not a unit; use ms, s, m or h")));
                }
            };
            total = number
                .parse::<u64>()
                .ok()
                .and_then(|number| number.checked_mul(millis))
                .and_then(|part| part.checked_add(total))
                .filter(|total| *total <= LONGEST_MILLIS)
                .ok_or_else(|| fail("it is longer than 30 days; write at most 720h".to_owned()))?;
            rest = after;
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        for (unit, size) in [("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
            if millis >= size && millis.is_multiple_of(size) {
                return write!(f, "{}{unit}", millis / size);
            }
        }
        write!(f, "{millis}ms")
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 2, "maxLength": 32, "pattern": PERIOD_PATTERN })
    }
}

/// A number of bytes, written as a whole number with an optional unit: `512`, `64k`, `64Ki`, `64Mi`, `1Gi`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

pub(crate) const SIZE_PATTERN: &str = "^[0-9]+(k|M|G|T|Ki|Mi|Gi|Ti)?$";
const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1000),
];

impl Size {
    /// A size of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let fail = |reason: String| QuantityError {
            what: "size",
            text: text.to_owned(),
            reason,
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(fail(
                "it does not start with a whole number; write 64Mi, say".to_owned(),
            ));
        }
        let factor = match unit {
            "" => 1,
            "K" | "KB" | "kB" | "kb" => {
                return Err(fail(format!(
                    "{unit:?} is not a unit; write {number}k or {number}Ki"
                )));
            }
            _ => UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, factor)| *factor)
                .ok_or_else(|| {
                    fail(format!(
                        "{unit:?} is not a unit; use k, M, G, T or Ki, Mi, Gi, Ti"
                    ))
                })?,
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .filter(|bytes| i64::try_from(*bytes).is_ok())
            .map(Self)
            .ok_or_else(|| fail("it is too large".to_owned()))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor))
        {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes or a size such as 64Mi")
            }

            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes)
                    .map(Size)
                    .map_err(|_| E::custom("a size is not negative"))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "minimum": 0, "maxLength": 32, "pattern": SIZE_PATTERN })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Result<u64, String> {
        text.parse::<Period>()
            .map(|period| period.get().as_secs() * 1000 + u64::from(period.get().subsec_millis()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_whole_numbers_with_units() {
        assert_eq!(period("50ms"), Ok(50));
        assert_eq!(period("1m30s"), Ok(90_000));
        for wrong in [
            "",
            "5",
            "1.5s",
            "s",
            "5 s",
            "-1s",
            "5x",
            "99999999999999999999s",
            "721h",
            "5s ü",
            "1ü",
        ] {
            assert!(period(wrong).is_err(), "{wrong:?} is taken for a duration");
        }
        assert!(period("1.5s").is_err_and(|error| error.contains("1500ms")));
        assert!(period("5").is_err_and(|error| error.contains("5s")));
    }

    #[test]
    fn durations_and_sizes_print_as_they_read() {
        for text in ["0ms", "50ms", "5s", "90s", "2m", "1h"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
        for text in ["0", "512", "3k", "64Ki", "64Mi", "1Gi", "5G", "2Ti"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for wrong in ["", "Mi", "64MB", "64K", "1.5Gi", "-1", "99999999999Ti", "6ü"] {
            assert!(wrong.parse::<Size>().is_err(), "{wrong:?} is taken for a size");
        }
    }
}
