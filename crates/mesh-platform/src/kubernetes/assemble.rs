//! Joins Services, slices, Pods and Nodes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{
    Address, Code, Diagnostic, Endpoint, Health, Kind, Labels, Locality, Name, Namespace, ObjectRef, Resolution,
    Secret, ServiceKey, Severity, TargetPort, Workload, WorkloadKey,
};

use super::{Declared, Node, Pod, Resource, Slice, SliceEndpoint};
use crate::known::Shard;

/// What the objects of a platform mean together.
#[derive(Debug, Clone, Default)]
pub struct Assembled {
    /// Services.
    pub services: BTreeMap<ServiceKey, Arc<mesh_model::Service>>,
    /// Endpoints by service and source; no entry is empty.
    pub endpoints: BTreeMap<Shard, Vec<Endpoint>>,
    /// Pods, with the locality of their nodes.
    pub workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
    /// Namespaces.
    pub namespaces: BTreeMap<Name, Arc<Namespace>>,
    /// Secrets, and ConfigMaps with authorities.
    pub secrets: BTreeMap<ObjectRef, Arc<Secret>>,
    /// What does not fit together.
    pub diagnostics: Vec<Diagnostic>,
}

/// Joins `resources`, which name every object at most once.
pub fn assemble<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Assembled {
    let parts = Parts::new(resources);
    let mut assembled = Assembled::default();
    for (key, pod) in &parts.pods {
        if !pod.finished {
            assembled.workloads.insert(key.clone(), parts.workload(pod));
        }
    }
    for namespace in &parts.namespaces {
        assembled.namespaces.insert(namespace.meta.name().clone(), (*namespace).clone());
    }
    for secret in &parts.secrets {
        assembled.secrets.insert(secret.meta.object.clone(), (*secret).clone());
    }
    for service in parts.services.values() {
        assembled.services.insert(service.service.key(), service.service.clone());
        parts.join(service, &mut assembled);
    }
    for ((namespace, name), slices) in &parts.slices {
        if !parts.services.contains_key(&(namespace.clone(), name.clone())) {
            assembled.diagnostics.extend(slices.iter().map(|slice| no_service(slice)));
        }
    }
    assembled
}

/// The namespace and name of a Service.
type ServiceName = (Name, Name);

#[derive(Default)]
struct Parts<'a> {
    services: BTreeMap<ServiceName, &'a Declared>,
    slices: BTreeMap<ServiceName, Vec<&'a Slice>>,
    pods: BTreeMap<WorkloadKey, &'a Pod>,
    /// Pods that are alone at their address.
    pods_by_address: HashMap<(Name, IpAddr), &'a Pod>,
    nodes: HashMap<Name, &'a Node>,
    namespaces: Vec<&'a Arc<Namespace>>,
    secrets: Vec<&'a Arc<Secret>>,
}

impl<'a> Parts<'a> {
    fn new(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let mut parts = Parts::default();
        for resource in resources {
            match resource {
                Resource::Service(declared) => {
                    let meta = &declared.service.meta;
                    parts.services.insert((meta.namespace().clone(), meta.name().clone()), declared);
                }
                Resource::Slice(slice) if slice.service.is_empty() => {}
                Resource::Slice(slice) => {
                    let key = (slice.object.namespace.clone(), slice.service.clone());
                    parts.slices.entry(key).or_default().push(slice);
                }
                Resource::Pod(pod) => {
                    for address in pod.workload.addresses.iter().filter(|_| !pod.finished) {
                        let key = (pod.workload.meta.namespace().clone(), *address);
                        parts.pods_by_address.entry(key).or_insert(pod);
                    }
                    parts.pods.insert(pod.workload.key(), pod);
                }
                Resource::Node(node) => {
                    parts.nodes.insert(node.name.clone(), node);
                }
                Resource::Namespace(namespace) => parts.namespaces.push(namespace),
                Resource::Secret(secret) => parts.secrets.push(secret),
                Resource::Inert => {}
            }
        }
        parts
    }

    /// The Pod as a workload, with its node's locality unless it has its own.
    fn workload(&self, pod: &Pod) -> Arc<Workload> {
        let locality = self.locality(pod);
        if locality == pod.workload.locality {
            return pod.workload.clone();
        }
        Arc::new(Workload { locality, ..(*pod.workload).clone() })
    }

    fn locality(&self, pod: &Pod) -> Arc<Locality> {
        match self.nodes.get(&pod.workload.node) {
            Some(node) if pod.workload.locality.is_empty() => node.locality.clone(),
            _ => pod.workload.locality.clone(),
        }
    }

    /// Finds the endpoints of a Service: in its EndpointSlices, else in its
    /// Endpoints, else among the Pods that it selects.
    fn join(&self, declared: &Declared, assembled: &mut Assembled) {
        let service = &declared.service;
        if matches!(service.resolution, Resolution::Alias(_)) {
            return;
        }
        let name = (service.meta.namespace().clone(), service.meta.name().clone());
        let slices = self.slices.get(&name).map(Vec::as_slice).unwrap_or_default();
        let newer = slices.iter().any(|slice| slice.object.kind == Kind::EndpointSlice);
        let used = slices.iter().filter(|slice| !newer || slice.object.kind == Kind::EndpointSlice);
        let mut found: Vec<(Name, Vec<Endpoint>)> = Vec::new();
        for slice in used {
            let endpoints = self.of_slice(declared, slice, &mut assembled.diagnostics);
            found.push((slice.object.name.clone(), endpoints));
        }
        drop_second_family(&mut found, &self.pods);
        if slices.is_empty() {
            let endpoints = self.of_pods(declared, &mut assembled.diagnostics);
            if endpoints.is_empty() {
                assembled.diagnostics.push(no_endpoints(declared));
            }
            found.push((PODS.into(), endpoints));
        }
        for (source, endpoints) in found.into_iter().filter(|(_, endpoints)| !endpoints.is_empty()) {
            assembled.endpoints.entry((service.key(), source)).or_default().extend(endpoints);
        }
    }

    fn of_slice(&self, declared: &Declared, slice: &Slice, diagnostics: &mut Vec<Diagnostic>) -> Vec<Endpoint> {
        let namespace = &slice.object.namespace;
        let mut endpoints = Vec::new();
        let mut withheld: Vec<(&Name, IpAddr)> = Vec::new();
        for listed in &slice.endpoints {
            let pod = match &listed.pod {
                Some(name) => {
                    let key = WorkloadKey { namespace: namespace.clone(), name: name.clone() };
                    let Some(pod) = self.pods.get(&key) else {
                        withheld.push((name, listed.address));
                        continue;
                    };
                    Some(*pod)
                }
                None => self.pods_by_address.get(&(namespace.clone(), listed.address)).copied(),
            };
            endpoints.extend(listed.ports.iter().map(|port| {
                let mut endpoint = self.endpoint(listed.address, pod, namespace);
                endpoint.port = port.number;
                endpoint.port_name = port.name.clone();
                endpoint.health = health(listed, declared);
                if endpoint.node.is_empty() {
                    endpoint.node = listed.node.clone();
                }
                endpoint
            }));
        }
        if let Some((pod, address)) = withheld.first() {
            diagnostics.push(Diagnostic {
                severity: Severity::Warning,
                code: Code::MissingReference,
                object: Some(slice.object.clone()),
                location: slice.location.clone(),
                field: "endpoints".to_owned(),
                message: format!(
                    "{} of {} endpoints point to Pods that are not here, such as {namespace}/{pod} at {address}",
                    withheld.len(),
                    slice.endpoints.len()
                ),
                consequence: "they are withheld until the Pods are, since their labels and identity are unknown"
                    .to_owned(),
            });
        }
        endpoints
    }

    /// The endpoints that Kubernetes' own controller would list, from the Pods
    /// that the Service selects.
    fn of_pods(&self, declared: &Declared, diagnostics: &mut Vec<Diagnostic>) -> Vec<Endpoint> {
        let service = &declared.service;
        if service.selector.is_empty() {
            return Vec::new();
        }
        let namespace = service.meta.namespace();
        let first = WorkloadKey { namespace: namespace.clone(), name: "".into() };
        let own = self.pods.range(first..).take_while(|(key, _)| key.namespace == *namespace).map(|(_, pod)| *pod);
        let mut endpoints = Vec::new();
        let mut reported = HashSet::new();
        for pod in own.filter(|pod| !pod.finished && service.selector.selects(&pod.workload.meta.labels)) {
            let Some(address) = pod.workload.addresses.first() else { continue };
            for port in &service.ports {
                let number = match &port.target {
                    TargetPort::Number(number) => Some(*number),
                    TargetPort::Name(name) => pod.workload.ports.iter().find(|p| p.name == *name).map(|p| p.number),
                };
                let Some(number) = number else {
                    if reported.insert(port.number) {
                        diagnostics.push(no_such_port(declared, &port.target, pod));
                    }
                    continue;
                };
                let mut endpoint = self.endpoint(*address, Some(pod), namespace);
                endpoint.port = number;
                endpoint.port_name = port.name.clone();
                endpoint.health = match (pod.terminating, pod.workload.ready || declared.publish_not_ready) {
                    (true, _) => Health::Terminating,
                    (false, true) => Health::Healthy,
                    (false, false) => Health::Unhealthy,
                };
                endpoints.push(endpoint);
            }
        }
        endpoints
    }

    /// An endpoint with all but port and health.
    fn endpoint(&self, address: IpAddr, pod: Option<&Pod>, namespace: &Name) -> Endpoint {
        let workload = pod.map(|pod| &*pod.workload);
        let name = |of: fn(&Workload) -> &Name| workload.map_or_else(|| "".into(), |w| of(w).clone());
        Endpoint {
            address: Address::Ip(address),
            port: 0,
            port_name: "".into(),
            labels: workload.map_or_else(Labels::default, |w| w.meta.labels.clone()),
            weight: 1,
            health: Health::Healthy,
            locality: pod.map_or_else(Arc::default, |pod| self.locality(pod)),
            service_account: name(|w| &w.service_account),
            namespace: namespace.clone(),
            workload: name(|w| w.meta.name()),
            node: name(|w| &w.node),
            network: name(|w| &w.network),
        }
    }
}

/// Source of endpoints that were found among Pods.
const PODS: &str = "pods";

fn health(listed: &SliceEndpoint, declared: &Declared) -> Health {
    match listed.health {
        Health::Draining if !declared.drains_sessions => Health::Terminating,
        health => health,
    }
}

/// A Pod with two address families is one endpoint, at its primary address,
/// though each family has a slice of its own.
fn drop_second_family(found: &mut [(Name, Vec<Endpoint>)], pods: &BTreeMap<WorkloadKey, &Pod>) {
    let key = |e: &Endpoint| WorkloadKey { namespace: e.namespace.clone(), name: e.workload.clone() };
    let is_primary = |e: &Endpoint| {
        let primary = pods.get(&key(e)).and_then(|pod| pod.workload.addresses.first());
        primary.is_none_or(|ip| Address::Ip(*ip) == e.address)
    };
    let at_primary: HashSet<(WorkloadKey, Name)> = found
        .iter()
        .flat_map(|(_, endpoints)| endpoints)
        .filter(|e| !e.workload.is_empty() && is_primary(e))
        .map(|e| (key(e), e.port_name.clone()))
        .collect();
    for (_, endpoints) in found {
        endpoints.retain(|e| is_primary(e) || !at_primary.contains(&(key(e), e.port_name.clone())));
    }
}

fn no_endpoints(declared: &Declared) -> Diagnostic {
    let service = &declared.service;
    let message = if service.selector.is_empty() {
        "found neither EndpointSlice nor Endpoints for it".to_owned()
    } else {
        let selector: Vec<String> = service.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        format!("found no EndpointSlice, Endpoints or Pod with an IP address for {}", selector.join(","))
    };
    Diagnostic {
        severity: Severity::Info,
        code: Code::MissingReference,
        object: Some(service.meta.object.clone()),
        location: service.meta.location.clone(),
        field: String::new(),
        message,
        consequence: "it has no endpoints".to_owned(),
    }
}

fn no_such_port(declared: &Declared, target: &TargetPort, pod: &Pod) -> Diagnostic {
    let name = match target {
        TargetPort::Name(name) => name.to_string(),
        TargetPort::Number(number) => number.to_string(),
    };
    Diagnostic {
        severity: Severity::Warning,
        code: Code::MissingReference,
        object: Some(declared.service.meta.object.clone()),
        location: declared.service.meta.location.clone(),
        field: "spec.ports".to_owned(),
        message: format!("found targetPort {name}, which {} does not declare", pod.workload.meta.object),
        consequence: "Pods without it are no endpoints of this port".to_owned(),
    }
}

fn no_service(slice: &Slice) -> Diagnostic {
    Diagnostic {
        severity: Severity::Info,
        code: Code::MissingReference,
        object: Some(slice.object.clone()),
        location: slice.location.clone(),
        field: String::new(),
        message: format!("found no Service {}/{}, whose endpoints these are", slice.object.namespace, slice.service),
        consequence: "they are not used".to_owned(),
    }
}
