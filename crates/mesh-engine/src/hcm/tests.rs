#![allow(clippy::unwrap_used)]
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::path::{EscapedSlashes, Normalized, is_normal, normalize};
use super::*;
use crate::error::Kind;

fn parse(rest: &str) -> Result<HttpConnectionManager, String> {
    parse_with(
        rest,
        "http_filters: [{name: envoy.filters.http.router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]",
    )
}

fn parse_with(rest: &str, filters: &str) -> Result<HttpConnectionManager, String> {
    let yaml = format!(
        "{{stat_prefix: s, rds: {{route_config_name: r, config_source: {{ads: {{}}, resource_api_version: V3}}}}, {filters}, {rest}}}"
    );
    let proto = mesh_proto::json::from_yaml(&yaml).unwrap();
    HttpConnectionManager::parse(&At::root(Kind::Listener, "l"), &proto, &Routes::default()).map_err(|e| e.to_string())
}

fn downstream() -> Downstream<'static> {
    Downstream { direct_remote: "10.0.0.7:1234".parse().unwrap(), local: "10.0.0.1:8080".parse().unwrap(), tls: None }
}

fn prepared(config: &str, uri: &str, headers: &[(&str, &str)]) -> (Parts, Result<Prepared, LocalReply>) {
    let mut builder = http::Request::builder().uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let mut parts = builder.body(()).unwrap().into_parts().0;
    let result = parse(config).unwrap().prepare(&mut parts, &downstream(), &mut SmallRng::seed_from_u64(3));
    (parts, result)
}

#[test]
fn paths_become_normal_and_normal_paths_are_left_alone() {
    let check = |path: &str, expected: &str| {
        let Normalized::Path(normal) = normalize(path, EscapedSlashes::Keep, true, true) else { unreachable!() };
        assert_eq!(normal, expected);
        assert!(is_normal(expected, EscapedSlashes::Keep, true, true) || expected.contains(['%', '.']), "{expected}");
    };
    check("/a/./b/../c?x=/../y", "/a/c?x=/../y");
    check("/a//b///c", "/a/b/c");
    check(r"/a\..\b", "/b");
    check("/%2e%2E/a/%2e", "/a/");
    check("/../..", "/");
    check("/a%20b", "/a%20b");
    assert!(is_normal("/pkg.Svc/Method?q=//", EscapedSlashes::Reject, true, true));
    assert_eq!(normalize("/a%2Fb", EscapedSlashes::Reject, false, false), Normalized::Reject);
    assert_eq!(normalize("/a%2fb?q", EscapedSlashes::Redirect, false, false), Normalized::Redirect("/a/b?q".into()));
    assert_eq!(normalize("/a%00", EscapedSlashes::Keep, true, false), Normalized::Reject);
}

#[test]
fn an_edge_proxy_trusts_nobody() {
    let headers = [
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-proto", "https"),
        ("x-envoy-max-retries", "9"),
        ("x-envoy-decorator-operation", "x"),
        ("x-request-id", "mine"),
        ("x-forwarded-client-cert", "c"),
    ];
    let (parts, result) = prepared("use_remote_address: true", "/", &headers);
    let result = result.unwrap();
    assert_eq!((result.remote, result.internal), (downstream().direct_remote, false));
    assert_eq!(parts.headers["x-forwarded-for"], "1.1.1.1,10.0.0.7");
    assert_eq!(parts.headers["x-forwarded-proto"], "http");
    assert_eq!(parts.headers["x-request-id"].len(), 36);
    for gone in ["x-envoy-max-retries", "x-envoy-decorator-operation", "x-forwarded-client-cert"] {
        assert!(!parts.headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn trusted_hops_give_the_clients_address() {
    let headers = [("x-forwarded-for", "9.9.9.9, 1.1.1.1, 2.2.2.2")];
    let remote = |config: &str| prepared(config, "/", &headers).1.unwrap().remote.ip().to_string();
    assert_eq!(remote("use_remote_address: true, xff_num_trusted_hops: 2"), "1.1.1.1");
    assert_eq!(remote("xff_num_trusted_hops: 1"), "1.1.1.1");
    assert_eq!(remote("use_remote_address: false"), "2.2.2.2");
}

#[test]
fn a_request_from_inside_may_steer_retries() {
    let config =
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}, use_remote_address: true";
    let (parts, result) = prepared(config, "/", &[("x-envoy-max-retries", "9")]);
    assert!(result.unwrap().internal);
    assert_eq!(
        (&parts.headers["x-envoy-internal"], &parts.headers["x-envoy-max-retries"]),
        (&HeaderValue::from_static("true"), &HeaderValue::from_static("9"))
    );
    let (parts, _) =
        prepared("use_remote_address: false", "/", &[("x-envoy-max-retries", "9"), ("x-request-id", "kept")]);
    assert!(!parts.headers.contains_key("x-envoy-max-retries"));
    assert_eq!(parts.headers["x-request-id"], "kept");
}

#[test]
fn ports_and_trailing_dots_are_stripped_if_so_configured() {
    let host = |config: &str, host: &str| {
        prepared(config, "/", &[("host", host)]).0.headers["host"].to_str().unwrap().to_owned()
    };
    assert_eq!(host("strip_matching_host_port: true", "a:8080"), "a");
    assert_eq!(host("strip_matching_host_port: true", "a:81"), "a:81");
    assert_eq!(host("strip_any_host_port: true, strip_trailing_host_dot: true", "a.:81"), "a");
    let (parts, _) = prepared("strip_any_host_port: true", "http://[::1]:81/x", &[]);
    assert_eq!((parts.uri.authority().unwrap().as_str(), parts.headers.contains_key("host")), ("[::1]", false));
}

#[test]
fn escaped_slashes_can_be_refused_or_redirected() {
    let reply =
        |action: &str| prepared(&format!("path_with_escaped_slashes_action: {action}"), "/a%2Fb", &[]).1.unwrap_err();
    assert_eq!(reply("REJECT_REQUEST").status, 400);
    let redirect = reply("UNESCAPE_AND_REDIRECT");
    assert_eq!((redirect.status.as_u16(), redirect.headers["location"].to_str().unwrap()), (307, "/a/b"));
    assert_eq!(prepared("path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", "/a%2Fb", &[]).0.uri, "/a/b");
}

#[test]
fn what_cannot_be_honoured_is_named() {
    for (rest, expected) in [
        (
            "local_reply_config: {mappers: [{filter: {not_health_check_filter: {}}}]}",
            "local_reply_config: is set, but this proxy does not support it",
        ),
        ("codec_type: HTTP3", "codec_type: HTTP3 is not supported by this proxy"),
        ("max_request_headers_kb: 8193", "max_request_headers_kb: found 8193, expected 1 to 8192"),
        ("strip_any_host_port: true, strip_matching_host_port: true", "Only one of `strip_matching_host_port`"),
        ("upgrade_configs: [{upgrade_type: CONNECT}]", "upgrade_configs[0].upgrade_type: CONNECT is not supported"),
        (
            "common_http_protocol_options: {max_headers_count: 0}",
            "common_http_protocol_options.max_headers_count: found 0",
        ),
    ] {
        let error = parse(rest).unwrap_err();
        assert!(error.contains(expected), "{rest}: {error}");
    }
}

#[test]
fn filters_are_known_optional_or_refused() {
    let router = "{name: envoy.filters.http.router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router, suppress_envoy_headers: true}}";
    let stats = "{name: envoy.filters.http.grpc_stats, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig, stats_for_all_methods: true}}";
    let lua = |optional: bool| {
        format!(
            "{{name: lua, is_optional: {optional}, typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}}}}"
        )
    };
    let chain = |filters: &[&str]| parse_with("via: v", &format!("http_filters: [{}]", filters.join(", ")));
    let parsed = chain(&[stats, &lua(true), router]).unwrap();
    assert_eq!(
        (parsed.filters.len(), parsed.skipped_filters.len(), parsed.has_router, parsed.suppress_envoy_headers),
        (1, 1, true, true)
    );
    assert!(chain(&[&lua(false), router]).unwrap_err().contains("http_filters[0]: Didn't find a registered implementation for 'lua' with type URL: 'envoy.extensions.filters.http.lua.v3.Lua'"));
    assert!(chain(&[router, stats]).unwrap_err().contains("must be the last filter in a http filter chain."));
    assert!(!chain(&[]).unwrap().has_router);
}
