//! Whether a controller acts, as its Lease tells.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;

use crate::cluster::Cluster;

/// What is known of the controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// One acts.
    Acts,
    /// None does, since then at least.
    Nobody(Option<Timestamp>),
    /// The Lease cannot be read, or there is none: it may be called otherwise.
    Unknown,
}

/// How far clocks may be apart before a Lease is looked at twice.
const DOUBT: SignedDuration = SignedDuration::from_secs(2);
/// How often it is looked at then.
const PULSE: Duration = Duration::from_millis(500);

impl Keeper {
    /// Looks at the Lease; for as long as it lasts, if this machine's clock says that it is over.
    pub(crate) async fn look(cluster: &Cluster) -> Self {
        let first = match read(cluster).await {
            Ok(lease) => lease,
            Err(keeper) => return keeper,
        };
        let Some(renewed) = first.renewed() else {
            return Self::Nobody(first.0.renew_time.map(|time| time.0));
        };
        let age = Timestamp::now().duration_since(renewed);
        if age.abs() <= first.lasts() + DOUBT {
            return Self::Acts;
        }
        // The clock may be wrong; that it is renewed is not.
        let end = tokio::time::Instant::now() + first.lasts().unsigned_abs();
        while tokio::time::Instant::now() < end {
            tokio::time::sleep(PULSE).await;
            match read(cluster).await {
                Ok(lease) if lease.renewed() != Some(renewed) => return Self::Acts,
                Ok(_) => {}
                Err(keeper) => return keeper,
            }
        }
        Self::Nobody(Some(renewed))
    }

    /// That none acts, and what to do, if that is so.
    pub(crate) fn lack(&self, cluster: &Cluster) -> Option<String> {
        let Self::Nobody(since) = self else { return None };
        let (namespace, name) = (&cluster.lease.namespace, &cluster.lease.name);
        let since = since.map_or_else(
            || "nobody ever held it".to_owned(),
            |since| format!("last renewed at {}", since.strftime("%F %TZ")),
        );
        Some(format!(
            "no controller acts (Lease {namespace}/{name}: {since}); see what keeps it with `kubectl -n {namespace} get pods`"
        ))
    }
}

struct Held(LeaseSpec);

impl Held {
    /// When it was renewed last, if anybody holds it.
    fn renewed(&self) -> Option<Timestamp> {
        let holder = self.0.holder_identity.as_deref().unwrap_or_default();
        let renewed = self.0.renew_time.as_ref()?.0;
        (!holder.is_empty()).then_some(renewed)
    }

    fn lasts(&self) -> SignedDuration {
        SignedDuration::from_secs(i64::from(self.0.lease_duration_seconds.unwrap_or(15)))
    }
}

async fn read(cluster: &Cluster) -> Result<Held, Keeper> {
    let api: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.lease.namespace);
    match api.get(&cluster.lease.name).await {
        Ok(lease) => Ok(Held(lease.spec.unwrap_or_default())),
        Err(_) => Err(Keeper::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

    #[test]
    fn a_lease_that_was_given_back_is_held_by_nobody() {
        let held = |holder: &str| {
            Held(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                renew_time: Some(MicroTime(Timestamp::UNIX_EPOCH)),
                ..LeaseSpec::default()
            })
        };
        assert_eq!(held("").renewed(), None);
        assert_eq!(held("skein-0").renewed(), Some(Timestamp::UNIX_EPOCH));
    }
}
