#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use mesh_model::rules::Spec;
use mesh_model::rules::destination_rule::{Algorithm, DestinationRule, LoadBalancer, TrafficPolicy};
use mesh_model::{
    Address, Change, Endpoint, Health, Hostname, Kind, Labels, Locality, Meta, Port, Protocol, Registry, Resolution,
    Rule, Service, TargetPort, Visibility, World,
};

use super::*;

fn service(name: &str, protocol: Protocol, resolution: Resolution) -> Service {
    let number = 80;
    let port = Port { name: "p".into(), number, protocol, target: TargetPort::Number(8080) };
    Service {
        meta: Arc::new(Meta::new(Kind::Service, "shop", name)),
        hostname: Hostname::resolve(name, "shop", "cluster.local"),
        addresses: if resolution == Resolution::Passthrough {
            Vec::new()
        } else {
            vec!["10.96.0.1/32".parse().unwrap()]
        },
        ports: vec![port],
        resolution,
        registry: Registry::Kubernetes,
        mesh_external: false,
        export_to: Visibility::Public,
        selector: [("app", name)].into_iter().collect(),
    }
}

fn endpoints(service: &Service, ips: &[&str]) -> Change {
    let endpoint = |ip: &&str| Endpoint {
        address: Address::Ip(ip.parse().unwrap()),
        port: 8080,
        port_name: "p".into(),
        labels: Labels::default(),
        weight: 1,
        health: Health::Healthy,
        locality: Arc::new(Locality::default()),
        service_account: "".into(),
        namespace: "shop".into(),
        workload: "".into(),
        node: "".into(),
        network: "".into(),
    };
    Change::Endpoints { service: service.key(), source: "s".into(), endpoints: ips.iter().map(endpoint).collect() }
}

fn rule(name: &str, host: &str, algorithm: Algorithm, selector: &[(&str, &str)]) -> Change {
    let meta = Arc::new(Meta::new(Kind::DestinationRule, "shop", name));
    let mut policy = TrafficPolicy::default();
    policy.destination.load_balancer = Some(LoadBalancer { algorithm, ..Default::default() });
    let spec = DestinationRule {
        meta: meta.clone(),
        host: Hostname::new(host),
        export_to: Visibility::Public,
        workload_selector: selector.iter().copied().collect(),
        policy,
        subsets: Vec::new(),
    };
    Change::Rule(Arc::new(Rule { meta, spec: Spec::DestinationRule(Arc::new(spec)), document: Arc::default() }))
}

fn proxy(name: &str, ip: &str, labels: &[(&str, &str)]) -> Arc<Proxy> {
    use mesh_proto::google::protobuf::value::Kind as ValueKind;
    use mesh_proto::google::protobuf::{Struct, Value};
    let text = |t: &str| Value { kind: Some(ValueKind::StringValue(t.to_owned())) };
    let labels = Struct { fields: labels.iter().map(|(k, v)| ((*k).to_owned(), text(v))).collect() };
    let labels = Value { kind: Some(ValueKind::StructValue(labels)) };
    let node = mesh_proto::envoy::config::core::v3::Node {
        id: format!("sidecar~{ip}~{name}.shop~shop.svc.cluster.local"),
        metadata: Some(Struct { fields: HashMap::from([("LABELS".to_owned(), labels)]) }),
        ..Default::default()
    };
    Arc::new(Proxy::from_node(&node).unwrap())
}

/// A mesh of two HTTP services `a` and `b` with endpoints.
fn mesh() -> (World, Service, Service) {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|n| service(n, Protocol::Http, Resolution::ClientSideLb));
    for s in [&a, &b] {
        world.apply(Change::Service(Arc::new(s.clone())));
        world.apply(endpoints(s, &["10.0.0.1"]));
    }
    (world, a, b)
}

fn sets(resources: &ProxyResources) -> [&Arc<ResourceSet>; 4] {
    [types::CLUSTER, types::ENDPOINT, types::LISTENER, types::ROUTE].map(|t| resources.set(t).unwrap())
}

fn changed(before: &ProxyResources, after: &ProxyResources) -> Vec<&'static str> {
    let differs =
        |(t, set): (&'static str, &Arc<ResourceSet>)| (!Arc::ptr_eq(set, before.set(t).unwrap())).then_some(t);
    after.iter().filter_map(differs).map(types::short).collect()
}

#[test]
fn like_proxies_share_one_translation_and_nothing_new_gives_the_same() {
    let (mut world, ..) = mesh();
    let translator = Translator::new();
    let snapshot = world.snapshot().0;
    let (x, y) = (proxy("x", "10.0.1.1", &[("app", "x")]), proxy("y", "10.0.1.2", &[("app", "y")]));
    let first = translator.resources(&snapshot, &x);
    assert_eq!(translator.scope(&snapshot, &x), translator.scope(&snapshot, &y));
    assert!(Arc::ptr_eq(&first, &translator.resources(&snapshot, &y)));
    assert!(Arc::ptr_eq(&first, &translator.resources(&snapshot, &x)));
}

#[test]
fn proxies_that_a_service_leads_to_differ_in_inbound_alone() {
    let (mut world, ..) = mesh();
    let translator = Translator::new();
    let snapshot = world.snapshot().0;
    let (x, a) = (proxy("x", "10.0.1.1", &[]), proxy("a", "10.0.0.1", &[("app", "a")]));
    let (x, a) = (translator.resources(&snapshot, &x), translator.resources(&snapshot, &a));
    assert_eq!(changed(&x, &a), ["CDS", "LDS"]);
    assert!(a.set(types::CLUSTER).unwrap().get("inbound|8080||").is_some());
    assert!(x.set(types::CLUSTER).unwrap().get("inbound|8080||").is_none());
}

#[test]
fn an_endpoint_change_touches_the_endpoints_of_its_service_alone() {
    let (mut world, a, _) = mesh();
    let translator = Translator::new();
    let (x, y) = (proxy("x", "10.0.1.1", &[]), proxy("y", "10.0.1.2", &[]));
    let snapshot = world.snapshot().0;
    let before = translator.resources(&snapshot, &x);
    translator.resources(&snapshot, &y);
    world.apply(endpoints(&a, &["10.0.0.1", "10.0.0.9"]));
    let snapshot = world.snapshot().0;
    let after = translator.resources(&snapshot, &x);
    assert_eq!(changed(&before, &after), ["EDS"]);
    let eds = after.set(types::ENDPOINT).unwrap();
    assert_eq!(eds.parent(), Some(before.set(types::ENDPOINT).unwrap().id()));
    assert_eq!(eds.changed().iter().map(|n| &**n).collect::<Vec<_>>(), ["outbound|80||a.shop.svc.cluster.local"]);
    assert!(Arc::ptr_eq(&after, &translator.resources(&snapshot, &y)));
}

#[test]
fn a_rule_change_touches_the_cluster_that_it_is_about_and_keeps_the_parents() {
    let (mut world, ..) = mesh();
    let translator = Translator::new();
    let x = proxy("x", "10.0.1.1", &[]);
    let before = translator.resources(&world.snapshot().0, &x);
    world.apply(rule("b", "b.shop.svc.cluster.local", Algorithm::Random, &[]));
    let after = translator.resources(&world.snapshot().0, &x);
    assert_eq!(changed(&before, &after), ["CDS"]);
    let cds = after.set(types::CLUSTER).unwrap();
    assert_eq!(cds.parent(), Some(before.set(types::CLUSTER).unwrap().id()));
    assert_eq!(cds.changed().iter().map(|n| &**n).collect::<Vec<_>>(), ["outbound|80||b.shop.svc.cluster.local"]);
}

#[test]
fn a_rule_that_a_proxy_does_not_meet_changes_nothing_for_it() {
    let (mut world, ..) = mesh();
    let translator = Translator::new();
    let x = proxy("x", "10.0.1.1", &[("app", "x")]);
    let before = translator.resources(&world.snapshot().0, &x);
    world.apply(rule("b", "b.shop.svc.cluster.local", Algorithm::Random, &[("app", "y")]));
    world.apply(rule("none", "none.example", Algorithm::Random, &[]));
    let after = translator.resources(&world.snapshot().0, &x);
    assert!(Arc::ptr_eq(&before, &after));
}

#[test]
fn a_headless_endpoint_brings_its_listener() {
    let (mut world, ..) = mesh();
    let set = service("set", Protocol::Tcp, Resolution::Passthrough);
    world.apply(Change::Service(Arc::new(set.clone())));
    world.apply(endpoints(&set, &["10.0.5.1"]));
    let translator = Translator::new();
    let x = proxy("x", "10.0.1.1", &[]);
    let before = translator.resources(&world.snapshot().0, &x);
    assert!(before.set(types::LISTENER).unwrap().get("10.0.5.1_80").is_some());
    world.apply(endpoints(&set, &["10.0.5.1", "10.0.5.2"]));
    let after = translator.resources(&world.snapshot().0, &x);
    assert_eq!(changed(&before, &after), ["LDS"]);
    let lds = after.set(types::LISTENER).unwrap();
    assert_eq!(lds.changed().iter().map(|n| &**n).collect::<Vec<_>>(), ["10.0.5.2_80"]);
}

#[test]
fn two_translators_give_equal_bytes() {
    let (mut world, ..) = mesh();
    world.apply(rule("b", "b.shop.svc.cluster.local", Algorithm::Random, &[]));
    let snapshot = world.snapshot().0;
    let x = proxy("a", "10.0.0.1", &[("app", "a")]);
    let [one, two] = [Translator::new(), Translator::new()].map(|t| t.resources(&snapshot, &x));
    for (a, b) in sets(&one).into_iter().zip(sets(&two)) {
        assert_eq!(a.iter().collect::<Vec<_>>(), b.iter().collect::<Vec<_>>());
    }
}

#[test]
fn gone_proxies_are_forgotten() {
    let (mut world, ..) = mesh();
    let snapshot = world.snapshot().0;
    let translator = Translator::new();
    for i in 0..1000 {
        translator.resources(&snapshot, &proxy(&format!("p{i}"), "10.0.1.1", &[]));
    }
    assert!(translator.state.lock().unwrap().proxies.len() <= 2 * SWEEP_MIN);
}
