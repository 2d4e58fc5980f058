//! What each kind of user may do, as the plugin's roles say it.

use serde::{Deserialize, Serialize};

/// A rule of a role. The first that matches decides, by priority.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) acltype: Kind,
    pub(super) topic: String,
    pub(super) allow: bool,
    #[serde(default)]
    pub(super) priority: i64,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    PublishClientSend,
    PublishClientReceive,
    SubscribePattern,
    UnsubscribePattern,
}

use Kind::{PublishClientReceive, PublishClientSend, SubscribePattern, UnsubscribePattern};

/// Refusals stand before what is allowed.
const REFUSED: i64 = 10;

fn rules<const N: usize>(
    kinds: [Kind; N],
    topics: &[&str],
    allow: bool,
    priority: i64,
) -> impl Iterator<Item = Rule> {
    kinds.into_iter().flat_map(move |acltype| {
        topics.iter().map(move |topic| Rule {
            acltype,
            topic: (*topic).to_owned(),
            allow,
            priority,
        })
    })
}

fn allowed<const N: usize>(kinds: [Kind; N], topics: &[&str]) -> impl Iterator<Item = Rule> {
    rules(kinds, topics, true, 0)
}

fn refused<const N: usize>(kinds: [Kind; N], topics: &[&str]) -> impl Iterator<Item = Rule> {
    rules(kinds, topics, false, REFUSED)
}

/// Skein: everything.
pub(super) fn administrator() -> Vec<Rule> {
    let kinds = [
        PublishClientSend,
        PublishClientReceive,
        SubscribePattern,
        UnsubscribePattern,
    ];
    allowed(kinds, &["#", "$skein/#", "$CONTROL/#", "$SYS/#"]).collect()
}

/// A bridge: whatever a link may carry, both ways. It never changes, and is as wide as it is so that it need not: a session
/// keeps only what the user who resumes it may read.
pub(super) fn bridge() -> Vec<Rule> {
    let kinds = [PublishClientSend, PublishClientReceive, SubscribePattern];
    refused(kinds, &["$CONTROL/#", "$SYS/#"]).collect()
}

/// A client without a name: everything but what is Skein's and the broker's own, and `$SYS` to read.
pub(super) fn anonymous() -> Vec<Rule> {
    let kinds = [PublishClientSend, PublishClientReceive, SubscribePattern];
    refused(kinds, &["$skein/#", "$CONTROL/#", "$SYS/broker/log/#"])
        .chain(refused([PublishClientSend], &["$SYS/#"]))
        .collect()
}
