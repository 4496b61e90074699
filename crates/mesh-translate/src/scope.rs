//! What translation reads, and nothing more: the cache key.
//!
//! A [`ProxyScope`] is equal to another if every shared part is the same one
//! (by identity) and every small part is equal. Proxies with equal scopes get
//! the same resources.
//!
//! Invariant: translation takes a scope (and, for EDS, endpoint sets) and
//! nothing else, so that it cannot read what the key lacks.

mod inbound;
mod visible;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use mesh_model::rules::mesh_config::OutboundTrafficPolicy;
use mesh_model::rules::{DestinationRule, MeshConfig};
use mesh_model::{Labels, Name, Service};

pub(crate) use inbound::{Selecting, Unselected, own_ports};
pub(crate) use visible::{Pinned, Visible, VisibleService};

use crate::envoy_filter::Patches;
use crate::memo::ById;
use crate::mutual_tls::Modes;
use crate::place::Place;
use crate::proxy::{Capture, Generator};
use crate::telemetry::Side;

/// What a proxy sees of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProxyScope {
    pub(crate) outbound: Outbound,
    pub(crate) inbound: Inbound,
}

/// What decides how a proxy calls others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outbound {
    /// The namespace it calls from.
    pub(crate) namespace: Name,
    /// Where short names are resolved.
    pub(crate) domain: Name,
    /// Its labels, as far as any rule looks at them.
    pub(crate) labels: Labels,
    pub(crate) generator: Generator,
    /// Whether connections reach it with their original destination.
    pub(crate) captured: bool,
    pub(crate) families: Families,
    /// Where it is, if any rule that it sees makes something of it.
    pub(crate) place: Option<Place>,
    /// Its own address, where it matters: without capture, and where it is
    /// itself an endpoint of a headless service.
    pub(crate) own: Option<IpAddr>,
    /// Ports that inbound listeners take on that address, and for which
    /// service; only without capture.
    pub(crate) taken: Vec<(u16, ById<Service>)>,
    pub(crate) policy: OutboundTrafficPolicy,
    pub(crate) mesh: Settings,
    pub(crate) visible: ById<Visible>,
    /// Endpoints that stand in clusters or listeners.
    pub(crate) pinned: ById<Pinned>,
    /// What EnvoyFilters change on this side.
    pub(crate) patches: Option<ById<Patches>>,
}

/// What decides how a proxy is called.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Inbound {
    pub(crate) generator: Generator,
    pub(crate) capture: Capture,
    pub(crate) families: Families,
    /// Where its listeners are bound, and where the application listens; only
    /// without capture.
    pub(crate) bound: Option<Bound>,
    pub(crate) mesh: Settings,
    /// What EnvoyFilters change on this side.
    pub(crate) patches: Option<ById<Patches>>,
    /// Which connections it accepts.
    pub(crate) mutual_tls: Modes,
    /// Sorted by target port, then age; several services may share a target.
    pub(crate) ports: Vec<OwnPort>,
}

/// What holds for one role of a proxy as a whole: the mesh's settings, and
/// what it reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Settings {
    pub(crate) mesh: ById<MeshConfig>,
    pub(crate) telemetry: Arc<Side>,
}

impl Deref for Settings {
    type Target = MeshConfig;

    fn deref(&self) -> &MeshConfig {
        &self.mesh
    }
}

/// Addresses of a proxy whose connections are not captured.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bound {
    pub(crate) address: IpAddr,
    pub(crate) application: IpAddr,
}

/// A service port that leads to the workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OwnPort {
    /// Port on the workload.
    pub(crate) target: u16,
    pub(crate) service: ById<Service>,
    /// Number of the service's port.
    pub(crate) number: u16,
    /// DestinationRules of the service, as the workload itself sees them.
    pub(crate) rules: Vec<ById<DestinationRule>>,
}

/// Which IP versions a proxy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Families {
    pub(crate) v4: bool,
    pub(crate) v6: bool,
}

impl Families {
    pub(crate) fn of(addresses: &[IpAddr]) -> Self {
        Self { v4: addresses.iter().any(IpAddr::is_ipv4), v6: addresses.iter().any(IpAddr::is_ipv6) }
    }

    /// Whether a proxy can use `address`.
    pub(crate) fn include(self, address: IpAddr) -> bool {
        if address.is_ipv4() { self.v4 } else { self.v6 }
    }

    /// The address that stands for all of a host's.
    pub(crate) fn wildcard(self) -> &'static str {
        if self.v4 { "0.0.0.0" } else { "::" }
    }
}
