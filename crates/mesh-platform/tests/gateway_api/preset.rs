//! The mesh that Istio's cases stand in: services, secrets and namespaces that
//! its own test presets, and the objects of the case.

use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_config::document;
use mesh_config::reader::Fallback;
use mesh_config::rules;
use mesh_model::rules::MeshConfig;
use mesh_model::secret::{KeyPair, Pem, PrivateKey};
use mesh_model::{
    Address, Change, Endpoint, Health, Hostname, Kind, Labels, MeshSnapshot, Meta, Namespace, Port, Protocol, Registry,
    Resolution, Secret, Service, ServiceKey, Severity, TargetPort, Visibility, World,
};
use mesh_platform::kubernetes::{self, Resource};

/// The mesh with the objects of `input`, and what is wrong with reading them.
pub(crate) fn world(input: &str) -> (Arc<MeshSnapshot>, Vec<String>) {
    let mesh = settings();
    let mut world = World::new();
    world.apply(Change::MeshConfig(Arc::new(mesh.clone())));
    for (hosts, namespace) in SERVICES {
        for host in hosts.split_whitespace() {
            preset(&mut world, host, namespace);
        }
    }
    for (namespace, names) in SECRETS {
        names.split_whitespace().for_each(|name| world.apply(secret(Kind::Secret, namespace, name, true)));
    }
    for (namespace, name, good) in CONFIG_MAPS {
        world.apply(secret(Kind::ConfigMap, namespace, name, good));
    }
    let mut problems = Vec::new();
    let contents = document::read(&"case.yaml".into(), readable(input).as_bytes());
    problems.extend(contents.diagnostics.iter().map(ToString::to_string));
    let mut namespaces: BTreeSet<String> = BTreeSet::new();
    for object in &contents.objects {
        namespaces.insert(object.meta.namespace().to_string());
        let (change, diagnostics) = if rules::is_rule(object.kind()) {
            let parsed = rules::parse(object, &mesh, Fallback::Ignored);
            (parsed.value.map(|rule| Change::Rule(Arc::new(rule))), parsed.diagnostics)
        } else {
            // A Secret that cannot be used is what some cases are about.
            (kubernetes::read(object, &mesh, Fallback::Ignored).value.and_then(change), Vec::new())
        };
        problems.extend(diagnostics.iter().filter(|d| d.severity == Severity::Error).map(ToString::to_string));
        change.into_iter().for_each(|change| world.apply(change));
    }
    for name in namespaces.iter().filter(|name| !name.is_empty()) {
        let mut meta = Meta::new(Kind::Namespace, "", name.as_str());
        let part = name.split('-').next().unwrap();
        meta.labels = Labels::from_iter([("istio.io/test-name-part", part)]);
        world.apply(Change::Namespace(Arc::new(Namespace { meta: Arc::new(meta) })));
    }
    (world.snapshot().0, problems)
}

pub(crate) fn settings() -> MeshConfig {
    MeshConfig { domain: "domain.suffix".into(), ..MeshConfig::default() }
}

/// Some names in the cases have capitals, which no API server takes.
pub(crate) fn readable(text: &str) -> String {
    text.replace("backendRef-", "backendref-").replace("parentRef-", "parentref-")
}

fn change(resource: Resource) -> Option<Change> {
    match resource {
        Resource::Service(declared) => Some(Change::Service(declared.service)),
        Resource::Secret(secret) => Some(Change::Secret(secret)),
        _ => None,
    }
}

fn preset(world: &mut World, host: &str, namespace: &str) {
    let own = host.strip_suffix(".").unwrap_or(host);
    let (hostname, registry) = match own.contains('.') {
        true => (Hostname::new(own), Registry::External),
        false => (Hostname::new(&format!("{own}.{namespace}.svc.domain.suffix")), Registry::Kubernetes),
    };
    let numbers: &[(&str, u16)] = match own {
        "istio-ingressgateway" => &[("http", 80), ("https", 443), ("tcp", 34000), ("tcp-other", 34001)],
        _ => &[("http", 80), ("tcp", 34000), ("tcp-other", 34001)],
    };
    let port = |(name, number): &(&str, u16)| Port {
        name: (*name).into(),
        number: *number,
        protocol: Protocol::parse(name.split('-').next().unwrap()).unwrap(),
        target: TargetPort::Number(*number),
    };
    let key = ServiceKey { hostname: hostname.clone(), namespace: namespace.into() };
    let endpoint = |(index, (name, _)): (usize, &(&str, u16))| Endpoint {
        address: Address::Ip("10.0.0.1".parse().unwrap()),
        // One differs from the service's port, to be told from it.
        port: if index == 0 { 8080 } else { 0 },
        port_name: (*name).into(),
        labels: Labels::default(),
        weight: 1,
        health: Health::Healthy,
        locality: Arc::default(),
        service_account: "".into(),
        namespace: namespace.into(),
        workload: "".into(),
        node: "".into(),
        network: "".into(),
    };
    world.apply(Change::Endpoints {
        service: key,
        source: "preset".into(),
        endpoints: numbers.iter().enumerate().map(endpoint).collect(),
    });
    world.apply(Change::Service(Arc::new(Service {
        meta: Arc::new(Meta::new(Kind::Service, namespace, own)),
        hostname,
        addresses: Vec::new(),
        ports: numbers.iter().map(port).collect(),
        resolution: Resolution::ClientSideLb,
        registry,
        mesh_external: false,
        export_to: Visibility::Public,
        selector: Labels::default(),
    })));
}

fn secret(kind: Kind, namespace: &str, name: &str, good: bool) -> Change {
    let pem = || Pem::new(*b"-----BEGIN CERTIFICATE-----");
    let pair = || KeyPair { certificate: pem(), key: PrivateKey::new(*b"key"), ocsp_staple: None };
    Change::Secret(Arc::new(Secret {
        meta: Arc::new(Meta::new(kind, namespace, name)),
        pair: (kind == Kind::Secret).then(pair),
        authorities: good.then(pem),
        revoked: None,
    }))
}

/// Names of Services (or, with a dot, hosts of ServiceEntries) by namespace.
const SERVICES: [(&str, &str); 11] = [
    ("istio-ingressgateway example.com httpbin istiod echo", "istio-system"),
    (
        "httpbin httpbin-second httpbin-wildcard foo-svc httpbin-other example echo google.com svc4 httpbin-zero \
         httpbin-mirror httpbin-foo httpbin-alt httpbin-bad echo-1 echo-2 echo-port not-found",
        "default",
    ),
    ("httpbin-apple", "apple"),
    ("httpbin-banana", "banana"),
    ("httpbin", "cert"),
    ("my-svc", "service"),
    ("a-example b-example svc2 svc1", "allowed-1"),
    ("a-example svc2 svc3", "allowed-2"),
    ("httpbin", "group-namespace1"),
    ("httpbin", "group-namespace2"),
    ("httpbin", "public"),
];

/// Names of Secrets by namespace.
const SECRETS: [(&str, &str); 6] = [
    ("istio-system", "my-cert-http my-cert my-cert-http2"),
    ("ns2", "ns2-cert"),
    ("ns3", "ns3-cert"),
    ("ns4", "ns4-cert"),
    ("cert", "cert"),
    ("bookinfo", "bookinfo-secret another-secret"),
];

/// ConfigMaps, and whether they hold certificates of authorities.
const CONFIG_MAPS: [(&str, &str, bool); 5] = [
    ("istio-system", "malformed", false),
    ("istio-system", "malformed-trustbundle", false),
    ("istio-system", "my-cert-http", true),
    ("default", "malformed", false),
    ("default", "auth-cert", true),
];
