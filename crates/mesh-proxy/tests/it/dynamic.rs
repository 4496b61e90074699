//! Destinations that clients name.

use mesh_proxy::Options;

use crate::support::{Proxy, TO_BACKEND, bootstrap, http1, server};
use crate::tls::pki::{Ask, Ca, server_config};

const CACHE: &str = "dns_cache_config: {name: d, dns_lookup_family: V4_ONLY, max_hosts: 16}";

/// A cluster `backend` that goes wherever it is asked to.
fn anywhere(yaml: &str) -> String {
    let (listeners, _) = yaml.split_once("  clusters:\n").unwrap();
    format!(
        "{listeners}  clusters:\n  - {{name: backend, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {{name: envoy.clusters.dynamic_forward_proxy, typed_config: {{'@type': type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig, {CACHE}}}}}}}\n"
    )
}

fn allowed() -> Options {
    Options { allow_local_destinations: true, ..Options::default() }
}

#[test]
fn a_request_goes_to_the_host_it_names_and_never_to_this_machine_unless_allowed() {
    let (backend, _) = server();
    let filter = format!(
        "          - {{name: envoy.filters.http.dynamic_forward_proxy, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig, {CACHE}}}}}\n"
    );
    let yaml = anywhere(&bootstrap(backend, "", TO_BACKEND, ""));
    let yaml = yaml.replace("          http_filters:\n", &format!("          http_filters:\n{filter}"));
    let get = |proxy: &Proxy, host: &str| {
        http1(proxy.address("in"), &format!("GET /head HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"))
    };
    let proxy = Proxy::start_with(&yaml, allowed());
    for host in [format!("localhost:{}", backend.port()), format!("127.0.0.1:{}", backend.port())] {
        let answer = get(&proxy, &host);
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(&host), "{answer}");
    }
    let nowhere = get(&proxy, "no-such-host.invalid");
    assert!(nowhere.starts_with("HTTP/1.1 503") && nowhere.ends_with("DNS resolution failure"), "{nowhere}");
    let strict = Proxy::start(&yaml);
    for host in [format!("localhost:{}", backend.port()), "169.254.169.254".to_owned()] {
        let answer = get(&strict, &host);
        assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("DNS resolution failure"), "{answer}");
    }
}

#[test]
fn a_tls_session_goes_to_the_server_it_names() {
    let pair = Ca::new("ca").issue("web", &["localhost"]);
    let (backend, _) = crate::support::serve(Some(server_config(&pair, None, &[])));
    let filters = format!(
        "    - filters:
      - {{name: envoy.filters.network.sni_dynamic_forward_proxy, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig, port_value: {}, {CACHE}}}}}
      - {{name: envoy.filters.network.tcp_proxy, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: backend}}}}
",
        backend.port()
    );
    let yaml = format!(
        "static_resources:
  listeners:
  - name: in
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    listener_filters: [{{name: tls, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}}}]
    filter_chains:
{filters}  clusters:\n"
    );
    let proxy = Proxy::start_with(&anywhere(&yaml), allowed());
    let told = Ask { name: "localhost", ..Ask::default() }.get(proxy.address("in")).unwrap();
    assert!(told.showed(&pair) && told.answer.starts_with("HTTP/1.1 200"));
    assert!(Ask { name: "no-such-host.invalid", ..Ask::default() }.get(proxy.address("in")).is_err());
}
