//! Services and endpoints that ServiceEntries declare.

use std::sync::Arc;

use crate::rules::ServiceEntry;
use crate::rules::service_entry::EntryEndpoint;
use crate::world::WorkloadIndex;
use crate::{
    Address, Endpoint, EndpointSet, Health, Hostname, Labels, Locality, Name, Port, Registry, Resolution, Service,
    TargetPort, Workload,
};

/// One service per host of every entry, with its endpoints.
pub(super) fn convert<'a>(
    entries: impl Iterator<Item = &'a ServiceEntry>,
    workloads: &WorkloadIndex,
) -> Vec<(Arc<Service>, EndpointSet)> {
    let mut converted = Vec::new();
    for entry in entries {
        for host in &entry.hosts {
            let service = service(entry, host);
            let endpoints = endpoints(entry, host, workloads);
            let set = EndpointSet::new(service.key(), endpoints);
            converted.push((Arc::new(service), set));
        }
    }
    converted
}

fn service(entry: &ServiceEntry, host: &Hostname) -> Service {
    Service {
        meta: entry.meta.clone(),
        hostname: host.clone(),
        addresses: entry.addresses.clone(),
        ports: entry.ports.clone(),
        resolution: entry.resolution.clone(),
        registry: Registry::External,
        mesh_external: entry.mesh_external,
        export_to: entry.export_to.clone(),
        selector: entry.workload_selector.clone().unwrap_or_default(),
    }
}

fn endpoints(entry: &ServiceEntry, host: &Hostname, workloads: &WorkloadIndex) -> Vec<Endpoint> {
    let mut endpoints = Vec::new();
    for port in &entry.ports {
        if let Some(selector) = &entry.workload_selector {
            let namespace = entry.meta.namespace();
            let selected =
                workloads.iter().filter(|w| w.meta.namespace() == namespace && selector.selects(&w.meta.labels));
            endpoints.extend(selected.filter_map(|w| of_workload(w, port)));
        }
        endpoints.extend(entry.endpoints.iter().map(|e| of_entry(entry, e, port)));
        if entry.endpoints.is_empty() && is_resolved_by_name(&entry.resolution) && !host.is_wildcard() {
            // Without endpoints, the host itself is what DNS is asked for.
            endpoints.push(of_host(entry, host, port));
        }
    }
    endpoints
}

fn is_resolved_by_name(resolution: &Resolution) -> bool {
    matches!(resolution, Resolution::DnsLb | Resolution::DnsRoundRobin)
}

fn of_workload(workload: &Workload, port: &Port) -> Option<Endpoint> {
    let named = |name: &Name| workload.ports.iter().find(|p| p.name == *name).map(|p| p.number);
    let number = named(&port.name).or_else(|| match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => named(name),
    })?;
    Some(Endpoint {
        address: Address::Ip(*workload.addresses.first()?),
        port: number,
        port_name: port.name.clone(),
        labels: workload.meta.labels.clone(),
        weight: workload.weight,
        health: if workload.ready { Health::Healthy } else { Health::Unhealthy },
        locality: workload.locality.clone(),
        service_account: workload.service_account.clone(),
        namespace: workload.meta.namespace().clone(),
        workload: workload.meta.name().clone(),
        node: workload.node.clone(),
        network: workload.network.clone(),
    })
}

fn of_entry(entry: &ServiceEntry, endpoint: &EntryEndpoint, port: &Port) -> Endpoint {
    let number = endpoint.ports.iter().find(|(name, _)| *name == port.name).map(|(_, number)| *number);
    Endpoint {
        address: endpoint.address.clone(),
        port: match endpoint.address {
            Address::Unix(_) => 0,
            _ => number.unwrap_or_else(|| target_number(port)),
        },
        port_name: port.name.clone(),
        labels: endpoint.labels.clone(),
        weight: endpoint.weight,
        health: Health::Healthy,
        locality: endpoint.locality.clone(),
        service_account: endpoint.service_account.clone(),
        namespace: entry.meta.namespace().clone(),
        workload: "".into(),
        node: "".into(),
        network: endpoint.network.clone(),
    }
}

fn of_host(entry: &ServiceEntry, host: &Hostname, port: &Port) -> Endpoint {
    Endpoint {
        address: Address::Dns(host.name()),
        port: target_number(port),
        port_name: port.name.clone(),
        labels: Labels::default(),
        weight: 1,
        health: Health::Healthy,
        locality: Arc::new(Locality::default()),
        service_account: "".into(),
        namespace: entry.meta.namespace().clone(),
        workload: "".into(),
        node: "".into(),
        network: "".into(),
    }
}

fn target_number(port: &Port) -> u16 {
    match port.target {
        TargetPort::Number(number) => number,
        TargetPort::Name(_) => port.number,
    }
}
