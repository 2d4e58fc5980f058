//! The arguments that programs share.

use std::str::FromStr;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, ValueEnum};
use skein_api::name::{BrokerName, NameError};
use skein_api::resources::Period;

use crate::object::Object;

/// How help looks.
pub const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A broker to suppose down.
#[derive(Clone, Debug)]
pub struct Down {
    /// Which.
    pub broker: BrokerName,
    /// Who serves its clients, if that is supposed too.
    pub substitute: Option<BrokerName>,
}

impl FromStr for Down {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (broker, substitute) = match text.split_once('=') {
            Some((broker, substitute)) => (broker, Some(BrokerName::new(substitute)?)),
            None => (text, None),
        };
        Ok(Self {
            broker: BrokerName::new(broker)?,
            substitute,
        })
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Output {
    /// Tables for people; JSON or YAML, whose shapes are stable, for programs
    #[arg(
        short = 'o',
        long = "output",
        value_name = "FORMAT",
        value_enum,
        default_value_t
    )]
    pub format: Format,
}

/// An output format.
#[allow(missing_docs, reason = "clap would print it beside names that say it already")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

/// What is to be explained.
#[derive(Debug, Args)]
pub struct Explained {
    /// What: `topic/NAME`, `broker/NAME` or `route/NAME`
    #[arg(value_name = "KIND/NAME")]
    pub object: Object,
    /// Of a topic, only the paths from this producer
    #[arg(long, value_name = "PRODUCER")]
    pub from: Option<BrokerName>,
    /// Of a topic, only the paths to this consumer
    #[arg(long, value_name = "CONSUMER")]
    pub to: Option<BrokerName>,
}

/// How long a command waits for what it asked for.
#[derive(Clone, Copy, Debug, Args)]
pub struct Waiting {
    /// Return as soon as it is asked for
    #[arg(long, conflicts_with_all = ["timeout", "format"])]
    pub no_wait: bool,
    /// Wait no longer than this (5s, 10m, 1h30m); it goes on all the same [default: as long as it takes]
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<Period>,
}
