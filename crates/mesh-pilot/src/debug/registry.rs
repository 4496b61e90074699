//! Services and endpoints: `registryz`, `endpointz`, `endpointShardz`,
//! `instancesz`.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use mesh_model::{Address, Endpoint, Health, Labels, MeshSnapshot, Meta, Port, Service, TargetPort, Visibility};
use serde_json::{Map, Value, json};

use super::{Query, Reply, View};

pub(super) fn registryz(view: &View, _: &Query) -> Reply {
    Reply::Json(view.mesh.services.iter().map(|s| service(&view.mesh, s)).collect())
}

/// One element per service and port:
/// `{"svc": "host:port-name", "ep": [instance, ...]}`.
pub(super) fn endpointz(view: &View, query: &Query) -> Reply {
    let mesh = &view.mesh;
    if query.flag("brief") {
        let mut lines = String::new();
        for_each_port(mesh, |service, port, endpoint| {
            lines.push_str(&brief(mesh, service, port, endpoint));
            lines.push('\n');
        });
        return Reply::Text(lines);
    }
    let mut all = Vec::new();
    for service in mesh.services.iter() {
        let set = mesh.endpoints.get(&service.key());
        for port in &service.ports {
            let of_port = set.into_iter().flat_map(|set| set.of_port(&port.name));
            let instances: Vec<Value> = of_port.map(|e| instance(mesh, service, port, e)).collect();
            all.push(json!({ "svc": format!("{}:{}", service.hostname, port.name), "ep": instances }));
        }
    }
    Reply::Json(Value::Array(all))
}

pub(super) fn endpoint_shardz(view: &View, _: &Query) -> Reply {
    let mesh = &view.mesh;
    let mut hosts: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for set in mesh.endpoints.iter() {
        let registry = mesh.services.get(&set.service).map_or("Kubernetes", |s| s.registry.as_str());
        let host = set.service.hostname.as_str();
        let endpoints: Vec<Value> = set.endpoints.iter().map(|e| istio_endpoint(mesh, host, e)).collect();
        let accounts: Vec<String> = accounts(mesh, &set.endpoints);
        let shards = json!({
            "Shards": { format!("{registry}/Kubernetes"): endpoints },
            "ServiceAccounts": accounts.iter().map(|a| (a.clone(), json!({}))).collect::<Map<_, _>>(),
        });
        hosts.entry(host).or_default().insert(set.service.namespace.to_string(), shards);
    }
    Reply::Json(hosts.into_iter().map(|(host, value)| (host.to_owned(), Value::Object(value))).collect())
}

pub(super) fn instancesz(view: &View, query: &Query) -> Reply {
    let proxies = match view.proxies(query) {
        Ok(proxies) => proxies,
        Err(reply) => return reply,
    };
    let mut by_address: HashMap<IpAddr, Vec<Value>> = HashMap::new();
    for_each_port(&view.mesh, |service, port, endpoint| {
        if let Address::Ip(address) = endpoint.address {
            by_address.entry(address).or_default().push(json!({
                "Service": { "hostname": service.hostname.as_str(), "namespace": &**service.meta.namespace() },
                "Port": { "ServicePort": service_port(port), "TargetPort": endpoint.port },
            }));
        }
    });
    let targets = |addresses: &[IpAddr]| -> Vec<Value> {
        addresses.iter().filter_map(|a| by_address.get(a)).flatten().cloned().collect()
    };
    Reply::Json(proxies.iter().map(|c| (c.proxy_id().to_owned(), json!(targets(&c.proxy.addresses)))).collect())
}

fn for_each_port<'a>(mesh: &'a MeshSnapshot, mut each: impl FnMut(&'a Service, &'a Port, &'a Endpoint)) {
    for service in mesh.services.iter() {
        let Some(set) = mesh.endpoints.get(&service.key()) else { continue };
        for port in &service.ports {
            set.of_port(&port.name).for_each(|endpoint| each(service, port, endpoint));
        }
    }
}

/// `host:portname family addr:port labels [az] serviceAccount`
fn brief(mesh: &MeshSnapshot, service: &Service, port: &Port, endpoint: &Endpoint) -> String {
    let labels: Vec<String> = endpoint.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let line = format!(
        "{}:{} {} {}:{} {} [{}] {}",
        service.hostname,
        port.name,
        family(endpoint),
        address(endpoint),
        endpoint.port,
        labels.join(","),
        endpoint.locality,
        spiffe(mesh, endpoint).unwrap_or_default(),
    );
    line.trim_end().to_owned()
}

/// A service as Istio's `model.Service` is printed today.
fn service(mesh: &MeshSnapshot, service: &Service) -> Value {
    let key = service.key();
    let set = mesh.endpoints.get(&key);
    let vips: Vec<String> = service.addresses.iter().map(address_of_net).collect();
    json!({
        "Attributes": {
            "ServiceRegistry": service.registry.as_str(),
            "Name": &**service.meta.name(),
            "Namespace": &**service.meta.namespace(),
            "Labels": labels(&service.meta.labels),
            "ExportTo": export_to(&service.export_to),
            "LabelSelectors": labels(&service.selector),
        },
        "ports": ports(service),
        "serviceAccounts": set.map(|s| accounts(mesh, &s.endpoints)).unwrap_or_default(),
        "creationTime": created(&service.meta),
        "hostname": service.hostname.as_str(),
        "clusterVIPs": { "Addresses": { "Kubernetes": vips } },
        "defaultAddress": default_address(service),
        "Resolution": service.resolution.as_str(),
        "MeshExternal": service.mesh_external,
        "ResourceVersion": &*service.meta.resource_version,
    })
}

/// An endpoint as Istio 1.0's `model.ServiceInstance`.
fn instance(mesh: &MeshSnapshot, service: &Service, port: &Port, endpoint: &Endpoint) -> Value {
    let uid = match &*endpoint.workload {
        "" => String::new(),
        name => format!("kubernetes://{name}.{}", endpoint.namespace),
    };
    let vips: Map<String, Value> = service
        .addresses
        .first()
        .map(|net| ("Kubernetes".to_owned(), json!(address_of_net(net))))
        .into_iter()
        .collect();
    json!({
        "endpoint": {
            "Family": family(endpoint),
            "Address": address(endpoint),
            "Port": endpoint.port,
            "ServicePort": service_port(port),
            "UID": uid,
            "Network": &*endpoint.network,
            "Locality": endpoint.locality.to_string(),
            "LbWeight": endpoint.weight,
            "HealthStatus": health(endpoint),
        },
        "service": {
            "hostname": service.hostname.as_str(),
            "address": default_address(service),
            "cluster-vips": vips,
            "ports": ports(service),
            "Resolution": service.resolution.as_str(),
            "MeshExternal": service.mesh_external,
            "creationTime": created(&service.meta),
        },
        "labels": labels(&endpoint.labels),
        "serviceaccount": spiffe(mesh, endpoint).unwrap_or_default(),
    })
}

/// An endpoint as Istio's `model.IstioEndpoint` is printed today.
fn istio_endpoint(mesh: &MeshSnapshot, host: &str, endpoint: &Endpoint) -> Value {
    json!({
        "Labels": labels(&endpoint.labels),
        "Addresses": [address(endpoint)],
        "ServicePortName": &*endpoint.port_name,
        "ServiceAccount": spiffe(mesh, endpoint).unwrap_or_default(),
        "Network": &*endpoint.network,
        "Locality": { "Label": endpoint.locality.to_string(), "ClusterID": "Kubernetes" },
        "EndpointPort": endpoint.port,
        "LbWeight": endpoint.weight,
        "TLSMode": "disabled",
        "Namespace": &*endpoint.namespace,
        "WorkloadName": &*endpoint.workload,
        "HostName": host,
        "HealthStatus": health(endpoint),
        "NodeName": &*endpoint.node,
    })
}

fn service_port(port: &Port) -> Value {
    json!({ "name": &*port.name, "port": port.number, "protocol": port.protocol.as_str() })
}

fn ports(service: &Service) -> Vec<Value> {
    let with_target = |port: &Port| {
        let mut value = service_port(port);
        value["targetPort"] = match &port.target {
            TargetPort::Number(number) => json!(number),
            TargetPort::Name(name) => json!(&**name),
        };
        value
    };
    service.ports.iter().map(with_target).collect()
}

/// Go's `AddressFamily`: 0 for TCP, 1 for Unix sockets.
fn family(endpoint: &Endpoint) -> u8 {
    u8::from(matches!(endpoint.address, Address::Unix(_)))
}

fn address(endpoint: &Endpoint) -> String {
    match &endpoint.address {
        Address::Unix(path) => path.to_string(),
        other => other.to_string(),
    }
}

/// Istio's `HealthStatus` names.
fn health(endpoint: &Endpoint) -> &'static str {
    match endpoint.health {
        Health::Healthy => "Healthy",
        Health::Unhealthy => "UnHealthy",
        Health::Draining => "Draining",
        Health::Terminating => "Terminating",
    }
}

fn default_address(service: &Service) -> String {
    // What Istio prints for services without an address of their own.
    service.addresses.first().map_or_else(|| "0.0.0.0".to_owned(), address_of_net)
}

/// `10.0.0.1` for a single address, `10.0.0.0/8` for a net.
fn address_of_net(net: &ipnet::IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() }
}

fn spiffe(mesh: &MeshSnapshot, endpoint: &Endpoint) -> Option<String> {
    let account = &*endpoint.service_account;
    let trust_domain = &mesh.mesh.trust_domain;
    (!account.is_empty()).then(|| format!("spiffe://{trust_domain}/ns/{}/sa/{account}", endpoint.namespace))
}

fn accounts(mesh: &MeshSnapshot, endpoints: &[Endpoint]) -> Vec<String> {
    let mut accounts: Vec<String> = endpoints.iter().filter_map(|e| spiffe(mesh, e)).collect();
    accounts.sort();
    accounts.dedup();
    accounts
}

fn export_to(visibility: &Visibility) -> Value {
    let names: Vec<&str> = match visibility {
        Visibility::Public => vec!["*"],
        Visibility::None => vec!["~"],
        Visibility::Namespaces(names) => names.iter().map(|n| &**n).collect(),
    };
    names.into_iter().map(|n| (n.to_owned(), json!({}))).collect()
}

pub(super) fn labels(labels: &Labels) -> Value {
    labels.iter().map(|(k, v)| (k.to_owned(), Value::from(v))).collect()
}

/// `metadata.creationTimestamp`, or null.
fn created(meta: &Meta) -> Value {
    match meta.created {
        0 => Value::Null,
        seconds => jiff::Timestamp::from_second(seconds).map_or(Value::Null, |t| Value::from(t.to_string())),
    }
}
