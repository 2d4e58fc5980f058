//! How a broker is reached: by its clients under its name, wherever they are served, and by its peers, always itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use super::{Hosted, Owner, text};
use crate::names::{self, PORT};

/// Who keeps an `EndpointSlice`: other controllers let it be.
const KEEPER: &str = "skein.mqtt.skein.dev";

/// How pods are addressed. The type of an `EndpointSlice` can never change, so it has to be right before anybody serves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// By IPv4.
    #[default]
    V4,
    /// By IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// Who serves a broker's clients: itself, or its substitute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Its address.
    pub ip: IpAddr,
    /// Its ports by name, as [`super::ports`] gives them of its own broker.
    pub ports: BTreeMap<String, i32>,
}

/// The Service that clients connect to, at these ports. It selects nothing: its [`endpoint_slice`] says who serves.
#[must_use]
pub fn client_service(owner: &Owner<'_>, ports: Vec<(String, i32)>) -> Service {
    let port = |(name, port)| service_port(name, port);
    Service {
        metadata: owner.meta(owner.name.to_string()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            ports: Some(ports.into_iter().map(port).collect()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// The Service that bridges and probes connect to. `address` is the one that it had, if it had one: bridges name it.
#[must_use]
pub fn peer_service(hosted: &Hosted<'_>, address: Option<&str>) -> Service {
    Service {
        metadata: hosted.meta(hosted.own()),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            cluster_ip: address.map(str::to_owned),
            selector: Some(names::selector(hosted.name)),
            ports: Some(vec![service_port(PORT.1.to_owned(), PORT.0)]),
            // Whether it answers is for probes to find out, and bridges try again at once.
            publish_not_ready_addresses: Some(true),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Who serves a broker's clients now: one endpoint, or none.
///
/// `client_ports` are those of its client Service: each leads to the port of the same name at whoever serves. What that one
/// does not listen for leads nowhere.
#[must_use]
pub fn endpoint_slice(
    owner: &Owner<'_>,
    client_ports: &[ServicePort],
    family: Family,
    serving: Option<&Serving>,
) -> EndpointSlice {
    let mut metadata = owner.meta(owner.own());
    metadata.labels.get_or_insert_default().extend(text([
        ("kubernetes.io/service-name", owner.name.as_str()),
        ("endpointslice.kubernetes.io/managed-by", KEEPER),
    ]));
    let endpoint = |serving: &Serving| Endpoint {
        addresses: vec![serving.ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        ..Endpoint::default()
    };
    let port = |serving: &Serving, port: &ServicePort| {
        let name = port.name.clone()?;
        Some(EndpointPort {
            port: Some(*serving.ports.get(&name)?),
            name: Some(name),
            protocol: Some("TCP".to_owned()),
            app_protocol: None,
        })
    };
    let ports = serving.map(|serving| client_ports.iter().filter_map(|wanted| port(serving, wanted)));
    EndpointSlice {
        metadata,
        address_type: serving
            .map_or(family, |serving| Family::of(serving.ip))
            .as_str()
            .to_owned(),
        endpoints: Some(serving.map(endpoint).into_iter().collect()),
        ports: Some(ports.into_iter().flatten().collect()),
    }
}

fn service_port(name: String, port: i32) -> ServicePort {
    ServicePort {
        name: Some(name),
        port,
        // Server-side apply tells ports apart by number and protocol.
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
