#![allow(clippy::unwrap_used)]
use mesh_proto::envoy::config::cluster::v3::Cluster as ClusterProto;
use mesh_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
use mesh_proto::envoy::config::listener::v3::Listener as ListenerProto;
use mesh_proto::envoy::config::route::v3::RouteConfiguration;
use mesh_proto::{Message, Name, types};

use super::*;

fn encode<M: Message + Name + Default>(yaml: &str) -> Vec<u8> {
    mesh_proto::json::from_yaml::<M>(yaml).unwrap().encode_to_vec()
}

const ROUTER: &str = "{name: envoy.filters.http.router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}";
const HCM: &str =
    "'@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ORIGIN: &str = "metadata: {filter_metadata: {pilothouse: {rules: [KIND]}}}";

fn origin(kind: &str) -> String {
    ORIGIN.replace("KIND", kind)
}

/// What a sidecar gets from the control plane, in small.
fn resources() -> Vec<(&'static str, Vec<u8>)> {
    let tcp = "{name: t, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: PassthroughCluster}}";
    let virtual_outbound = format!(
        "{{name: virtualOutbound, use_original_dst: true, address: {{socket_address: {{address: 0.0.0.0, port_value: 15001}}}}, filter_chains: [{{name: catchall, filters: [{tcp}]}}]}}"
    );
    let http = format!(
        "{{name: 0.0.0.0_8000, bind_to_port: false, address: {{socket_address: {{address: 0.0.0.0, port_value: 8000}}}}, {}, filter_chains: [{{filters: [{{name: h, typed_config: {{{HCM}, stat_prefix: s, rds: {{route_config_name: '8000', config_source: {{ads: {{}}, resource_api_version: V3}}}}, http_filters: [{ROUTER}]}}}}]}}]}}",
        origin("Service/default/backend")
    );
    let route = format!(
        "{{name: '8000', virtual_hosts: [{{name: 'backend:8000', domains: [backend, 'backend:8000'], {}, routes: [{{name: canary, match: {{prefix: /canary}}, route: {{cluster: v2}}}}, {{name: gone, match: {{path: /old}}, redirect: {{path_redirect: /new}}}}, {{name: main, match: {{prefix: /}}, request_headers_to_add: [{{header: {{key: x-mesh, value: '%REQ(:PATH)%'}}}}], {}, route: {{prefix_rewrite: /v1/, timeout: 5s, retry_policy: {{retry_on: 5xx, num_retries: 2}}, weighted_clusters: {{clusters: [{{name: v2, weight: 10}}, {{name: v1, weight: 90}}]}}}}}}]}}]}}",
        origin("Service/default/backend"),
        origin("VirtualService/default/backend")
    );
    let cluster = |name: &str| {
        format!(
            "{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}}}}}, {}}}",
            origin("DestinationRule/default/backend")
        )
    };
    let host = |last: u8, health: &str, weight: u32| {
        format!(
            "{{health_status: {health}, load_balancing_weight: {weight}, endpoint: {{address: {{socket_address: {{address: 10.0.0.{last}, port_value: 8000}}}}}}}}"
        )
    };
    let eds = format!(
        "{{cluster_name: v1, endpoints: [{{lb_endpoints: [{}, {}, {}]}}]}}",
        host(1, "HEALTHY", 1),
        host(2, "HEALTHY", 3),
        host(3, "UNHEALTHY", 1)
    );
    vec![
        (types::LISTENER, encode::<ListenerProto>(&virtual_outbound)),
        (types::LISTENER, encode::<ListenerProto>(&http)),
        (types::ROUTE, encode::<RouteConfiguration>(&route)),
        (types::CLUSTER, encode::<ClusterProto>(&cluster("v1"))),
        (types::CLUSTER, encode::<ClusterProto>(&cluster("v2"))),
        (
            types::CLUSTER,
            encode::<ClusterProto>("{name: PassthroughCluster, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}"),
        ),
        (types::ENDPOINT, encode::<ClusterLoadAssignment>(&eds)),
    ]
}

fn sidecar() -> RuntimeConfig {
    let bodies = resources();
    let (config, errors) = RuntimeConfig::from_resources(bodies.iter().map(|(t, b)| (*t, b.as_slice())));
    assert!(errors.is_empty(), "{errors:?}");
    config
}

fn ask(authority: &str, path: &str, port: u16) -> Explanation {
    explain(&sidecar(), &question(authority, path, port))
}

fn question(authority: &str, path: &str, port: u16) -> Question {
    let request = Request {
        http2: true,
        method: Method::POST,
        authority: authority.into(),
        path: path.into(),
        headers: HeaderMap::new(),
    };
    Question {
        source: "10.9.9.9:40000".parse().unwrap(),
        destination: SocketAddr::from(([10, 1, 1, 1], port)),
        captured_by: Some("0.0.0.0:15001".parse().unwrap()),
        traffic: Traffic::Http(Box::new(request)),
    }
}

mod no_damage_panics {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn resources_with_flipped_bytes_are_refused_or_run(damage in proptest::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 1..6)) {
            let mut bodies = resources();
            for (which, at, byte) in damage {
                let count = bodies.len();
                let body = &mut bodies[which % count].1;
                let length = body.len();
                body[at % length] = byte;
            }
            let (config, _) = RuntimeConfig::from_resources(bodies.iter().map(|(t, b)| (*t, b.as_slice())));
            for path in ["/", "/old", "/canary?x=%2", "/a/../%2e"] {
                let _ = explain(&config, &question("backend:8000", path, 8000));
            }
        }
    }
}

#[test]
fn a_forwarded_request_names_every_step_and_what_caused_it() {
    let answer = ask("backend:8000", "/pkg.Svc/Do", 8000);
    let steps: Vec<_> = answer.steps.iter().map(|s| (s.kind.as_str(), s.name.as_str())).collect();
    assert_eq!(
        steps,
        [
            ("listener", "0.0.0.0_8000"),
            ("filter_chain", "(unnamed)"),
            ("virtual_host", "backend:8000"),
            ("route", "main"),
            ("cluster", "v1"),
            ("endpoints", "v1"),
        ]
    );
    let because = |i: usize| answer.steps[i].because.iter().map(|o| o.kind.as_str()).collect::<Vec<_>>();
    assert_eq!(
        (because(0), because(3), because(4)),
        (vec!["Service"], vec!["VirtualService"], vec!["DestinationRule"])
    );
    assert_eq!(answer.steps[3].rejected[0].why, "path /pkg.Svc/Do does not begin with /canary");
    let Outcome::Forward(forward) = &answer.outcome else { unreachable!("{:?}", answer.outcome) };
    assert_eq!(forward.clusters, [("v2".to_owned(), 10), ("v1".to_owned(), 90)]);
    assert_eq!((forward.path.as_str(), forward.authority.as_str()), ("/v1/pkg.Svc/Do", "backend:8000"));
    assert_eq!((forward.timeout, forward.retries), (Some(Duration::from_secs(5)), 2));
    assert_eq!(forward.headers["x-mesh"], "/pkg.Svc/Do");
    let chances: Vec<f64> = answer.endpoints.iter().map(|e| e.probability).collect();
    assert_eq!(chances, [0.25, 0.75, 0.0]);
}

#[test]
fn a_redirect_is_answered_by_the_proxy() {
    let Outcome::Respond { status, headers } = ask("backend", "/old", 8000).outcome else { unreachable!() };
    assert_eq!((status.as_u16(), headers["location"].to_str().unwrap()), (301, "http://backend/new"));
}

#[test]
fn a_refusal_says_why() {
    let why = |authority: &str, path: &str| match ask(authority, path, 8000).outcome {
        Outcome::Refuse { status, why } => (status.unwrap().as_u16(), why),
        other => unreachable!("{other:?}"),
    };
    assert_eq!(why("other", "/"), (404, "no virtual host of route table 8000 has other among its domains".to_owned()));
    assert_eq!(why("backend", "/canary"), (503, "cluster v2 has no endpoints".to_owned()));
}

#[test]
fn what_no_listener_has_passes_through_to_where_it_was_going() {
    let answer = ask("x", "/", 9999);
    assert_eq!(answer.steps.last().unwrap().name, "10.1.1.1:9999");
    assert_eq!(answer.endpoints[0].probability, 1.0);
    let Outcome::Forward(forward) = answer.outcome else { unreachable!() };
    assert_eq!(forward.clusters, [("PassthroughCluster".to_owned(), 1)]);
}

#[test]
fn an_address_without_a_listener_is_refused() {
    let question = Question {
        source: "10.9.9.9:40000".parse().unwrap(),
        destination: "10.1.1.1:8000".parse().unwrap(),
        captured_by: None,
        traffic: Traffic::Tcp,
    };
    let Outcome::Refuse { why, .. } = explain(&sidecar(), &question).outcome else { unreachable!() };
    assert_eq!(why, "no listener has the address 10.1.1.1:8000");
}
