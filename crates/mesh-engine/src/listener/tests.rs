#![allow(clippy::unwrap_used)]
use super::*;

const TCP: &str = "{name: envoy.filters.network.tcp_proxy, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: s, cluster: c}}";
const ADDRESS: &str = "address: {socket_address: {address: 0.0.0.0, port_value: 15006}}";

fn parse(yaml: &str) -> Result<Listener, String> {
    let proto: xds::Listener = mesh_proto::json::from_yaml(yaml).unwrap();
    Listener::parse(&proto, &Routes::default()).map_err(|e| e.to_string())
}

fn chain(name: &str, matches: &str) -> String {
    format!("{{name: {name}, filter_chain_match: {{{matches}}}, filters: [{TCP}]}}")
}

fn listener(chains: &[String]) -> Listener {
    parse(&format!(
        "{{name: l, {ADDRESS}, filter_chains: [{}], default_filter_chain: {}}}",
        chains.join(", "),
        chain("default", "")
    ))
    .unwrap()
}

fn connection() -> Connection<'static> {
    Connection::plain("10.0.0.9:5000".parse().unwrap(), "10.1.2.3:8080".parse().unwrap())
}

fn taken<'a>(listener: &'a Listener, connection: &Connection<'_>) -> &'a str {
    &listener.select_chain(connection).unwrap().name
}

#[test]
fn the_most_specific_criterion_wins_step_by_step() {
    let prefix = |p: &str, len| format!("prefix_ranges: [{{address_prefix: {p}, prefix_len: {len}}}]");
    let listener = listener(&[
        chain("any", "transport_protocol: raw_buffer"),
        chain("net8", &prefix("10.0.0.0", 8)),
        chain("net16", &prefix("10.1.0.0", 16)),
        chain("port", "destination_port: 9090"),
        chain("sni", "server_names: [a.com]"),
        chain("wild", "server_names: ['*.b.com']"),
        chain("alpn", "transport_protocol: tls, application_protocols: [h2]"),
    ]);
    assert_eq!(taken(&listener, &connection()), "net16");
    let to = |address: &str| Connection { destination: address.parse().unwrap(), ..connection() };
    assert_eq!(taken(&listener, &to("10.9.9.9:80")), "net8");
    assert_eq!(taken(&listener, &to("10.1.2.3:9090")), "port", "the port comes before the address");
    assert_eq!(taken(&listener, &to("1.1.1.1:80")), "any");
    let tls = Connection { transport_protocol: "tls", ..to("1.1.1.1:80") };
    assert_eq!(taken(&listener, &Connection { server_name: Some("a.com"), ..tls }), "sni");
    assert_eq!(taken(&listener, &Connection { server_name: Some("x.y.b.com"), ..tls }), "wild");
    assert_eq!(taken(&listener, &Connection { application_protocols: &["h3", "h2"], ..tls }), "alpn");
    assert_eq!(taken(&listener, &tls), "default");
}

#[test]
fn there_is_no_way_back_from_a_more_specific_step() {
    let listener = listener(&[
        chain("narrow", "prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}], transport_protocol: tls"),
        chain("wide", "prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]"),
    ]);
    assert_eq!(taken(&listener, &connection()), "default");
}

#[test]
fn the_source_is_matched_last() {
    let listener = listener(&[
        chain("local", "source_type: SAME_IP_OR_LOOPBACK"),
        chain("net", "source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 24}]"),
        chain("port", "source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 24}], source_ports: [5000]"),
    ]);
    assert_eq!(taken(&listener, &connection()), "port");
    let from = |address: &str| Connection { source: address.parse().unwrap(), ..connection() };
    assert_eq!(taken(&listener, &from("10.0.0.1:1")), "net");
    assert_eq!(taken(&listener, &from("127.0.0.1:1")), "local");
    assert_eq!(taken(&listener, &from("10.1.2.3:1")), "local");
    assert_eq!(taken(&listener, &from("9.9.9.9:1")), "default");
}

#[test]
fn inspector_filters_can_be_switched_off_by_port() {
    let any = "typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}";
    let parsed = parse(&format!("{{name: l, {ADDRESS}, listener_filters: [{{name: h, {any}, filter_disabled: {{or_match: {{rules: [{{destination_port_range: {{start: 80, end: 81}}}}, {{not_match: {{any_match: true}}}}]}}}}}}], filter_chains: [{}], traffic_direction: OUTBOUND, use_original_dst: true, bind_to_port: false, listener_filters_timeout: 0s}}", chain("c", ""))).unwrap();
    let disabled = parsed.listener_filters[0].disabled.as_ref().unwrap();
    assert!(disabled.holds(80) && !disabled.holds(81));
    assert_eq!(
        (parsed.traffic_direction, parsed.bind_to_port, parsed.use_original_dst),
        (Direction::Outbound, false, true)
    );
    assert_eq!(parsed.listener_filters_timeout, None);
}

fn refused(yaml: &str, expected: &str) {
    let error = parse(yaml).unwrap_err();
    assert!(error.contains(expected), "{yaml}: {error}");
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let with = |rest: &str| format!("{{name: l, {ADDRESS}, {rest}}}");
    let filter = |type_name: &str| {
        with(&format!(
            "filter_chains: [{{filters: [{{name: f, typed_config: {{'@type': type.googleapis.com/{type_name}}}}}]}}]"
        ))
    };
    let twice = with(&format!("filter_chains: [{}, {}]", chain("a", ""), chain("b", "")));
    let overlap = with(&format!(
        "filter_chains: [{}, {}]",
        chain("a", "server_names: [x, y]"),
        chain("b", "server_names: [y, z]")
    ));
    let tls = with(&format!(
        "filter_chains: [{{filters: [{TCP}], transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext}}}}}}]"
    ));
    for (yaml, expected) in [
        ("{name: o2}".to_owned(), "listener o2: error adding listener named 'o2': address is necessary"),
        (with("stat_prefix: x"), "error adding listener '0.0.0.0:15006': no filter chains specified"),
        (twice, "filter chain 'b' has the same matching rules defined as 'a'"),
        (overlap, "multiple filter chains with overlapping matching rules are defined"),
        (
            filter("envoy.extensions.filters.network.rbac.v3.RBAC"),
            "filter_chains[0].filters[0]: Didn't find a registered implementation for 'f' with type URL: 'envoy.extensions.filters.network.rbac.v3.RBAC'",
        ),
        (tls, "filter_chains[0].transport_socket.typed_config: No TLS certificates found for server context"),
        (
            with(&format!("filter_chains: [{{filters: [{TCP}, {TCP}]}}]")),
            "must be the last filter in a network filter chain",
        ),
        (with("filter_chains: [{}]"), "filter_chains[0].filters: is not set"),
    ] {
        refused(&yaml, expected);
    }
}

#[test]
fn what_is_out_of_bounds_or_not_supported_is_named() {
    let with = |rest: &str| format!("{{name: l, {ADDRESS}, {rest}}}");
    for (yaml, expected) in [
        (
            with(&format!(
                "filter_chains: [{}], listener_filters: [{{name: p, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}}}}]",
                chain("a", "")
            )),
            "listener_filters[0]: Didn't find a registered implementation for 'p'",
        ),
        (
            with(&format!(
                "filter_chains: [{}], socket_options: [{{level: 1, name: 1, int_value: 1}}]",
                chain("a", "")
            )),
            "socket_options: is set",
        ),
        (
            with(&format!("filter_chains: [{}]", chain("a", "server_names: ['a.*.com']"))),
            "partial wildcards are not supported",
        ),
        (
            with(&format!("filter_chains: [{}]", chain("a", "destination_port: 0"))),
            "destination_port: found 0, expected 1 to 65535",
        ),
        (
            with(&format!(
                "filter_chains: [{}]",
                chain("a", "prefix_ranges: [{address_prefix: 1.2.3.4, prefix_len: 33}]")
            )),
            "prefix_ranges[0].prefix_len: found 33, expected 0 to 32",
        ),
    ] {
        refused(&yaml, expected);
    }
}

#[test]
fn a_captured_connection_goes_to_the_listener_of_its_destination() {
    use crate::runtime::Listeners;
    let make = |name: &str, address: &str, port: u16| {
        let yaml = format!(
            "{{name: {name}, address: {{socket_address: {{address: {address}, port_value: {port}}}}}, use_original_dst: {}, filter_chains: [{}]}}",
            name == "virtual",
            chain("c", "")
        );
        Arc::new(parse(&yaml).unwrap())
    };
    let all = Listeners::new([
        make("virtual", "0.0.0.0", 15001),
        make("wildcard", "0.0.0.0", 8000),
        make("exact", "10.0.0.1", 8000),
    ]);
    let target =
        |from: &str, to: &str| all.redirect_target(all.get(from).unwrap(), to.parse().unwrap()).name.to_string();
    assert_eq!(target("virtual", "10.0.0.1:8000"), "exact");
    assert_eq!(target("virtual", "10.0.0.2:8000"), "wildcard");
    assert_eq!(target("virtual", "10.0.0.2:9000"), "virtual");
    assert_eq!(target("wildcard", "10.0.0.1:8000"), "wildcard");
}
