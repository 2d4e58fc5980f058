//! Any object as it is to be applied, whatever its kind.

use kube::core::ApiResource;
use serde::Serialize;
use serde_json::Value;

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it is, for a dynamic `Api`.
    pub resource: ApiResource,
    /// Its name.
    pub name: String,
    /// All that is wanted of it, with `apiVersion` and `kind`.
    pub body: Value,
}

impl Wanted {
    /// No more of an object than this; its metadata lacks only who it is.
    #[must_use]
    pub fn part<K: kube::Resource<DynamicType = ()>>(namespace: &str, name: &str, mut body: Value) -> Self {
        body["apiVersion"] = K::api_version(&()).into();
        body["kind"] = K::kind(&()).into();
        body["metadata"]["name"] = name.into();
        body["metadata"]["namespace"] = namespace.into();
        Self {
            resource: ApiResource::erase::<K>(&()),
            name: name.to_owned(),
            body,
        }
    }

    /// A typed object, to be applied.
    ///
    /// # Errors
    /// None that is known: serialising could fail only on a map whose keys are no text.
    pub fn of<T>(object: &T) -> Result<Self, serde_json::Error>
    where
        T: kube::Resource<DynamicType = ()> + Serialize,
    {
        Ok(Self {
            resource: ApiResource::erase::<T>(&()),
            name: object.meta().name.clone().unwrap_or_default(),
            body: serde_json::to_value(object)?,
        })
    }
}
