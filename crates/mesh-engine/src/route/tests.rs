#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::format::Facts;

fn parse(yaml: &str) -> Result<Arc<RouteTable>, String> {
    let proto: xds::RouteConfiguration = mesh_proto::json::from_yaml(yaml).unwrap();
    RouteTable::parse(&proto).map(Arc::new).map_err(|e| e.to_string())
}

fn routes(routes: &str) -> Arc<RouteTable> {
    parse(&format!("{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{routes}]}}]}}")).unwrap()
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn get(uri: &str) -> Parts {
    request("GET", uri, &[("host", "h")])
}

/// Name of the route that is met, or `-`.
fn met(table: &Arc<RouteTable>, parts: &Parts) -> String {
    let view = RequestView::of(parts);
    let matched = match_route(table, &view, 0);
    let traced = trace_route(table, &view, 0);
    assert_eq!(traced.result.is_ok(), matched.is_ok(), "both variants decide the same");
    matched.map_or("-".to_owned(), |m| m.route().name.to_string())
}

#[test]
fn virtual_hosts_are_found_by_envoys_precedence() {
    let host = |name: &str, domains: &str| {
        format!(
            "{{name: {name}, domains: [{domains}], routes: [{{name: {name}, match: {{prefix: /}}, route: {{cluster: c}}}}]}}"
        )
    };
    let hosts = [
        host("any", "'*'"),
        host("prefix", "'a.*'"),
        host("long-prefix", "'a.b.*'"),
        host("suffix", "'*.com'"),
        host("long-suffix", "'*.b.com'"),
        host("dash", "'*-x.b.com'"),
        host("exact", "A.b.com, 'e:80'"),
    ];
    let table = parse(&format!("{{name: r, virtual_hosts: [{}]}}", hosts.join(", "))).unwrap();
    for (authority, expected) in [
        ("a.B.com", "exact"),
        ("e:80", "exact"),
        ("e", "any"),
        ("z.b.com", "long-suffix"),
        ("y-x.b.com", "dash"),
        ("-x.b.com", "long-suffix"),
        ("q.com", "suffix"),
        (".com", "any"),
        ("a.b.org", "long-prefix"),
        ("a.c.org", "prefix"),
        ("a.", "any"),
    ] {
        assert_eq!(met(&table, &request("GET", "/", &[("host", authority)])), expected, "{authority}");
    }
}

#[test]
fn a_port_is_ignored_if_so_configured() {
    let table = |ignore: bool| {
        parse(&format!("{{name: r, ignore_port_in_host_matching: {ignore}, virtual_hosts: [{{name: v, domains: [a], routes: [{{name: x, match: {{prefix: /}}, route: {{cluster: c}}}}]}}]}}")).unwrap()
    };
    let parts = request("GET", "/", &[("host", "a:80")]);
    assert_eq!((met(&table(true), &parts).as_str(), met(&table(false), &parts).as_str()), ("x", "-"));
}

#[test]
fn each_part_of_a_match_counts() {
    let check = |matches: &str, parts: &Parts, expected: bool| {
        let table = routes(&format!("{{name: x, match: {{{matches}}}, route: {{cluster: c}}}}"));
        assert_eq!(met(&table, parts) == "x", expected, "{matches} {}", parts.uri);
    };
    check("prefix: /a", &get("/ab?q"), true);
    check("prefix: /A", &get("/ab"), false);
    check("prefix: /A, case_sensitive: false", &get("/ab"), true);
    check("path: /a", &get("/a?q=1"), true);
    check("path: /a", &get("/a/"), false);
    check("safe_regex: {regex: '/a[0-9]+'}", &get("/a12?x"), true);
    check("safe_regex: {regex: '/a[0-9]+'}", &get("/a12/b"), false);
    check("path_separated_prefix: /a", &get("/a/b"), true);
    check("path_separated_prefix: /a", &get("/ab"), false);
    check("prefix: /, headers: [{name: ':method', string_match: {exact: PUT}}]", &get("/"), false);
    check("prefix: /, query_parameters: [{name: q, string_match: {exact: '1'}}]", &get("/?q=1"), true);
    check("prefix: /, query_parameters: [{name: q, present_match: true}]", &get("/"), false);
    check("prefix: /, grpc: {}", &get("/"), false);
    check("prefix: /, grpc: {}", &request("POST", "/", &[("content-type", "application/grpc+proto")]), true);
    check("prefix: /, runtime_fraction: {default_value: {numerator: 0}}", &get("/"), false);
    check(
        "prefix: /, cookies: [{name: s, string_match: {exact: a}}]",
        &request("GET", "/", &[("cookie", "s=a")]),
        true,
    );
    check("connect_matcher: {}", &request("CONNECT", "h:1", &[]), true);
    check("prefix: /", &request("CONNECT", "h:1", &[]), false);
}

#[test]
fn rejected_routes_say_why() {
    let table = routes(
        "{name: a, match: {prefix: /a}, route: {cluster: c}}, {match: {prefix: /, headers: [{name: user, string_match: {exact: jason}}]}, route: {cluster: c}}, {name: z, match: {prefix: /}, route: {cluster: c}}",
    );
    let parts = request("GET", "/b", &[("host", "h"), ("user", "ann")]);
    let trace = trace_route(&table, &RequestView::of(&parts), 0);
    assert_eq!(&*trace.result.unwrap().route().name, "z");
    let why: Vec<_> = trace.rejected.iter().map(|r| (r.name.as_str(), r.why.as_str())).collect();
    assert_eq!(
        why,
        [
            ("a", "path /b does not begin with /a"),
            ("prefix /", "wanted header user is exactly \"jason\", found \"ann\"")
        ]
    );
}

#[test]
fn weighted_clusters_share_by_weight() {
    let table = routes(
        "{match: {prefix: /}, route: {weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 3}, {name: z, weight: 0}]}}}",
    );
    let parts = get("/");
    let mut counts = std::collections::BTreeMap::new();
    for random in 0..400 {
        let matched = match_route(&table, &RequestView::of(&parts), random).unwrap();
        *counts.entry(matched.cluster(&parts.headers).unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts, std::collections::BTreeMap::from([("a".to_owned(), 100), ("b".to_owned(), 300)]));
    assert_eq!(table.cluster_names().len(), 3);
}

fn mutated(route: &str, mut parts: Parts) -> Parts {
    let table = routes(&format!("{{name: x, {route}}}"));
    let matched = match_route(&table, &RequestView::of(&parts), 0).unwrap();
    matched.mutate_request(&mut parts, &Facts::default());
    parts
}

#[test]
fn paths_and_hosts_are_rewritten() {
    let path = |route: &str, uri: &str| mutated(route, get(uri)).uri.to_string();
    assert_eq!(path("match: {prefix: /a/}, route: {cluster: c, prefix_rewrite: /}", "/a/b?q=1"), "/b?q=1");
    assert_eq!(path("match: {path: /a}, route: {cluster: c, prefix_rewrite: /z}", "/a?q"), "/z?q");
    assert_eq!(
        path(
            r"match: {prefix: /}, route: {cluster: c, regex_rewrite: {pattern: {regex: '^/v(\d)/(.*)'}, substitution: '/\2/\1'}}",
            "/v1/x?q"
        ),
        "/x/1?q"
    );
    let parts = mutated(
        "match: {prefix: /a}, route: {cluster: c, prefix_rewrite: /b, host_rewrite_literal: other, append_x_forwarded_host: true}",
        get("/a"),
    );
    assert_eq!(
        (parts.headers["host"].to_str().unwrap(), parts.headers["x-forwarded-host"].to_str().unwrap()),
        ("other", "h")
    );
    assert_eq!(parts.headers["x-envoy-original-path"], "/a");
    let h2 = mutated(
        "match: {prefix: /}, route: {cluster: c, host_rewrite_header: x}",
        request("GET", "http://h/p", &[("x", "y.z")]),
    );
    assert_eq!(h2.uri.to_string(), "http://y.z/p");
    assert!(!h2.headers.contains_key("host"));
}

#[test]
fn header_levels_are_carried_out_in_order_and_see_the_request() {
    let add = |value: &str| {
        format!(
            "request_headers_to_add: [{{header: {{key: x, value: '{value}'}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]"
        )
    };
    let yaml = |most: bool| {
        format!(
            "{{name: r, most_specific_header_mutations_wins: {most}, {}, virtual_hosts: [{{name: v, domains: ['*'], {}, routes: [{{match: {{prefix: /}}, {}, request_headers_to_remove: [y], route: {{weighted_clusters: {{clusters: [{{name: c, weight: 1, {}}}]}}}}}}]}}]}}",
            add("table"),
            add("host"),
            add("route %REQ(:path)%"),
            add("cluster")
        )
    };
    for (most, expected) in [(false, "table"), (true, "cluster")] {
        let table = parse(&yaml(most)).unwrap();
        let mut parts = request("GET", "/p", &[("y", "1")]);
        match_route(&table, &RequestView::of(&parts), 0).unwrap().mutate_request(&mut parts, &Facts::default());
        assert_eq!(parts.headers["x"], expected);
        assert!(!parts.headers.contains_key("y"));
    }
    let parts = mutated(
        "match: {prefix: /}, request_headers_to_add: [{header: {key: p, value: '%REQ(:PATH)%'}}], route: {cluster: c}",
        get("/q"),
    );
    assert_eq!(parts.headers["p"], "/q");
}

#[test]
fn redirects_lead_where_they_say() {
    let location = |redirect: &str, host: &str, uri: &str| {
        let table = routes(&format!("{{match: {{prefix: /a}}, redirect: {{{redirect}}}}}"));
        let parts = request("GET", uri, &[("host", host)]);
        let matched = match_route(&table, &RequestView::of(&parts), 0).unwrap();
        let Action::Redirect(redirect) = matched.action() else { unreachable!() };
        matched.location(redirect, &RequestView::of(&parts))
    };
    assert_eq!(location("https_redirect: true", "h:80", "/a?q"), "https://h/a?q");
    assert_eq!(location("https_redirect: true", "h:8080", "/a"), "https://h:8080/a");
    assert_eq!(location("host_redirect: o, port_redirect: 81, strip_query: true", "h", "/a?q"), "http://o:81/a");
    assert_eq!(location("path_redirect: /z", "h", "/a?q"), "http://h/z?q");
    assert_eq!(location("path_redirect: '/z?y', strip_query: true", "h", "/a?q"), "http://h/z?y");
    assert_eq!(location("prefix_rewrite: /b", "h", "/a/c?q"), "http://h/b/c?q");
}

#[test]
fn timeouts_follow_route_headers_and_grpc() {
    let timeouts = |route: &str, headers: &[(&str, &str)], internal: bool| {
        let table = routes(&format!("{{match: {{prefix: /}}, route: {{cluster: c, {route}}}}}"));
        let parts = request("POST", "/", headers);
        match_route(&table, &RequestView::of(&parts), 0).unwrap().timeouts(&parts.headers, internal)
    };
    let seconds = Duration::from_secs;
    assert_eq!(timeouts("", &[], false).route, Some(seconds(15)));
    assert_eq!(timeouts("timeout: 0s", &[], false).route, None);
    let asked = [("x-envoy-upstream-rq-timeout-ms", "500")];
    assert_eq!(timeouts("", &asked, true).route, Some(Duration::from_millis(500)));
    assert_eq!(timeouts("", &asked, false).route, Some(seconds(15)));
    assert_eq!(timeouts("timeout: 2s, retry_policy: {retry_on: 5xx, per_try_timeout: 3s}", &[], false).per_try, None);
    let grpc = [("content-type", "application/grpc"), ("grpc-timeout", "7S")];
    let istio = "timeout: 0s, max_stream_duration: {max_stream_duration: 0s, grpc_timeout_header_max: 0s}";
    assert_eq!(timeouts(istio, &grpc, false).max_stream, Some(Some(seconds(7))));
    assert_eq!(timeouts(istio, &[], false).max_stream, Some(None));
    assert_eq!(
        timeouts("max_stream_duration: {grpc_timeout_header_max: 5s}", &grpc, false).max_stream,
        Some(Some(seconds(5)))
    );
    assert_eq!(timeouts("max_grpc_timeout: 5s", &grpc, false).route, Some(seconds(5)));
}

#[test]
fn the_first_hash_policy_that_is_terminal_ends_the_search() {
    let table = routes(
        "{match: {prefix: /}, route: {cluster: c, hash_policy: [{header: {header_name: x}, terminal: true}, {connection_properties: {source_ip: true}}]}}",
    );
    let hash = |parts: &Parts| {
        match_route(&table, &RequestView::of(parts), 0)
            .unwrap()
            .hash(&RequestView::of(parts), "1.2.3.4:5".parse().unwrap(), "5.6.7.8:9".parse().unwrap())
            .hash
    };
    let with = request("GET", "/", &[("x", "1")]);
    assert_eq!(hash(&with), Some(xxhash_rust::xxh64::xxh64(b"1", 0)));
    assert_eq!(hash(&get("/")), Some(xxhash_rust::xxh64::xxh64(b"1.2.3.4", 0)));
}

#[test]
fn a_client_without_the_cookie_is_given_one_that_hashes_alike() {
    let table = routes(
        "{match: {prefix: /}, route: {cluster: c, hash_policy: [{cookie: {name: sid, ttl: 60s, path: /a, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}}]}}",
    );
    let hashed = |parts: &Parts| {
        let view = RequestView::of(parts);
        match_route(&table, &view, 0).unwrap().hash(&view, "1.2.3.4:5".parse().unwrap(), "[::1]:9".parse().unwrap())
    };
    let first = hashed(&get("/"));
    let value = format!("{:016x}", xxhash_rust::xxh64::xxh64(b"1.2.3.4:5[::1]:9", 0));
    let expected = format!("sid=\"{value}\"; Max-Age=60; Path=/a; SameSite=Lax; Secure; HttpOnly");
    assert_eq!(first.cookies, [expected.as_str()]);
    let cookie = format!("a=b; sid=\"{value}\"");
    let second = hashed(&request("GET", "/", &[("cookie", cookie.as_str())]));
    assert_eq!((second.hash, second.cookies.len()), (first.hash, 0));
}

#[test]
fn hashes_are_combined_and_values_of_a_header_are_sorted() {
    use xxhash_rust::xxh64::xxh64;
    let table = routes(
        "{match: {prefix: /}, route: {cluster: c, hash_policy: [{query_parameter: {name: q}}, {header: {header_name: x}}]}}",
    );
    let hash = |parts: &Parts| {
        let view = RequestView::of(parts);
        match_route(&table, &view, 0)
            .unwrap()
            .hash(&view, "1.2.3.4:5".parse().unwrap(), "[::1]:9".parse().unwrap())
            .hash
    };
    let both = request("GET", "/?q=1", &[("x", "b"), ("x", "a")]);
    let header = xxh64(b"b", xxh64(b"a", 0));
    assert_eq!(hash(&both), Some(xxh64(b"1", 0).rotate_left(1) ^ header));
    assert_eq!(hash(&get("/")), None);
}

#[test]
fn what_cannot_be_honoured_is_named() {
    let host = |rest: &str| format!("{{name: r1, virtual_hosts: [{{name: v, domains: [a.b], {rest}}}]}}");
    let action = |action: &str| host(&format!("routes: [{{match: {{prefix: /}}, route: {{{action}}}}}]"));
    for (yaml, expected) in [
        (
            "{name: r1, virtual_hosts: [{name: v, domains: [a.b]}, {name: w, domains: [A.B]}]}".into(),
            "Only unique values for domains are permitted. Duplicate entry of domain a.b in route r1",
        ),
        (
            "{name: r1, virtual_hosts: [{name: v, domains: ['*', '*']}]}".into(),
            "Only a single wildcard domain is permitted in route r1",
        ),
        ("{name: r1, virtual_hosts: [{name: v}]}".into(), "virtual_hosts[0].domains: is not set"),
        (
            host("routes: [{match: {}, route: {cluster: c}}]"),
            "virtual_hosts[0].routes[0].match: is not set, expected a path_specifier",
        ),
        (host("routes: [{match: {prefix: /}}]"), "routes[0]: is not set, expected an action"),
        (
            host("routes: [{match: {safe_regex: {regex: '(a'}}, route: {cluster: c}}]"),
            "match.safe_regex.regex: (a: regex parse error",
        ),
        (host("require_tls: ALL"), "virtual_hosts[0].require_tls: is set, but this proxy does not support it"),
        (
            host("routes: [{match: {prefix: /}, direct_response: {status: 99}}]"),
            "direct_response.status: found 99, expected 200 to 599",
        ),
        (
            action("weighted_clusters: {clusters: [{name: a, weight: 0}]}"),
            "Sum of weights in the weighted_cluster must be greater than 0.",
        ),
        (
            action("weighted_clusters: {clusters: [{weight: 1}]}"),
            "At least one of name or cluster_header need to be specified",
        ),
        (
            action("cluster: c, prefix_rewrite: /, regex_rewrite: {pattern: {regex: a}, substitution: b}"),
            "Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy",
        ),
        (
            action("cluster: c, request_mirror_policies: [{cluster_header: d}]"),
            "route.request_mirror_policies[0].cluster_header: is set",
        ),
        (action("cluster: ''"), "route.cluster: is not set"),
        (
            action("cluster: c, upgrade_configs: [{upgrade_type: CONNECT}]"),
            "upgrade_type: CONNECT is not supported by this proxy, expected websocket",
        ),
        (
            host("request_headers_to_add: [{header: {key: ':path', value: x}}]"),
            ":-prefixed or host headers may not be modified",
        ),
    ] {
        let yaml: String = yaml;
        let error = parse(&yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}
