#![allow(clippy::unwrap_used)]
use super::*;

fn parse(yaml: &str) -> Result<LoadAssignment, String> {
    let proto: xds::ClusterLoadAssignment = mesh_proto::json::from_yaml(yaml).unwrap();
    LoadAssignment::parse(&proto).map_err(|e| e.to_string())
}

fn one(endpoint: &str) -> String {
    format!("{{cluster_name: c, endpoints: [{{lb_endpoints: [{endpoint}]}}]}}")
}

const ADDRESS: &str = "endpoint: {address: {socket_address: {address: 10.0.0.1, port_value: 80}}}";

#[test]
fn localities_weights_and_health_are_read() {
    let yaml = "{cluster_name: c, endpoints: [{locality: {region: r, zone: z}, priority: 1, load_balancing_weight: 3, lb_endpoints: [{health_status: DEGRADED, load_balancing_weight: 2, endpoint: {hostname: h, address: {socket_address: {address: '::1', port_value: 80}}}}]}], policy: {overprovisioning_factor: 200}}";
    let parsed = parse(yaml).unwrap();
    let group = &parsed.localities[0];
    assert_eq!((group.priority, group.weight, group.locality.to_string().as_str()), (1, Some(3), "r/z"));
    let endpoint = &group.endpoints[0];
    assert_eq!((endpoint.weight, endpoint.health, &*endpoint.hostname), (2, Health::Degraded, "h"));
    assert_eq!(endpoint.target, Target::Address("[::1]:80".parse().unwrap()));
    assert_eq!(parsed.overprovisioning_factor, 200);
}

#[test]
fn what_cannot_be_honoured_is_named() {
    for (yaml, expected) in [
        (
            one("{endpoint: {address: {socket_address: {address: foo.bar, port_value: 80}}}}"),
            "malformed IP address: foo.bar",
        ),
        (
            one(&format!("{{load_balancing_weight: 0, {ADDRESS}}}")),
            "lb_endpoints[0].load_balancing_weight: found 0, expected at least 1",
        ),
        (
            one("{endpoint: {address: {pipe: {path: /x}}}}"),
            "lb_endpoints[0].endpoint.address.pipe: is set, but this proxy does not support it",
        ),
        (
            one("{endpoint: {address: {socket_address: {address: 1.1.1.1, port_value: 70000}}}}"),
            "port_value: found 70000",
        ),
        (one("{}"), "lb_endpoints[0]: is not set, expected an endpoint"),
        (
            "{cluster_name: c, endpoints: [{priority: 129}]}".into(),
            "endpoints[0].priority: found 129, expected 0 to 128",
        ),
        ("{cluster_name: c, policy: {endpoint_stale_after: 5s}}".into(), "policy.endpoint_stale_after: is set"),
        ("{endpoints: []}".into(), "endpoints (unnamed): cluster_name: is not set"),
    ] {
        let error = parse(&yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}

#[test]
fn resolving_a_name_gives_one_endpoint_per_address_and_keeps_the_name() {
    let yaml = "{cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.b, port_value: 80}}}}]}]}";
    let proto: xds::ClusterLoadAssignment = mesh_proto::json::from_yaml(yaml).unwrap();
    let parsed = LoadAssignment::parse_at(&At::root(Kind::Cluster, "c"), &proto, Names::Allowed).unwrap();
    assert_eq!(parsed.names(), [Arc::from("a.b")]);
    let resolved = parsed.resolve(|_| vec!["1.1.1.1".parse().unwrap(), "2.2.2.2".parse().unwrap()]);
    let endpoints = &resolved.localities[0].endpoints;
    assert_eq!(endpoints.len(), 2);
    assert!(endpoints.iter().all(|e| &*e.hostname == "a.b"));
    assert!(resolved.names().is_empty());
}
