//! Pods: workloads, and the identity and labels of endpoints.

use std::net::IpAddr;
use std::sync::Arc;

use mesh_config::document::Object;
use mesh_config::reader::{Fields, Log};
use mesh_config::yaml::Node;
use mesh_model::workload::ContainerPort;
use mesh_model::{Labels, Locality, Workload};

/// A Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Pod {
    /// The Pod as a workload; its locality is empty unless its own label gives
    /// one.
    pub workload: Arc<Workload>,
    /// Whether it is about to go: it has a deletion timestamp.
    pub terminating: bool,
    /// Whether it has ended for good (phase Succeeded or Failed).
    pub finished: bool,
}

pub(super) fn read(object: &Object, log: &Log) -> Option<Pod> {
    let root = log.root(&object.root, "").fields()?;
    let spec = root.required("spec", "a map with containers")?.fields()?;
    let text = |name| spec.optional(name).and_then(|v| v.text()).filter(|t| !t.is_empty());
    let service_account = text("serviceAccountName").or_else(|| text("serviceAccount"));
    let node = text("nodeName").unwrap_or_else(|| "".into());
    let host_network = spec.optional("hostNetwork").and_then(|v| v.boolean()).unwrap_or(false);
    let ports = ports(&spec);
    let status = root.optional("status").and_then(|v| v.fields());
    let addresses = status.as_ref().map(addresses).unwrap_or_default();
    let phase = status.as_ref().and_then(|s| s.optional("phase")).and_then(|v| v.text());
    let finished = phase.is_some_and(|phase| matches!(&*phase, "Succeeded" | "Failed"));
    let terminating = object.root.get("metadata").is_some_and(|m| m.get("deletionTimestamp").is_some());
    let labels = &object.meta.labels;
    let workload = Workload {
        meta: object.meta.clone(),
        ready: !finished && !terminating && !addresses.is_empty() && is_ready(&object.root),
        addresses,
        // The API server writes this name where the author writes none.
        service_account: service_account.unwrap_or_else(|| "default".into()),
        locality: Arc::new(own_locality(labels)),
        node,
        ports,
        host_network,
        weight: 1,
        network: labels.get("topology.istio.io/network").unwrap_or_default().into(),
    };
    Some(Pod { workload: Arc::new(workload), terminating, finished })
}

/// Label `istio-locality`; labels cannot hold `/`, so `.` may stand for it.
fn own_locality(labels: &Labels) -> Locality {
    let text = labels.get("istio-locality").unwrap_or_default();
    if text.contains('/') { Locality::parse(text) } else { Locality::parse(&text.replace('.', "/")) }
}

/// Ports of all containers, and of init containers that go on running.
fn ports(spec: &Fields<'_>) -> Vec<ContainerPort> {
    let mut ports = Vec::new();
    for field in ["containers", "initContainers"] {
        let containers = spec.optional(field).and_then(|v| v.items()).unwrap_or_default();
        for container in containers.iter().filter_map(|c| c.fields()) {
            let restart = container.optional("restartPolicy").and_then(|v| v.text());
            if field == "initContainers" && restart.as_deref() != Some("Always") {
                continue;
            }
            let declared = container.optional("ports").and_then(|v| v.items()).unwrap_or_default();
            ports.extend(declared.iter().filter_map(|port| {
                let port = port.fields()?;
                let number = port.required("containerPort", "a port number")?.port()?;
                let name = port.optional("name").and_then(|v| v.text()).unwrap_or_else(|| "".into());
                Some(ContainerPort { name, number })
            }));
        }
    }
    ports
}

/// `podIPs`, or `podIP` where it stands alone; the primary one first.
fn addresses(status: &Fields<'_>) -> Vec<IpAddr> {
    let all = status.optional("podIPs").and_then(|v| v.items()).unwrap_or_default();
    let mut addresses: Vec<IpAddr> =
        all.iter().filter_map(|item| item.fields()?.required("ip", "an IP address")?.ip()).collect();
    let primary = status.optional("podIP").filter(|v| v.node().text().is_none_or(|t| !t.is_empty()));
    if let Some(ip) = primary.and_then(|v| v.ip())
        && !addresses.contains(&ip)
    {
        addresses.insert(0, ip);
    }
    addresses
}

/// The condition `Ready`; a manifest without conditions counts as ready.
fn is_ready(root: &Node) -> bool {
    let conditions = root.get("status").and_then(|status| status.get("conditions"));
    let Some(mesh_config::yaml::Value::List(conditions)) = conditions.map(|c| &c.value) else { return true };
    let text = |node: &Node, field: &str| node.get(field).and_then(Node::text).cloned();
    let ready = conditions.iter().find(|c| text(c, "type").as_deref() == Some("Ready"));
    ready.is_none_or(|condition| text(condition, "status").as_deref() == Some("True"))
}
