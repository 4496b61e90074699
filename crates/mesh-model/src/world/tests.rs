#![allow(clippy::unwrap_used)]

use super::*;
use crate::rules::ServiceEntry;
use crate::{
    Address, Health, Hostname, Kind, Labels, Locality, Meta, Port, Protocol, Registry, Resolution, TargetPort,
    Visibility,
};

fn port(name: &str, number: u16) -> Port {
    Port { name: name.into(), number, protocol: Protocol::Http, target: TargetPort::Number(number) }
}

fn service(name: &str) -> Service {
    Service {
        meta: Arc::new(Meta::new(Kind::Service, "shop", name)),
        hostname: Hostname::resolve(name, "shop", "cluster.local"),
        addresses: Vec::new(),
        ports: vec![port("http", 80)],
        resolution: Resolution::ClientSideLb,
        registry: Registry::Kubernetes,
        mesh_external: false,
        export_to: Visibility::Public,
        selector: Labels::default(),
    }
}

fn endpoint(ip: &str) -> Endpoint {
    Endpoint {
        address: Address::Ip(ip.parse().unwrap()),
        port: 8080,
        port_name: "http".into(),
        labels: Labels::default(),
        weight: 1,
        health: Health::Healthy,
        locality: Arc::new(Locality::default()),
        service_account: "".into(),
        namespace: "shop".into(),
        workload: "".into(),
        node: "".into(),
        network: "".into(),
    }
}

fn entry(name: &str, host: &str) -> Change {
    let meta = Arc::new(Meta::new(Kind::ServiceEntry, "shop", name));
    let spec = ServiceEntry {
        meta: meta.clone(),
        hosts: vec![Hostname::new(host)],
        addresses: Vec::new(),
        ports: vec![port("http", 80)],
        mesh_external: true,
        resolution: Resolution::DnsLb,
        endpoints: Vec::new(),
        workload_selector: None,
        export_to: Visibility::Public,
    };
    Change::Rule(Arc::new(Rule { meta, spec: Spec::ServiceEntry(Arc::new(spec)), document: Arc::default() }))
}

fn endpoints(of: &Service, source: &str, ips: &[&str]) -> Change {
    Change::Endpoints {
        service: of.key(),
        source: source.into(),
        endpoints: ips.iter().map(|ip| endpoint(ip)).collect(),
    }
}

#[test]
fn saying_the_same_twice_is_no_change() {
    let mut world = World::new();
    let a = service("a");
    world.apply(Change::Service(Arc::new(a.clone())));
    world.apply(endpoints(&a, "slice", &["10.0.0.1"]));
    let (first, _) = world.snapshot();
    world.apply(Change::Service(Arc::new(a.clone())));
    world.apply(endpoints(&a, "slice", &["10.0.0.1"]));
    let (second, _) = world.snapshot();
    assert!(Arc::ptr_eq(&first, &second));
}

#[test]
fn an_endpoint_change_shares_everything_else_and_names_its_service() {
    let mut world = World::new();
    let (a, b) = (service("a"), service("b"));
    for s in [&a, &b] {
        world.apply(Change::Service(Arc::new(s.clone())));
        world.apply(endpoints(s, "slice", &["10.0.0.1"]));
    }
    let (first, _) = world.snapshot();
    world.apply(endpoints(&a, "slice", &["10.0.0.1", "10.0.0.2"]));
    let (second, _) = world.snapshot();
    assert!(Arc::ptr_eq(&first.services, &second.services) && Arc::ptr_eq(&first.rules, &second.rules));
    assert_eq!(second.endpoints.changed(), [a.key()]);
    assert_eq!(second.endpoints.parent(), Some(first.endpoints.id()));
    assert!(Arc::ptr_eq(first.endpoints.get(&b.key()).unwrap(), second.endpoints.get(&b.key()).unwrap()));
}

#[test]
fn removing_one_slice_keeps_the_endpoints_of_the_others() {
    let mut world = World::new();
    let a = service("a");
    world.apply(endpoints(&a, "one", &["10.0.0.1"]));
    world.apply(endpoints(&a, "two", &["10.0.0.2"]));
    world.snapshot();
    world.apply(endpoints(&a, "one", &[]));
    let (snapshot, _) = world.snapshot();
    let left: Vec<_> =
        snapshot.endpoints.get(&a.key()).unwrap().endpoints.iter().map(|e| e.address.to_string()).collect();
    assert_eq!(left, ["10.0.0.2"]);
}

#[test]
fn an_entry_without_endpoints_is_resolved_by_its_host() {
    let mut world = World::new();
    world.apply(entry("web", "example.com"));
    let (snapshot, _) = world.snapshot();
    let key = ServiceKey { hostname: Hostname::new("example.com"), namespace: "shop".into() };
    assert!(snapshot.services.get(&key).unwrap().mesh_external);
    assert_eq!(snapshot.endpoints.get(&key).unwrap().endpoints[0].address, Address::Dns("example.com".into()));
    world.apply(Change::RuleRemoved(ObjectRef {
        kind: Kind::ServiceEntry,
        namespace: "shop".into(),
        name: "web".into(),
    }));
    let (snapshot, _) = world.snapshot();
    assert!(snapshot.services.is_empty() && snapshot.endpoints.get(&key).is_none());
}

#[test]
fn an_entry_never_takes_a_platform_services_host() {
    let mut world = World::new();
    world.apply(Change::Service(Arc::new(service("a"))));
    world.apply(entry("steal", "a.shop.svc.cluster.local"));
    let (snapshot, diagnostics) = world.snapshot();
    assert_eq!(snapshot.services.iter().next().unwrap().registry, Registry::Kubernetes);
    assert_eq!(diagnostics.len(), 1);
    assert_eq!(diagnostics[0].code, Code::Conflict);
}
