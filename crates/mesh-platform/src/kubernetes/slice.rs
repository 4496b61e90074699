//! EndpointSlices, and the Endpoints that came before them.

use std::net::IpAddr;

use mesh_config::document::Object;
use mesh_config::reader::{Fields, Log, Value};
use mesh_model::{Code, Health, Name, ObjectRef, Severity, SourceLocation};

/// Endpoints that one object lists for one Service.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The EndpointSlice or Endpoints.
    pub object: ObjectRef,
    /// Where it stands.
    pub location: Option<SourceLocation>,
    /// Name of the Service, in the same namespace.
    pub service: Name,
    /// Each with the ports that it answers on.
    pub endpoints: Vec<SliceEndpoint>,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceEndpoint {
    /// Where it is.
    pub address: IpAddr,
    /// Whether it should get requests; [`Health::Draining`] where it should if
    /// its Service drains sessions, and is terminating otherwise.
    pub health: Health,
    /// Name of the Pod behind it, if one is given.
    pub pod: Option<Name>,
    /// The node that it runs on; may be empty.
    pub node: Name,
    /// Ports.
    pub ports: Vec<SlicePort>,
}

/// One port of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the Service's port; empty for a single unnamed one.
    pub name: Name,
    /// Number at the endpoint.
    pub number: u16,
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const IMPORTED_FROM: &str = "multicluster.kubernetes.io/service-name";

fn slice(object: &Object, service: Name) -> Slice {
    Slice { object: object.meta.object.clone(), location: object.meta.location.clone(), service, endpoints: Vec::new() }
}

/// Something that makes the whole slice say nothing, and is no fault of it.
fn skip(object: &Object, log: &Log, field: &str, message: String) -> Option<Slice> {
    log.push(object.root.line, Severity::Info, Code::NotApplied, field, message, "its endpoints are not used");
    Some(slice(object, "".into()))
}

pub(super) fn read_slice(object: &Object, log: &Log) -> Option<Slice> {
    let labels = &object.meta.labels;
    if labels.get(IMPORTED_FROM).is_some() {
        let message = format!("label {IMPORTED_FROM}: slices of other clusters are not yet read");
        return skip(object, log, "metadata.labels", message);
    }
    let Some(service) = labels.get(SERVICE_NAME).filter(|name| !name.is_empty()) else {
        let message = format!("found no label {SERVICE_NAME}, which says whose endpoints these are");
        return skip(object, log, "metadata.labels", message);
    };
    let root = log.root(&object.root, "").fields()?;
    let words = [("IPv4", true), ("IPv6", true), ("FQDN", false)];
    let is_ip = root.required("addressType", "IPv4 or IPv6").and_then(|v| v.one_of(&words))?;
    if !is_ip {
        return skip(object, log, "addressType", "found FQDN, expected IPv4 or IPv6".to_owned());
    }
    let ports = root.optional("ports").map(|v| ports(&v)).unwrap_or_default();
    let mut slice = slice(object, service.into());
    for item in root.optional("endpoints").and_then(|v| v.items()).unwrap_or_default() {
        let fields = item.fields()?;
        let health = health(&fields);
        let pod = fields.optional("targetRef").and_then(|v| pod(&v));
        let node = fields.optional("nodeName").and_then(|v| v.text()).unwrap_or_else(|| "".into());
        let addresses = fields.required("addresses", "a list of IP addresses").and_then(|v| v.items());
        fields.ignore(&["deprecatedTopology", "hints", "hostname", "zone"]);
        fields.finish();
        for address in addresses.unwrap_or_default().iter().filter_map(Value::ip) {
            let (pod, node, ports) = (pod.clone(), node.clone(), ports.clone());
            slice.endpoints.push(SliceEndpoint { address, health, pod, node, ports });
        }
    }
    root.ignore(&["apiVersion", "kind", "metadata"]);
    root.finish();
    Some(slice)
}

/// Absent conditions count as true, all three of them.
///
/// Source: `endpointHealthStatus`, istio
/// `pilot/pkg/serviceregistry/kube/controller/endpointslice.go`.
fn health(endpoint: &Fields<'_>) -> Health {
    let conditions = endpoint.optional("conditions").and_then(|v| v.fields());
    let is = |name| {
        let value = conditions.as_ref().and_then(|c| c.optional(name));
        value.and_then(|v| v.boolean()).unwrap_or(true)
    };
    let found = (is("ready"), is("serving"), is("terminating"));
    if let Some(conditions) = conditions.as_ref() {
        conditions.finish();
    }
    match found {
        (true, ..) => Health::Healthy,
        (false, true, true) => Health::Draining,
        (false, false, true) => Health::Terminating,
        (false, _, false) => Health::Unhealthy,
    }
}

fn ports(value: &Value<'_>) -> Vec<SlicePort> {
    let port = |item: &Value<'_>| {
        let fields = item.fields()?;
        let name = fields.optional("name").and_then(|v| v.text()).unwrap_or_else(|| "".into());
        let number = fields.optional("port");
        fields.ignore(&["protocol", "appProtocol"]);
        fields.finish();
        match number {
            Some(number) => Some(SlicePort { name, number: number.port()? }),
            None => {
                let message = "found no number: ports that stand for all are not used".to_owned();
                item.warn(Code::NotApplied, message, "the other ports apply");
                None
            }
        }
    };
    value.items().unwrap_or_default().iter().filter_map(port).collect()
}

/// The Pod that a targetRef names.
fn pod(value: &Value<'_>) -> Option<Name> {
    let fields = value.fields()?;
    let kind = fields.optional("kind").and_then(|v| v.text())?;
    (&*kind == "Pod").then(|| fields.required("name", "a Pod's name"))??.text()
}

pub(super) fn read_endpoints(object: &Object, log: &Log) -> Option<Slice> {
    let root = log.root(&object.root, "").fields()?;
    let mut slice = slice(object, object.meta.name().clone());
    for subset in root.optional("subsets").and_then(|v| v.items()).unwrap_or_default() {
        let fields = subset.fields()?;
        let ports = fields.optional("ports").map(|v| ports(&v)).unwrap_or_default();
        for (name, health) in [("addresses", Health::Healthy), ("notReadyAddresses", Health::Unhealthy)] {
            for item in fields.optional(name).and_then(|v| v.items()).unwrap_or_default() {
                let fields = item.fields()?;
                let pod = fields.optional("targetRef").and_then(|v| pod(&v));
                let node = fields.optional("nodeName").and_then(|v| v.text()).unwrap_or_else(|| "".into());
                let address = fields.required("ip", "an IP address").and_then(|v| v.ip());
                let Some(address) = address else { continue };
                slice.endpoints.push(SliceEndpoint { address, health, pod, node, ports: ports.clone() });
            }
        }
    }
    Some(slice)
}
