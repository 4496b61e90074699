#![allow(clippy::unwrap_used)]
use super::*;
use crate::error::Kind;
use rand::SeedableRng;
use rand::rngs::SmallRng;

fn policy(yaml: &str) -> Result<Arc<RetryPolicy>, String> {
    let proto: xds::RetryPolicy = mesh_proto::json::from_yaml(yaml).unwrap();
    RetryPolicy::parse(&At::root(Kind::Route, "r"), &proto).map(Arc::new).map_err(|e| e.to_string())
}

fn state(yaml: &str) -> RetryState {
    RetryState::new(Some(&policy(yaml).unwrap()), &HeaderMap::new(), false).unwrap()
}

fn response(status: u16, grpc: Option<&str>) -> (StatusCode, HeaderMap) {
    let mut headers = HeaderMap::new();
    if let Some(status) = grpc {
        headers.insert("grpc-status", status.parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers)
}

#[test]
fn each_word_retries_what_it_names() {
    let check = |on: &str, (status, headers): (StatusCode, HeaderMap), expected: bool| {
        let result = TryResult::Response { status, headers: &headers };
        let policy = policy(&format!("{{retry_on: '{on}', retriable_status_codes: [503]}}")).unwrap();
        let state = RetryState::new(Some(&policy), &HeaderMap::new(), false);
        let retried = state.is_some_and(|mut s| s.should_retry(&result) == Retry::Yes);
        assert_eq!(retried, expected, "{on} {status}");
    };
    check("5xx", response(500, None), true);
    check("5xx", response(404, None), false);
    check("gateway-error", response(500, None), false);
    check("gateway-error", response(503, None), true);
    check("retriable-4xx", response(409, None), true);
    check("unavailable,cancelled", response(200, Some("14")), true);
    check("cancelled", response(200, Some("14")), false);
    check("503,no-such-word", response(503, None), false);
    check("retriable-status-codes", response(503, None), true);
    let on = |words: &str, result: TryResult<'_>| state(&format!("retry_on: '{words}'")).should_retry(&result);
    assert_eq!(on("connect-failure", TryResult::ConnectFailure), Retry::Yes);
    assert_eq!(on("connect-failure", TryResult::Reset { request_sent: true }), Retry::NotRetriable);
    assert_eq!(on("reset-before-request", TryResult::Reset { request_sent: false }), Retry::Yes);
    assert_eq!(on("refused-stream", TryResult::Refused), Retry::Yes);
    assert_eq!(on("5xx", TryResult::PerTryTimeout), Retry::Yes);
    assert_eq!(on("5xx,reset", TryResult::Overflow), Retry::NotRetriable);
}

#[test]
fn tries_run_out() {
    let mut state = state("{retry_on: 5xx, num_retries: 2}");
    let results: Vec<Retry> = (0..3).map(|_| state.should_retry(&TryResult::ConnectFailure)).collect();
    assert_eq!(results, [Retry::Yes, Retry::Yes, Retry::LimitExceeded]);
}

#[test]
fn request_headers_are_obeyed_only_from_inside() {
    let mut headers = HeaderMap::new();
    headers.insert("x-envoy-retry-on", "5xx".parse().unwrap());
    headers.insert("x-envoy-max-retries", "3".parse().unwrap());
    assert!(RetryState::new(None, &headers, false).is_none());
    let mut state = RetryState::new(None, &headers, true).unwrap();
    assert!((0..3).all(|_| state.should_retry(&TryResult::ConnectFailure) == Retry::Yes));
    assert_eq!(state.should_retry(&TryResult::ConnectFailure), Retry::LimitExceeded);
}

#[test]
fn backoff_grows_and_is_bounded() {
    let mut state =
        state("{retry_on: 5xx, num_retries: 40, retry_back_off: {base_interval: 0.1s, max_interval: 0.5s}}");
    let mut rng = SmallRng::seed_from_u64(1);
    for n in 1..=40u32 {
        assert_eq!(state.should_retry(&TryResult::ConnectFailure), Retry::Yes);
        let ceiling = Duration::from_millis(100).saturating_mul((1 << n.min(20)) - 1).min(Duration::from_millis(500));
        assert!((0..50).all(|_| state.backoff(&mut rng) <= ceiling));
    }
}

#[test]
fn a_reset_header_says_how_long_to_wait() {
    let state = state(
        "{retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: retry-after}], max_interval: 10s}}",
    );
    let mut rng = SmallRng::seed_from_u64(1);
    let mut wait = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", value.parse().unwrap());
        state.rate_limited_backoff(&headers, Duration::ZERO, &mut rng)
    };
    assert!((2..=3).contains(&wait("2").unwrap().as_secs()));
    assert_eq!(wait("11"), None);
}

#[test]
fn what_cannot_be_honoured_is_named() {
    for (yaml, expected) in [
        (
            "{retry_on: 5xx, retry_back_off: {base_interval: 1s, max_interval: 0.5s}}",
            "max_interval must greater than or equal to the base_interval",
        ),
        ("{retry_on: 5xx, retriable_status_codes: [99]}", "retriable_status_codes: found [99]"),
        (
            "{retry_on: 5xx, retry_host_predicate: [{name: x, typed_config: {'@type': type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate}}]}",
            "Didn't find a registered implementation for 'x'",
        ),
        ("{retry_on: 5xx, refresh_cluster_on_retry: true}", "refresh_cluster_on_retry: is set"),
    ] {
        let error = policy(yaml).unwrap_err();
        assert!(error.contains(expected), "{yaml}: {error}");
    }
}
