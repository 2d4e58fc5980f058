//! What a check finds. Plain data, for people and for programs.

use serde::Serialize;
use skein_api::name::BrokerName;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong, worst first; empty if all is proven.
    pub problems: Vec<Problem>,
    /// How many messages were walked: pairs of a topic and the broker it was published at.
    pub walked: usize,
}

impl Report {
    /// Whether nothing of severity error was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems
            .iter()
            .all(|problem| problem.severity() != Severity::Error)
    }
}

/// What went wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// It comes back to a broker where it was already, and so goes round for ever.
    Loop,
    /// A broker gets it more than once.
    Duplicate,
    /// A consumer of a declared flow does not get it.
    Loss,
    /// A consumer gets it with a lower quality of service than declared.
    QosLowered,
    /// It is carried to a broker that neither consumes it nor passes it on to one that does.
    Needless,
}

/// How bad a problem is; the worst sorts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The links must not be used like this.
    Error,
    /// They work, and cost more than they need to.
    Warning,
}

/// Something that goes wrong with a message, shown once for all messages that fare the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// What goes wrong.
    pub kind: Kind,
    /// The topic of the message that was walked.
    pub topic: String,
    /// Where it was published.
    pub producer: BrokerName,
    /// The broker where it goes wrong.
    pub broker: BrokerName,
    /// The brokers it passed, in its order, to where it goes wrong. For a loss: to the last broker on the way that
    /// still got it.
    pub trail: Vec<BrokerName>,
    /// All of this in a sentence for people, with what to do.
    pub message: String,
}

impl Problem {
    /// How bad it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.kind {
            Kind::Loop | Kind::Duplicate | Kind::Loss | Kind::QosLowered => Severity::Error,
            Kind::Needless => Severity::Warning,
        }
    }
}
