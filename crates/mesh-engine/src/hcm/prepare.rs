//! Puts a request head in order before it is routed: path, host, and the
//! headers by which proxies tell each other about the client.
//!
//! Source: Envoy's documentation, "HTTP header manipulation" and
//! "HTTP header sanitizing".

use std::net::{IpAddr, SocketAddr};

use http::header::{HOST, HeaderName, HeaderValue, LOCATION, VIA};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, StatusCode, Uri};
use ipnet::IpNet;
use rand::RngCore;

use super::client_cert::ClientCert;
use super::path::{self, EscapedSlashes, Normalized};
use super::{Downstream, LocalReply, Prepared};
use crate::flags::ResponseFlags;
use crate::route::domains::without_port;
use crate::route::{RequestView, set_authority};

/// What of the connection manager's configuration concerns request heads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(super) use_remote_address: bool,
    pub(super) trusted_hops: usize,
    pub(super) skip_xff_append: bool,
    pub(super) append_forwarded_port: bool,
    pub(super) generate_request_id: bool,
    pub(super) preserve_external_request_id: bool,
    pub(super) client_cert: ClientCert,
    pub(super) internal_networks: Vec<IpNet>,
    pub(super) normalize_path: bool,
    pub(super) merge_slashes: bool,
    pub(super) escaped_slashes: EscapedSlashes,
    pub(super) strip_port: StripPort,
    pub(super) strip_trailing_dot: bool,
    pub(super) via: Option<HeaderValue>,
}

/// Which ports are taken off the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum StripPort {
    #[default]
    None,
    /// The listener's own.
    Matching,
    Any,
}

impl Rules {
    #[allow(clippy::result_large_err, reason = "a reply is made for refused requests only")]
    pub(super) fn run(
        &self,
        parts: &mut Parts,
        downstream: &Downstream<'_>,
        rng: &mut impl RngCore,
    ) -> Result<Prepared, LocalReply> {
        self.normalize_path(parts)?;
        self.normalize_host(parts, downstream);
        parts.headers.remove(X_ENVOY_INTERNAL);
        let (remote, single) = self.remote(&parts.headers, downstream);
        self.forwarding_headers(&mut parts.headers, downstream);
        let internal = single && self.internal_networks.iter().any(|n| n.contains(&remote.ip().to_canonical()));
        let edge = self.use_remote_address && !internal;
        if internal {
            parts.headers.insert(X_ENVOY_INTERNAL, HeaderValue::from_static("true"));
        } else {
            sanitize(&mut parts.headers, edge);
        }
        self.request_id(&mut parts.headers, edge, rng);
        self.client_cert.apply(&mut parts.headers, downstream.tls);
        if let Some(via) = &self.via {
            parts.headers.append(VIA, via.clone());
        }
        Ok(Prepared { remote, internal })
    }

    #[allow(clippy::result_large_err, reason = "a reply is made for refused requests only")]
    fn normalize_path(&self, parts: &mut Parts) -> Result<(), LocalReply> {
        let current = parts.uri.path_and_query().map(PathAndQuery::as_str);
        let Some(current) = current.filter(|p| parts.method != Method::CONNECT && p.starts_with('/')) else {
            return Ok(());
        };
        let (escaped, dots, merge) = (self.escaped_slashes, self.normalize_path, self.merge_slashes);
        if path::is_normal(current, escaped, dots, merge) {
            return Ok(());
        }
        let reject = || {
            LocalReply::new(
                StatusCode::BAD_REQUEST,
                bytes::Bytes::new(),
                ResponseFlags::NONE,
                "path_normalization_failed",
            )
        };
        let new = match path::normalize(current, escaped, dots, merge) {
            Normalized::Reject => return Err(reject()),
            Normalized::Redirect(location) => {
                let mut reply = LocalReply::new(
                    StatusCode::TEMPORARY_REDIRECT,
                    bytes::Bytes::new(),
                    ResponseFlags::NONE,
                    "path_normalization_failed",
                );
                reply.headers.insert(LOCATION, HeaderValue::try_from(location).map_err(|_| reject())?);
                return Err(reply);
            }
            Normalized::Path(new) => PathAndQuery::try_from(&*new).map_err(|_| reject())?,
        };
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.path_and_query = Some(new);
        parts.uri = Uri::from_parts(uri).map_err(|_| reject())?;
        Ok(())
    }

    fn normalize_host(&self, parts: &mut Parts, downstream: &Downstream<'_>) {
        if self.strip_port == StripPort::None && !self.strip_trailing_dot {
            return;
        }
        let host = RequestView::of(parts).authority;
        let bare = without_port(host);
        let port = host[bare.len()..].strip_prefix(':').and_then(|p| p.parse::<u16>().ok());
        let strip = match (self.strip_port, port) {
            (_, None) | (StripPort::None, _) => false,
            (StripPort::Any, Some(_)) => true,
            (StripPort::Matching, Some(port)) => port == downstream.local.port() && parts.method != Method::CONNECT,
        };
        let dotless = if self.strip_trailing_dot { bare.strip_suffix('.').unwrap_or(bare) } else { bare };
        if !strip && dotless.len() == bare.len() {
            return;
        }
        let kept_port = if strip { "" } else { &host[bare.len()..] };
        if let Ok(new) = HeaderValue::try_from(format!("{dotless}{kept_port}")) {
            let had_host = parts.headers.contains_key(HOST);
            set_authority(parts, &new);
            if !had_host && parts.uri.authority().is_some() {
                parts.headers.remove(HOST);
            }
        }
    }

    /// The client's address, and whether nobody stands between it and us.
    fn remote(&self, headers: &HeaderMap, downstream: &Downstream<'_>) -> (SocketAddr, bool) {
        let direct = downstream.direct_remote;
        if self.use_remote_address {
            let single = !headers.contains_key(X_FORWARDED_FOR);
            let trusted = match self.trusted_hops {
                0 => None,
                hops => forwarded_address(headers, hops - 1),
            };
            return (trusted.map_or(direct, |(ip, _)| SocketAddr::new(ip, 0)), single);
        }
        match forwarded_address(headers, self.trusted_hops) {
            Some((ip, single)) => (SocketAddr::new(ip, 0), single),
            None => (direct, false),
        }
    }

    fn forwarding_headers(&self, headers: &mut HeaderMap, downstream: &Downstream<'_>) {
        let untrusted = self.use_remote_address && self.trusted_hops == 0;
        if self.use_remote_address && !self.skip_xff_append {
            append_forwarded_for(headers, downstream.direct_remote.ip());
        }
        if untrusted || !headers.contains_key(X_FORWARDED_PROTO) {
            let scheme = HeaderValue::from_static(if downstream.tls.is_some() { "https" } else { "http" });
            headers.insert(X_FORWARDED_PROTO, scheme);
        }
        if self.append_forwarded_port && (untrusted || !headers.contains_key(X_FORWARDED_PORT)) {
            headers.insert(X_FORWARDED_PORT, HeaderValue::from(downstream.local.port()));
        }
    }

    fn request_id(&self, headers: &mut HeaderMap, edge: bool, rng: &mut impl RngCore) {
        let replace = edge && !self.preserve_external_request_id;
        if self.generate_request_id && (replace || !headers.contains_key(X_REQUEST_ID)) {
            headers.insert(X_REQUEST_ID, uuid(rng));
        }
    }
}

/// The address `skip` places before the last in `x-forwarded-for`, and whether
/// it is the only one.
fn forwarded_address(headers: &HeaderMap, skip: usize) -> Option<(IpAddr, bool)> {
    let value = headers.get_all(X_FORWARDED_FOR).iter().next_back()?.to_str().ok()?;
    let mut from_last = value.rsplit(',').map(str::trim);
    let address = from_last.nth(skip)?.parse().ok()?;
    Some((address, from_last.next().is_none() && headers.get_all(X_FORWARDED_FOR).iter().count() == 1))
}

fn append_forwarded_for(headers: &mut HeaderMap, address: IpAddr) {
    let joined = match headers.get(X_FORWARDED_FOR).and_then(|v| v.to_str().ok()) {
        Some(list) if !list.is_empty() => format!("{list},{address}"),
        _ => address.to_string(),
    };
    if let Ok(value) = HeaderValue::try_from(joined) {
        headers.insert(X_FORWARDED_FOR, value);
    }
}

/// Takes out what only proxies inside may say.
fn sanitize(headers: &mut HeaderMap, edge: bool) {
    if headers.keys().any(|name| name.as_str().starts_with("x-envoy-")) {
        INTERNAL_ONLY.iter().for_each(|name| drop(headers.remove(*name)));
        if edge {
            EDGE_ONLY.iter().for_each(|name| drop(headers.remove(*name)));
        }
    }
}

/// A random (version 4) UUID.
fn uuid(rng: &mut impl RngCore) -> HeaderValue {
    let mut bytes = [0u8; 16];
    rng.fill_bytes(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    HeaderValue::from_bytes(&text).expect("hexadecimal digits and hyphens are valid in a header")
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const X_ENVOY_INTERNAL: HeaderName = HeaderName::from_static("x-envoy-internal");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const INTERNAL_ONLY: &[&str] = &[
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];
const EDGE_ONLY: &[&str] = &[
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
];
