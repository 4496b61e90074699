//! Services.
//!
//! Source: `ConvertService`, istio `pilot/pkg/serviceregistry/kube/conversion.go`.

use std::sync::Arc;

use ipnet::IpNet;
use mesh_config::document::Object;
use mesh_config::reader::{Fields, Log, Value, is_domain};
use mesh_config::yaml;
use mesh_model::rules::MeshConfig;
use mesh_model::{Code, Hostname, Port, Protocol, Registry, Resolution, Service, TargetPort, Visibility};

/// A Service as declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Declared {
    /// What the mesh knows of it.
    pub service: Arc<Service>,
    /// Whether Pods that are not ready count as endpoints.
    pub publish_not_ready: bool,
    /// Whether terminating endpoints go on serving their sessions.
    pub drains_sessions: bool,
}

const EXPORT_TO: &str = "networking.istio.io/exportTo";
const PERSISTENT_SESSION: &str = "istio.io/persistent-session";
/// Annotations that are accepted and not yet applied.
const ANNOTATIONS_NOT_APPLIED: [&str; 4] = [
    "networking.istio.io/traffic-distribution",
    "traffic.istio.io/nodeSelector",
    "alpha.istio.io/canonical-serviceaccounts",
    "alpha.istio.io/kubernetes-serviceaccounts",
];
/// Fields that concern no sidecar, here or in Istio.
const OF_KUBERNETES: [&str; 13] = [
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "sessionAffinityConfig",
    "trafficDistribution",
];
/// What follows from something that is not applied.
const REST_APPLIES: &str = "the rest of the Service applies";

pub(super) fn read(object: &Object, log: &Log, mesh: &MeshConfig) -> Option<Declared> {
    let root = log.root(&object.root, "").fields()?;
    let spec = root.required("spec", "a map with ports")?.fields()?;
    let kind = spec.optional("type").and_then(|v| v.text()).unwrap_or_else(|| "ClusterIP".into());
    let (name, namespace) = (object.meta.name(), object.meta.namespace());
    let external = (&*kind == "ExternalName").then(|| spec.required("externalName", "a host name"));
    let alias = match external {
        Some(value) => Some(external_name(&value?)?),
        None => None,
    };
    let (addresses, headless) = if alias.is_some() { (Vec::new(), false) } else { cluster_ips(&spec) };
    let ports = spec.optional("ports").map_or(Some(Vec::new()), |v| ports(&v));
    let selector = spec.optional("selector").map_or(Some(Default::default()), |v| v.labels());
    report_not_applied(object, &root, &spec);
    let publish_not_ready = spec.optional("publishNotReadyAddresses").and_then(|v| v.boolean()).unwrap_or(false);
    spec.ignore(&OF_KUBERNETES);
    spec.finish();
    let resolution = match (&alias, headless) {
        (Some(alias), _) => Resolution::Alias(alias.clone()),
        (None, true) => Resolution::Passthrough,
        (None, false) => Resolution::ClientSideLb,
    };
    let service = Service {
        meta: object.meta.clone(),
        hostname: Hostname::new(&format!("{name}.{namespace}.svc.{}", mesh.domain)),
        addresses,
        ports: ports?,
        resolution,
        registry: Registry::Kubernetes,
        mesh_external: alias.is_some(),
        export_to: export_to(object, mesh),
        selector: selector?,
    };
    Some(Declared {
        service: Arc::new(service),
        publish_not_ready,
        drains_sessions: object.meta.labels.get(PERSISTENT_SESSION).is_some(),
    })
}

fn external_name(value: &Value<'_>) -> Option<Hostname> {
    let text = value.text()?;
    if is_domain(&text) { Some(Hostname::new(&text)) } else { value.invalid("a host name") }
}

/// The virtual addresses, and whether the Service is headless. A manifest that
/// no API server has seen has none of its own.
fn cluster_ips(spec: &Fields<'_>) -> (Vec<IpNet>, bool) {
    let several = spec.optional("clusterIPs").and_then(|v| v.items()).unwrap_or_default();
    let values = if several.is_empty() { spec.optional("clusterIP").into_iter().collect() } else { several };
    let mut addresses = Vec::new();
    for value in values {
        match value.node().text().map(|text| &**text) {
            Some("None") => return (Vec::new(), true),
            Some("") => {}
            _ => addresses.extend(value.ip().map(IpNet::from)),
        }
    }
    (addresses, false)
}

fn ports(value: &Value<'_>) -> Option<Vec<Port>> {
    let mut ports: Vec<(Port, bool)> = Vec::new();
    let items = value.items()?;
    for item in &items {
        let fields = item.fields()?;
        let Some(number) = fields.required("port", "a port number").and_then(|v| v.port()) else { continue };
        let text = |name| fields.optional(name).and_then(|v| v.text());
        let transport = text("protocol").unwrap_or_else(|| "TCP".into());
        let name = text("name").unwrap_or_else(|| "".into());
        let app_protocol = text("appProtocol");
        let target = fields.optional("targetPort").map_or(Some(TargetPort::Number(number)), |v| target(&v));
        fields.ignore(&["nodePort"]);
        fields.finish();
        if name.is_empty() && items.len() > 1 {
            fields.missing("name", "a name, since the Service has several ports");
        }
        let udp = &*transport == "UDP";
        if ports.iter().any(|(other, other_udp)| other.number == number && *other_udp == udp) {
            item.error::<()>(format!("port {number} stands twice, expected each number once per protocol"));
        }
        if ports.iter().any(|(other, _)| other.name == name) && !name.is_empty() {
            item.error::<()>(format!("port name {name} stands twice, expected each name once"));
        }
        let protocol = Protocol::of_port(&transport, app_protocol.as_deref(), &name, number);
        ports.push((Port { name, number, protocol, target: target? }, udp));
    }
    Some(ports.into_iter().map(|(port, _)| port).collect())
}

fn target(value: &Value<'_>) -> Option<TargetPort> {
    match &value.node().value {
        yaml::Value::Text(name) if name.bytes().any(|b| b.is_ascii_alphabetic()) => {
            Some(TargetPort::Name(name.clone()))
        }
        yaml::Value::Text(_) => value.invalid("a port number without quotes, or a container port's name"),
        // What clients before 1.0 wrote for: the same as `port`.
        yaml::Value::Int(0) => value.invalid("a port number from 1 to 65535, or a container port's name"),
        _ => value.port().map(TargetPort::Number),
    }
}

fn export_to(object: &Object, mesh: &MeshConfig) -> Visibility {
    let text = object.meta.annotations.get(EXPORT_TO).unwrap_or_default();
    let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    Visibility::from_entries(entries, object.meta.namespace(), &mesh.default_service_export_to)
}

fn report_not_applied(object: &Object, root: &Fields<'_>, spec: &Fields<'_>) {
    let not_applied = |value: &Value<'_>| {
        value.warn(Code::NotApplied, "accepted, not yet applied".to_owned(), REST_APPLIES);
    };
    if let Some(policy) = spec.optional("internalTrafficPolicy")
        && policy.node().text().is_some_and(|text| &**text == "Local")
    {
        not_applied(&policy);
    }
    if let Some(distribution) = spec.optional("trafficDistribution") {
        not_applied(&distribution);
    }
    if let Some(affinity) = spec.optional("sessionAffinity")
        && affinity.node().text().is_some_and(|text| &**text == "ClientIP")
    {
        let message = "found ClientIP: as in Istio, a sidecar balances by its DestinationRule".to_owned();
        affinity.note(Code::NotApplied, message, "it holds only for clients without a sidecar");
    }
    if let Some(addresses) = spec.optional("externalIPs") {
        let message = "accepted, not yet applied: gateways between networks".to_owned();
        addresses.note(Code::NotApplied, message, REST_APPLIES);
    }
    let Some(metadata) = root.optional("metadata") else { return };
    for name in ANNOTATIONS_NOT_APPLIED.into_iter().filter(|name| object.meta.annotations.get(name).is_some()) {
        let message = format!("annotation {name}: accepted, not yet applied");
        metadata.warn(Code::NotApplied, message, REST_APPLIES);
    }
}
