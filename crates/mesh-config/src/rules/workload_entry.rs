//! WorkloadEntry: a workload that no platform runs. The same fields make an
//! endpoint of a ServiceEntry.

use std::sync::Arc;

use mesh_model::workload::ContainerPort;
use mesh_model::{Address, Code, Labels, Locality, Name, Workload};

use super::Parsed;
use crate::document::Object;
use crate::reader::{Fallback, Fields, Log, NOT_APPLIED, Value, is_domain};
use crate::yaml::Node;

/// Reads a WorkloadEntry. Its workload's labels are those of `metadata` with
/// those of `spec` above them.
pub fn parse(object: &Object, fallback: Fallback) -> Parsed<Workload> {
    let log = object.log(fallback);
    let workload = workload(object, &log).filter(|_| !log.failed());
    Parsed { value: workload, diagnostics: log.finish() }
}

fn workload(object: &Object, log: &Log) -> Option<Workload> {
    let root = log.root(&object.root, "").fields()?;
    root.ignore(&["apiVersion", "kind", "metadata", "status"]);
    let spec = root.required("spec", "a map")?.fields()?;
    root.finish();
    let entry = read(&spec);
    let addresses = match &entry.address {
        Some(Address::Ip(ip)) => vec![*ip],
        _ if spec.failed() => return None,
        _ => {
            spec.object_not_applied("a workload without an IP address of its own");
            Vec::new()
        }
    };
    let labels = object.meta.labels.iter().chain(entry.labels.iter()).collect::<Labels>();
    let mut meta = (*object.meta).clone();
    meta.labels = labels;
    Some(Workload {
        meta: Arc::new(meta),
        addresses,
        service_account: entry.service_account,
        locality: Arc::new(entry.locality),
        node: "".into(),
        ports: entry.ports.into_iter().map(|(name, number)| ContainerPort { name, number }).collect(),
        host_network: false,
        ready: !is_unhealthy(&object.root),
        weight: entry.weight,
        network: entry.network,
    })
}

/// Whether the agent has reported it unhealthy, in `status.conditions`.
fn is_unhealthy(root: &Node) -> bool {
    let conditions = root.get("status").and_then(|status| status.get("conditions"));
    let Some(crate::yaml::Value::List(conditions)) = conditions.map(|c| &c.value) else { return false };
    conditions.iter().any(|condition| {
        let is = |field, text| condition.get(field).and_then(Node::text).is_some_and(|t| &**t == text);
        is("type", "Healthy") && is("status", "False")
    })
}

/// The fields of a WorkloadEntry's `spec`.
pub(super) struct Entry {
    /// `None` if it is absent or wrong; the latter is reported.
    pub(super) address: Option<Address>,
    pub(super) ports: Vec<(Name, u16)>,
    pub(super) labels: Labels,
    pub(super) weight: u32,
    pub(super) locality: Locality,
    pub(super) service_account: Name,
    pub(super) network: Name,
}

pub(super) fn read(fields: &Fields<'_>) -> Entry {
    let text = |name| fields.optional(name).and_then(|v| v.text()).unwrap_or_else(|| "".into());
    let address = fields.optional("address");
    if address.is_none() && !fields.has("network") {
        fields.missing("address", "an address (or a network)");
    }
    let address = address.and_then(|v| read_address(&v));
    let ports = fields.optional("ports");
    if let (Some(Address::Unix(_)), Some(ports)) = (&address, &ports) {
        ports.error::<()>("found ports with a Unix socket as address, expected none".to_owned());
    }
    let weight = fields.optional("weight").and_then(|v| v.unsigned()).filter(|w| *w > 0).unwrap_or(1);
    let entry = Entry {
        address,
        ports: ports.and_then(|v| read_ports(&v)).unwrap_or_default(),
        labels: fields.optional("labels").and_then(|v| v.labels()).unwrap_or_default(),
        weight,
        locality: Locality::parse(&text("locality")),
        service_account: text("serviceAccount"),
        network: text("network"),
    };
    if entry.address.is_some()
        && !entry.network.is_empty()
        && let Some(network) = fields.optional("network")
    {
        let message = format!("{NOT_APPLIED}: networks with gateways of their own");
        network.note(Code::NotApplied, message, "the address is taken for reachable");
    }
    fields.finish();
    entry
}

/// Bytes of an address, as in the CRD.
const ADDRESS_BYTES_MAX: usize = 256;

fn read_address(value: &Value<'_>) -> Option<Address> {
    let text = value.text()?;
    if let Some(path) = text.strip_prefix("unix://") {
        return match path {
            _ if text.len() > ADDRESS_BYTES_MAX => value.invalid("a shorter path"),
            _ if path.ends_with('/') => value.invalid("the path of a socket, not of a directory"),
            _ if path.len() > 1 && path.starts_with(['/', '@']) => Some(Address::Unix(path.into())),
            _ => value.invalid("unix:// and an absolute path, or @ and an abstract name"),
        };
    }
    match text.parse() {
        Ok(ip) => Some(Address::Ip(ip)),
        Err(_) if is_domain(&text) => Some(Address::Dns(text.to_ascii_lowercase().into())),
        Err(_) => value.invalid("an IP address, a host name or unix:///path"),
    }
}

fn read_ports(value: &Value<'_>) -> Option<Vec<(Name, u16)>> {
    let mut ports = Vec::new();
    for (name, number) in value.entries()? {
        let bytes = name.as_bytes();
        let right = (1..63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-';
        if !right {
            number.error::<()>(format!("found the port name {name:?}, expected letters, digits and '-'"));
        }
        ports.extend(number.port().map(|number| (name, number)));
    }
    Some(ports)
}
