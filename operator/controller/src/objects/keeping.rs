//! What is said to a pod, and what it reports.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Owner, fleet_meta};

/// The Secret that a broker's pod watches: its configuration and its users, by key.
#[must_use]
pub fn secret(owner: &Owner<'_>, data: BTreeMap<String, Vec<u8>>) -> Secret {
    opaque(owner.meta(owner.own()), data)
}

/// The Secret that is the whole fleet's. It has no owner: with it, all passwords would be others.
#[must_use]
pub fn fleet_secret(namespace: &str, data: BTreeMap<String, Vec<u8>>) -> Secret {
    opaque(fleet_meta(namespace), data)
}

/// The `ConfigMap` that a broker's pod reports in. It is the pod that writes the data: what is not said here stays its own.
#[must_use]
pub fn config_map(owner: &Owner<'_>) -> ConfigMap {
    ConfigMap {
        metadata: owner.meta(owner.own()),
        ..ConfigMap::default()
    }
}

fn opaque(metadata: ObjectMeta, data: BTreeMap<String, Vec<u8>>) -> Secret {
    let bytes = |(key, bytes): (String, Vec<u8>)| (key, ByteString(bytes));
    Secret {
        metadata,
        type_: Some("Opaque".to_owned()),
        // Never `stringData`: the server turns it into fields that no applier would own.
        data: Some(data.into_iter().map(bytes).collect()),
        ..Secret::default()
    }
}
