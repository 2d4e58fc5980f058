//! Which state of an object one looks at.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// A state of an object, as the API server numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Counts what is wanted of it; not all kinds have it.
    generation: Option<i64>,
    /// Counts every change, also of what is said of it.
    resource: String,
}

impl Version {
    /// As the metadata says.
    #[must_use]
    pub(crate) fn of(metadata: &ObjectMeta) -> Self {
        Self {
            generation: metadata.generation,
            resource: metadata.resource_version.clone().unwrap_or_default(),
        }
    }

    /// Something was done to it since it was `before`, which is the state that our own write left.
    #[must_use]
    pub(crate) fn is_changed_since(&self, before: &Self) -> bool {
        if self.resource == before.resource {
            return false;
        }
        // A watch may tell late of what our write has replaced.
        if let (Ok(now), Ok(then)) = (self.resource.parse::<u64>(), before.resource.parse::<u64>())
            && now < then
        {
            return false;
        }
        match (self.generation, before.generation) {
            // Labels and owners do not count there; that is the price of not answering each change of the status.
            (Some(now), Some(then)) => now != then,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(generation: Option<i64>, resource: &str) -> Version {
        Version {
            generation,
            resource: resource.to_owned(),
        }
    }

    #[test]
    fn what_somebody_else_did_is_a_change_and_our_own_write_is_none() {
        let ours = version(None, "20");
        assert!(version(None, "21").is_changed_since(&ours));
        assert!(!version(None, "20").is_changed_since(&ours));
        assert!(!version(None, "9").is_changed_since(&ours), "told late");
        assert!(
            version(None, "x").is_changed_since(&ours),
            "numbers may be anything"
        );
    }

    #[test]
    fn where_wishes_are_counted_a_new_status_is_no_change() {
        let ours = version(Some(3), "20");
        assert!(!version(Some(3), "25").is_changed_since(&ours));
        assert!(version(Some(4), "25").is_changed_since(&ours));
    }
}
