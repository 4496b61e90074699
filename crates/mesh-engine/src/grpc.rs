//! gRPC over HTTP: which requests are gRPC, and how its status codes and
//! HTTP's map to each other.

use http::{HeaderMap, StatusCode, header};

/// Name of the status header or trailer.
pub const GRPC_STATUS: &str = "grpc-status";
/// Name of the message header or trailer.
pub const GRPC_MESSAGE: &str = "grpc-message";

/// Whether the headers announce a gRPC message stream: `application/grpc`, or
/// that with a `+suffix`. `application/grpc-web` is not.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes();
        value.len() >= PREFIX.len()
            && value[..PREFIX.len()].eq_ignore_ascii_case(PREFIX)
            && matches!(value.get(PREFIX.len()), None | Some(b'+'))
    })
}

/// The `grpc-status` in `headers`, if there is a valid number.
pub fn status_of(headers: &HeaderMap) -> Option<u32> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.trim().parse().ok()
}

/// The gRPC status for an HTTP status that carries none.
///
/// Source: <https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>
pub fn status_from_http(status: StatusCode) -> u32 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

/// The HTTP status that Envoy counts a gRPC status as (outlier detection,
/// statistics).
pub fn http_from_status(status: u32) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}

/// `OK`, `Canceled`, ... as in `%GRPC_STATUS%`.
pub fn name(status: u32) -> Option<&'static str> {
    NAMES.get(status as usize).map(|(camel, _)| *camel)
}

/// `OK`, `CANCELLED`, ... as in `%GRPC_STATUS(SNAKE_STRING)%`.
pub fn snake_name(status: u32) -> Option<&'static str> {
    NAMES.get(status as usize).map(|(_, snake)| *snake)
}

/// Service and method of a gRPC path `/service/method`.
pub fn service_and_method(path: &str) -> Option<(&str, &str)> {
    let (service, method) = path.split('?').next()?.strip_prefix('/')?.split_once('/')?;
    (!service.is_empty() && !method.is_empty() && !method.contains('/')).then_some((service, method))
}

/// The timeout in `grpc-timeout`: up to eight digits and a unit.
pub fn timeout(headers: &HeaderMap) -> Option<std::time::Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => std::time::Duration::from_secs(n * 3600),
        "M" => std::time::Duration::from_secs(n * 60),
        "S" => std::time::Duration::from_secs(n),
        "m" => std::time::Duration::from_millis(n),
        "u" => std::time::Duration::from_micros(n),
        "n" => std::time::Duration::from_nanos(n),
        _ => return None,
    })
}

const PREFIX: &[u8] = b"application/grpc";
/// The specification allows eight digits.
const TIMEOUT_DIGITS_MAX: usize = 8;

const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn grpc_web_is_not_grpc() {
        for (value, expected) in [
            ("application/grpc", true),
            ("Application/grpc+proto", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }

    #[test]
    fn a_grpc_timeout_has_at_most_eight_digits_and_a_unit() {
        let parse = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", value.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(parse("250m"), Some(std::time::Duration::from_millis(250)));
        assert_eq!(parse("1H"), Some(std::time::Duration::from_secs(3600)));
        assert_eq!(parse("123456789S"), None);
        assert_eq!(parse("S"), None);
        assert_eq!(parse("5x"), None);
    }

    #[test]
    fn a_grpc_path_has_exactly_two_segments() {
        assert_eq!(service_and_method("/pkg.Svc/Do?x=1"), Some(("pkg.Svc", "Do")));
        assert_eq!(service_and_method("/pkg.Svc"), None);
        assert_eq!(service_and_method("/a/b/c"), None);
    }
}
