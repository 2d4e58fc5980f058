//! The four conditions, and when they change.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skein_api::resources::Condition;

/// The most characters of a message. What is longer helps nobody.
const LONGEST: usize = 1024;

pub(super) const CONFIGURED: &str = "Configured";
const MATCHED: &str = "Matched";
const OPERATIONAL: &str = "Operational";
const READY: &str = "Ready";

/// The case, not the case, or not seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    True,
    False,
    Unknown,
}

impl Answer {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What is said of one condition.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) answer: Answer,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn yes(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Answer::True, reason, message)
    }

    pub(super) fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Answer::False, reason, message)
    }

    pub(super) fn unknown(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(Answer::Unknown, reason, message)
    }

    /// Of what is declared, and not in force.
    pub(super) fn idle() -> Self {
        Self::unknown("NotInForce", "what is declared here is not in force")
    }

    fn new(answer: Answer, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            answer,
            reason,
            message: message.into(),
        }
    }
}

/// What is said of the conditions that `Ready` sums up.
pub(super) struct Verdicts {
    pub(super) configured: Verdict,
    pub(super) matched: Verdict,
    pub(super) operational: Verdict,
    /// The message of `Ready`, if it is.
    pub(super) ready: String,
}

impl Verdicts {
    /// As conditions. A condition keeps its time for as long as its status stays.
    pub(super) fn conditions(
        self,
        generation: Option<i64>,
        before: &[Condition],
        now: Timestamp,
    ) -> Vec<Condition> {
        let ready = self.sum();
        let all = [
            (CONFIGURED, self.configured),
            (MATCHED, self.matched),
            (OPERATIONAL, self.operational),
            (READY, ready),
        ];
        let condition = |(kind, verdict): (&str, Verdict)| {
            let status = verdict.answer.as_str();
            let same = find(before, kind).filter(|known| known.status == status);
            Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: verdict.reason.to_owned(),
                message: cut(verdict.message),
                last_transition_time: same
                    .map_or_else(|| whole_seconds(now), |known| known.last_transition_time.clone()),
                observed_generation: generation,
            }
        };
        all.map(condition).into()
    }

    /// What is certainly wrong comes before what is not known.
    fn sum(&self) -> Verdict {
        let parts = [&self.configured, &self.matched, &self.operational];
        let first = |answer| parts.into_iter().find(|part| part.answer == answer);
        let short = first(Answer::False).or_else(|| first(Answer::Unknown));
        short
            .cloned()
            .unwrap_or_else(|| Verdict::yes(READY, self.ready.clone()))
    }
}

pub(super) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// As the API keeps times: what is written is what is read back.
pub(super) fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}

fn cut(message: String) -> String {
    match message.char_indices().nth(LONGEST - 1) {
        Some((end, last)) if end + last.len_utf8() < message.len() => {
            format!("{}…", message.get(..end).unwrap_or_default())
        }
        _ => message,
    }
}
