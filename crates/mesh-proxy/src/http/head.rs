//! Message heads on their way through: what belongs to one hop only goes, and
//! HTTP/1 and HTTP/2 forms are made of each other.

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Uri, Version};

/// Takes out what concerns one connection only (RFC 9110, 7.6.1). `te:
/// trailers` stays: gRPC asks for it end to end.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(connection) = headers.remove(header::CONNECTION) {
        strip_named(headers, &connection);
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
    if headers.get(header::TE).is_some_and(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers")) {
        headers.remove(header::TE);
    }
}

#[cold]
fn strip_named(headers: &mut HeaderMap, connection: &HeaderValue) {
    let Ok(names) = connection.to_str() else { return };
    for name in names.split(',').map(str::trim) {
        let end_to_end = ["close", "keep-alive", "te", "upgrade"].iter().any(|n| name.eq_ignore_ascii_case(n));
        // Taking these out would change the message's meaning or framing.
        let protected = ["host", "content-length", "authorization"].iter().any(|n| name.eq_ignore_ascii_case(n));
        if !end_to_end
            && !protected
            && let Ok(name) = HeaderName::try_from(name)
        {
            headers.remove(name);
        }
    }
}

/// The protocol that a request asks to switch to.
pub(crate) fn upgrade_of(parts: &Parts) -> Option<&HeaderValue> {
    // HTTP/2 has no such headers but those that `from_extended_connect` puts there.
    if parts.version < Version::HTTP_11 {
        return None;
    }
    let upgrade = parts.headers.get(header::UPGRADE)?;
    let connection = parts.headers.get(header::CONNECTION)?.to_str().ok()?;
    connection.split(',').any(|t| t.trim().eq_ignore_ascii_case("upgrade")).then_some(upgrade)
}

/// An extended CONNECT (RFC 8441) becomes the upgrade that it stands for, so
/// that routes and filters see one kind of upgrade only.
pub(crate) fn from_extended_connect(parts: &mut Parts) {
    let protocol = parts.extensions.remove::<hyper::ext::Protocol>().filter(|_| parts.method == Method::CONNECT);
    let Some(protocol) = protocol.and_then(|p| HeaderValue::from_str(p.as_str()).ok()) else { return };
    parts.method = Method::GET;
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, protocol);
}

/// And back: an upgrade as HTTP/2 has it.
pub(crate) fn to_extended_connect(parts: &mut Parts, protocol: &HeaderValue) {
    to_http2(parts);
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.method = Method::CONNECT;
    parts.extensions.insert(h2::ext::Protocol::from(protocol.to_str().unwrap_or_default()));
}

/// Makes `parts` an HTTP/1.1 request: path in the request line, host in the header.
pub(crate) fn to_http1(parts: &mut Parts) {
    if let Some(authority) = parts.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(header::HOST, host);
        }
        let path = parts.uri.path_and_query().cloned();
        parts.uri = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    if parts.version == Version::HTTP_2 {
        join_cookies(&mut parts.headers);
    }
    parts.version = Version::HTTP_11;
}

/// Makes `parts` an HTTP/2 request: scheme, host and path in the URI.
pub(crate) fn to_http2(parts: &mut Parts) {
    let host = parts.headers.remove(header::HOST);
    if parts.uri.authority().is_none() || parts.uri.scheme().is_none() {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        if uri.authority.is_none() {
            uri.authority = host.and_then(|h| Authority::try_from(h.as_bytes()).ok());
        }
        uri.scheme = uri.authority.is_some().then_some(Scheme::HTTP);
        if uri.path_and_query.is_none() {
            uri.path_and_query = Some(PathAndQuery::from_static("/"));
        }
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }
    // Without an authority the request stays relative, which HTTP/2 allows
    // only for what came as HTTP/1.
    parts.version = if parts.uri.authority().is_some() { Version::HTTP_2 } else { Version::HTTP_11 };
}

/// HTTP/2 may split cookies over several fields; HTTP/1 may not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

/// Bytes that the headers take, as HTTP/2 counts them (RFC 7541, 4.1) without
/// the 32 bytes of overhead.
pub(crate) fn bytes(parts: &Parts) -> usize {
    let headers: usize = parts.headers.iter().map(|(n, v)| n.as_str().len() + v.len()).sum();
    headers + parts.uri.path_and_query().map_or(0, |p| p.as_str().len())
}

static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Request;

    use super::*;

    fn parts(version: Version, uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn headers_named_by_connection_go_and_te_trailers_stays() {
        let mut parts = parts(
            Version::HTTP_11,
            "/",
            &[
                ("connection", "close, x-hop, content-length"),
                ("x-hop", "1"),
                ("te", "trailers"),
                ("content-length", "0"),
            ],
        );
        strip_hop_by_hop(&mut parts.headers);
        let mut left: Vec<&str> = parts.headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(left, ["te", "content-length"]);
    }

    #[test]
    fn http2_becomes_http1_and_back() {
        let mut parts =
            parts(Version::HTTP_2, "http://a.b:80/x?y", &[("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]);
        to_http1(&mut parts);
        assert_eq!(
            (parts.uri.to_string().as_str(), &parts.headers["host"]),
            ("/x?y", &HeaderValue::from_static("a.b:80"))
        );
        assert_eq!(parts.headers["cookie"], "a=1; b=2; c=3");
        to_http2(&mut parts);
        assert_eq!((parts.uri.to_string().as_str(), parts.headers.get("host")), ("http://a.b:80/x?y", None));
        assert_eq!(parts.version, Version::HTTP_2);
    }
}
