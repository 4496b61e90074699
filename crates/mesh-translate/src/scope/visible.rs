//! The services and rules that a proxy sees, after `exportTo` and its Sidecar.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::rules::sidecar::{EgressHost, EgressNamespace};
use mesh_model::rules::virtual_service::HttpAction;
use mesh_model::rules::{DestinationRule, MeshConfig, Sidecar, VirtualService};
use mesh_model::world::{EndpointIndex, ServiceIndex};
use mesh_model::{EndpointSet, Hostname, Labels, Name, Resolution, Service, ServiceKey};

use crate::destination::Destination;
use crate::memo::ById;
use crate::place;
use crate::rules::Lookup;

/// Services and rules that clients of one kind see. Sorted by host name.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Visible {
    pub(crate) services: Vec<VisibleService>,
    /// VirtualServices for sidecars, oldest first.
    pub(crate) virtual_services: Vec<ById<VirtualService>>,
}

/// One service with the rules for calling it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VisibleService {
    pub(crate) service: ById<Service>,
    /// Ports to which a Sidecar limits it; `None`: all.
    pub(crate) ports: Option<BTreeSet<u16>>,
    /// DestinationRules that hold; see [`Lookup::destination`].
    pub(crate) rules: Vec<ById<DestinationRule>>,
    /// DestinationRules that those set aside.
    pub(crate) set_aside: Vec<ById<DestinationRule>>,
}

impl Visible {
    pub(crate) fn new(
        services: &ServiceIndex,
        lookup: &Lookup,
        mesh: &MeshConfig,
        namespace: &Name,
        labels: &Labels,
        sidecar: Option<&Sidecar>,
    ) -> Self {
        let egress = sidecar.and_then(|s| s.egress.as_deref());
        let mut virtual_services: Vec<&Arc<VirtualService>> = lookup.virtual_services(namespace).collect();
        let mut chosen: BTreeMap<&Hostname, (&Arc<Service>, Option<BTreeSet<u16>>)> = BTreeMap::new();
        let seen = || services.iter().filter(|s| s.export_to.includes(namespace));
        if let Some(egress) = egress {
            let hosts = || egress.iter().flat_map(|e| &e.hosts);
            virtual_services.retain(|v| {
                let namespace = v.meta.namespace();
                v.hosts.iter().any(|h| hosts().any(|e| lists(e, namespace) && e.host.overlaps(h)))
            });
            let referred = destinations(&virtual_services);
            for service in seen() {
                let ports = egress
                    .iter()
                    .filter(|e| e.hosts.iter().any(|h| imports(h, service.meta.namespace(), &service.hostname)));
                match ports.map(|e| e.port).collect::<Option<BTreeSet<u16>>>() {
                    Some(ports) if ports.is_empty() && !referred.contains(&service.hostname) => {}
                    Some(ports) if !ports.is_empty() => prefer(&mut chosen, service, Some(ports), namespace),
                    _ => prefer(&mut chosen, service, None, namespace),
                }
            }
        } else {
            seen().for_each(|service| prefer(&mut chosen, service, None, namespace));
        }
        let services = chosen.into_values().map(|(service, ports)| {
            let owner = service.meta.namespace();
            let chosen = lookup.destination(namespace, labels, &service.hostname, owner, &mesh.root_namespace);
            VisibleService {
                service: ById::of(service),
                ports,
                rules: chosen.rules.into_iter().map(ById).collect(),
                set_aside: chosen.set_aside.into_iter().map(ById).collect(),
            }
        });
        Self { services: services.collect(), virtual_services: virtual_services.into_iter().map(ById::of).collect() }
    }

    /// Whether it matters where the client is.
    pub(crate) fn place_matters(&self, mesh: &MeshConfig) -> bool {
        self.services.iter().any(|s| s.place_matters(mesh))
    }

    /// The service of this name.
    pub(crate) fn service(&self, host: &Hostname) -> Option<&VisibleService> {
        let found = self.services.binary_search_by(|s| s.service.hostname.cmp(host)).ok()?;
        Some(&self.services[found])
    }

    /// The service of this name or, if that is another name for a service, the
    /// service meant.
    pub(crate) fn resolve(&self, host: &Hostname) -> Option<&VisibleService> {
        const HOPS_MAX: usize = 8;
        let mut found = self.service(host)?;
        for _ in 0..HOPS_MAX {
            match &found.service.resolution {
                Resolution::Alias(other) => found = self.service(other)?,
                _ => return Some(found),
            }
        }
        None
    }
}

impl VisibleService {
    /// Whether it matters for calling it where the client is.
    pub(crate) fn place_matters(&self, mesh: &MeshConfig) -> bool {
        place::matters(Destination(&self.rules).policies(), mesh)
    }

    /// Whether it may be called on this port.
    pub(crate) fn allows(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }
}

/// Of two services with one host name the client's own namespace's is taken,
/// else the older one.
fn prefer<'a>(
    chosen: &mut BTreeMap<&'a Hostname, (&'a Arc<Service>, Option<BTreeSet<u16>>)>,
    service: &'a Arc<Service>,
    ports: Option<BTreeSet<u16>>,
    namespace: &Name,
) {
    let rank = |s: &Arc<Service>| (s.meta.namespace() != namespace, s.meta.created, s.meta.namespace().clone());
    match chosen.get(&service.hostname) {
        Some((other, _)) if rank(other) <= rank(service) => {}
        _ => {
            chosen.insert(&service.hostname, (service, ports));
        }
    }
}

fn imports(entry: &EgressHost, namespace: &Name, host: &Hostname) -> bool {
    lists(entry, namespace) && entry.host.covers(host)
}

fn lists(entry: &EgressHost, namespace: &Name) -> bool {
    match &entry.namespace {
        EgressNamespace::Any => true,
        EgressNamespace::None => false,
        EgressNamespace::Name(name) => name == namespace,
    }
}

/// Hosts that routes lead to: a Sidecar that imports a VirtualService imports
/// them as well, for its routes would lead nowhere without them.
fn destinations<'a>(virtual_services: &[&'a Arc<VirtualService>]) -> BTreeSet<&'a Hostname> {
    let routes = virtual_services.iter().flat_map(|v| &v.http);
    let routed = routes.filter_map(|r| match &r.action {
        HttpAction::Route { destinations, .. } => Some(destinations),
        _ => None,
    });
    routed.flatten().map(|d| &d.destination.host).collect()
}

/// Endpoint sets of services whose endpoints are part of clusters (names to
/// resolve) or listeners (headless TCP), by service.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Pinned {
    sets: BTreeMap<ServiceKey, ById<EndpointSet>>,
}

impl Pinned {
    pub(crate) fn new(visible: &Visible, endpoints: &EndpointIndex) -> Self {
        let pinned = visible.services.iter().filter(|s| is_pinned(&s.service));
        let sets = pinned.filter_map(|s| Some((s.service.key(), ById::of(endpoints.get(&s.service.key())?))));
        Self { sets: sets.collect() }
    }

    pub(crate) fn get(&self, key: &ServiceKey) -> Option<&ById<EndpointSet>> {
        self.sets.get(key)
    }

    /// Whether one of the endpoints is at `address`.
    pub(crate) fn includes(&self, address: std::net::IpAddr) -> bool {
        let at = mesh_model::Address::Ip(address);
        self.sets.values().flat_map(|s| &s.endpoints).any(|e| e.address == at)
    }
}

fn is_pinned(service: &Service) -> bool {
    match service.resolution {
        Resolution::DnsLb | Resolution::DnsRoundRobin => true,
        Resolution::Passthrough => service.is_headless() && service.ports.iter().any(|p| !p.protocol.is_http()),
        Resolution::ClientSideLb | Resolution::Alias(_) => false,
    }
}
