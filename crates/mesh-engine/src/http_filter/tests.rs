#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::SmallRng;

use mesh_proto::envoy::extensions::filters::common::fault::v3::FaultDelay;
use mesh_proto::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use mesh_proto::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use mesh_proto::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use mesh_proto::envoy::r#type::v3::FractionalPercent;

use super::*;
use crate::route::{RouteTable, match_route};

const CORS: &str = "'@type': type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy";

fn matched(per_filter: &str) -> Result<Matched, String> {
    matched_with(per_filter, None)
}

/// As [`matched`], with a fault on the route.
fn matched_with(per_filter: &str, fault: Option<HttpFault>) -> Result<Matched, String> {
    let yaml = format!(
        "{{name: r, virtual_hosts: [{{name: v, domains: ['*'], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}, typed_per_filter_config: {{{per_filter}}}}}]}}]}}"
    );
    let mut proto: route::RouteConfiguration = mesh_proto::json::from_yaml(&yaml).unwrap();
    if let Some(fault) = fault {
        let overrides = &mut proto.virtual_hosts[0].routes[0].typed_per_filter_config;
        overrides.insert("envoy.filters.http.fault".into(), mesh_proto::any::pack(&fault));
    }
    let table = RouteTable::parse(&proto).map_err(|e| e.to_string())?;
    let request = request("GET", &[]);
    Ok(match_route(&Arc::new(table), &RequestView::of(&request), 0).unwrap())
}

fn request(method: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri("/");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn filters() -> Vec<HttpFilter> {
    let filter = |name: &str, kind| HttpFilter { name: name.into(), kind, disabled: false };
    vec![
        filter("envoy.filters.http.fault", FilterKind::Fault(Fault::default())),
        filter("envoy.filters.http.cors", FilterKind::Cors),
    ]
}

fn decide(per_filter: &str, parts: &Parts) -> RequestDecision {
    on_request(&filters(), &matched(per_filter).unwrap(), parts, &mut SmallRng::seed_from_u64(1))
}

#[test]
fn a_preflight_from_an_allowed_origin_is_answered() {
    let policy = format!(
        "envoy.filters.http.cors: {{{CORS}, allow_origin_string_match: [{{exact: 'http://a'}}], allow_methods: 'GET', max_age: '5', allow_credentials: true, expose_headers: x}}"
    );
    let preflight = |origin| request("OPTIONS", &[("origin", origin), ("access-control-request-method", "GET")]);
    let reply = decide(&policy, &preflight("http://a")).reply.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(reply.headers["access-control-allow-origin"], "http://a");
    assert_eq!(reply.headers["access-control-max-age"], "5");
    assert!(decide(&policy, &preflight("http://b")).reply.is_none());
    let mut response = HeaderMap::new();
    on_response(
        &filters(),
        &matched(&policy).unwrap(),
        &request("GET", &[("origin", "http://a")]).headers,
        &mut response,
    );
    assert_eq!(response["access-control-expose-headers"], "x");
    assert_eq!(response["access-control-allow-credentials"], "true");
}

#[test]
fn a_fault_delays_and_aborts_its_share() {
    let always = Some(FractionalPercent { numerator: 100, denominator: 0 });
    let abort =
        |error_type| Some(FaultAbort { percentage: always, error_type: Some(error_type), ..Default::default() });
    let fixed = mesh_proto::google::protobuf::Duration { seconds: 2, nanos: 0 };
    let fault = HttpFault {
        delay: Some(FaultDelay {
            percentage: always,
            fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(fixed)),
        }),
        abort: abort(ErrorType::HttpStatus(418)),
        headers: vec![route::HeaderMatcher { name: "x".into(), ..Default::default() }],
        ..Default::default()
    };
    let decide = |fault: HttpFault, parts: &Parts| {
        let matched = matched_with("", Some(fault)).unwrap();
        on_request(&filters(), &matched, parts, &mut SmallRng::seed_from_u64(1))
    };
    let decision = decide(fault.clone(), &request("GET", &[("x", "1")]));
    assert_eq!(decision.delay, Some(Duration::from_secs(2)));
    assert_eq!(decision.reply.unwrap().status, 418);
    assert!(decide(fault, &request("GET", &[])).reply.is_none());
    let grpc = HttpFault { abort: abort(ErrorType::GrpcStatus(14)), ..Default::default() };
    let reply = decide(grpc, &request("GET", &[])).reply.unwrap();
    assert_eq!((reply.status.as_u16(), reply.grpc_status), (503, Some(14)));
}

#[test]
fn a_route_can_switch_a_filter_off() {
    let off =
        "envoy.filters.http.fault: {'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}";
    let mut filters = filters();
    filters[0].kind = FilterKind::Fault(Fault { delay: Some((Duration::from_secs(1), 1_000_000)), ..Fault::default() });
    let mut rng = SmallRng::seed_from_u64(1);
    assert!(on_request(&filters, &matched("").unwrap(), &request("GET", &[]), &mut rng).delay.is_some());
    assert!(on_request(&filters, &matched(off).unwrap(), &request("GET", &[]), &mut rng).delay.is_none());
}

#[test]
fn an_unknown_per_route_type_is_refused_unless_optional() {
    let any = "{'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute, disabled: true}";
    let error = matched(&format!("lua: {any}")).unwrap_err();
    assert!(error.contains("typed_per_filter_config.lua: Didn't find a registered implementation for 'lua' with type URL: 'envoy.extensions.filters.http.lua.v3.LuaPerRoute'"), "{error}");
    assert!(
        matched(&format!(
            "lua: {{'@type': type.googleapis.com/envoy.config.route.v3.FilterConfig, is_optional: true, config: {any}}}"
        ))
        .is_ok()
    );
    let limited = HttpFault {
        max_active_faults: Some(mesh_proto::google::protobuf::UInt32Value { value: 3 }),
        ..Default::default()
    };
    assert!(matched_with("", Some(limited)).unwrap_err().contains("max_active_faults: is set"));
}
