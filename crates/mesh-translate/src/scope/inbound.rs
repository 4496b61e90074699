//! The service ports that lead to a proxy's own workload.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::world::{EndpointIndex, ServiceIndex};
use mesh_model::{Address, EndpointSet, Labels, Name, Port, Registry, Resolution, Service, TargetPort, Workload};

use crate::Proxy;

/// Services that select workloads, by namespace, and those that do not.
#[derive(Debug, Default)]
pub(crate) struct Selecting {
    by_namespace: HashMap<Name, Vec<Arc<Service>>>,
    others: Vec<Arc<Service>>,
}

impl Selecting {
    pub(crate) fn new(services: &ServiceIndex) -> Self {
        let mut selecting = Self::default();
        for service in services.iter() {
            if !service.selector.is_empty() {
                selecting.by_namespace.entry(service.meta.namespace().clone()).or_default().push(service.clone());
            } else if service.resolution == Resolution::ClientSideLb {
                selecting.others.push(service.clone());
            }
        }
        selecting
    }
}

/// Ports of services without a selector, by the address of their endpoints.
#[derive(Debug, Default)]
pub(crate) struct Unselected {
    sets: Vec<Option<Arc<EndpointSet>>>,
    by_address: HashMap<IpAddr, Vec<(Arc<Service>, u16, u16)>>,
}

impl Unselected {
    pub(crate) fn new(selecting: &Selecting, endpoints: &EndpointIndex) -> Self {
        let mut unselected = Self::default();
        for service in &selecting.others {
            let set = endpoints.get(&service.key());
            unselected.sets.push(set.cloned());
            for endpoint in set.into_iter().flat_map(|s| &s.endpoints) {
                let Address::Ip(address) = endpoint.address else { continue };
                let Some(port) = service.ports.iter().find(|p| p.name == endpoint.port_name) else { continue };
                let ports = unselected.by_address.entry(address).or_default();
                ports.push((service.clone(), port.number, endpoint.port));
            }
        }
        unselected
    }

    /// Whether it would be the same for `endpoints`.
    pub(crate) fn holds_for(&self, selecting: &Selecting, endpoints: &EndpointIndex) -> bool {
        let same =
            |(old, service): (&Option<Arc<EndpointSet>>, &Arc<Service>)| match (old, endpoints.get(&service.key())) {
                (None, None) => true,
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                _ => false,
            };
        self.sets.len() == selecting.others.len() && self.sets.iter().zip(&selecting.others).all(same)
    }
}

/// `(service, its port's number, port on the workload)` for every service port
/// that leads to `proxy`, sorted by the last, then by the service's age.
pub(crate) fn own_ports(
    proxy: &Proxy,
    workload: Option<&Workload>,
    labels: &Labels,
    selecting: &Selecting,
    unselected: &Unselected,
) -> Vec<(Arc<Service>, u16, u16)> {
    let mut ports = Vec::new();
    for service in selecting.by_namespace.get(proxy.namespace()).into_iter().flatten() {
        if !service.selector.selects(labels) {
            continue;
        }
        for port in service.ports.iter().filter(|p| p.protocol != mesh_model::Protocol::Udp) {
            if let Some(target) = target(service, port, workload) {
                ports.push((service.clone(), port.number, target));
            }
        }
    }
    for address in &proxy.addresses {
        ports.extend(unselected.by_address.get(address).into_iter().flatten().cloned());
    }
    ports.sort_by(|a, b| {
        let key = |p: &(Arc<Service>, u16, u16)| (p.2, p.0.meta.created, p.0.key(), p.1);
        key(a).cmp(&key(b))
    });
    ports.dedup_by(|a, b| Arc::ptr_eq(&a.0, &b.0) && (a.1, a.2) == (b.1, b.2));
    ports
}

/// A port that is named must be declared by the workload. For a ServiceEntry's
/// port a WorkloadEntry may name another number.
fn target(service: &Service, port: &Port, workload: Option<&Workload>) -> Option<u16> {
    let named = |name: &Name| workload?.ports.iter().find(|p| p.name == *name).map(|p| p.number);
    if service.registry == Registry::External
        && let Some(number) = named(&port.name)
    {
        return Some(number);
    }
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => named(name),
    }
}
