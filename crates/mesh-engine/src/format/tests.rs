#![allow(clippy::unwrap_used)]
use super::*;
use crate::error::Kind;
use crate::route::RequestView;
use http::Method;
use std::time::UNIX_EPOCH;

fn at() -> At<'static> {
    At::root(Kind::Listener, "l")
}

fn check(text: &str, expected: &str) {
    let (method, mut headers, mut response) = (Method::GET, HeaderMap::new(), HeaderMap::new());
    headers.insert("user-agent", "curl".parse().unwrap());
    headers.insert("content-type", "application/grpc".parse().unwrap());
    response.insert("grpc-status", "14".parse().unwrap());
    let facts = Facts {
        request: Some(RequestView {
            method: &method,
            authority: "a.b:80",
            path: "/p?q=1",
            scheme: "http",
            headers: &headers,
        }),
        response_headers: Some(&response),
        response_code: Some(503),
        flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE.with(ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED),
        start_time: Some(UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789)),
        duration: Some(Duration::from_millis(7)),
        protocol: Some(http::Version::HTTP_2),
        downstream_remote: Some("10.1.2.3:4567".parse().unwrap()),
        bytes_sent: 5,
        ..Facts::default()
    };
    let mut out = String::new();
    Template::parse(&at(), text).unwrap().write(&facts, &mut out);
    assert_eq!(out, expected, "{text}");
}

#[test]
fn operators_give_what_the_request_had() {
    check("%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%", "GET /p?q=1 HTTP/2");
    check("%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION%", "503 UF,URX 0 5 7");
    check("%RESPONSE_FLAGS_LONG%", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded");
    check("%REQ(USER-AGENT):2% %REQ(:AUTHORITY)% %REQ(X-NONE)% %UPSTREAM_HOST%", "cu a.b:80 - -");
    check(
        "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_PORT%",
        "10.1.2.3:4567 10.1.2.3 4567",
    );
    check("%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER%", "Unavailable UNAVAILABLE 14");
    check("%PATH(NQ)% %QUERY_PARAM(q)% 100%%", "/p 1 100%");
}

#[test]
fn times_are_written_by_strftime_with_fractions() {
    check("%START_TIME%", "2023-11-14T22:13:20.123Z");
    check("%START_TIME(%Y/%m/%d %H:%M:%S.%6f)%", "2023/11/14 22:13:20.123456");
    check("%START_TIME(%s.%3f)%", "1700000000.123");
}

#[test]
fn malformed_and_unknown_operators_are_refused() {
    for text in [
        "%REQ(",
        "%REQ%",
        "%",
        "%PROTOCOL",
        "%PROTOCOL(X)%",
        "%NO_SUCH%",
        "%REQ(a b)%",
        "%DURATION:x%",
        "%GRPC_STATUS(X)%",
    ] {
        assert!(Template::parse(&at(), text).is_err(), "{text}");
    }
}
