//! The HTTP connection manager: codec, limits, and what happens to a request
//! head before it is routed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use rand::RngCore;

use crate::access_log::AccessLog;
use crate::cluster::{Http1Options, Http2Options};
use crate::error::{At, ConfigError};
use crate::http_filter::{HttpFilter, RequestDecision};
use crate::route::{Matched, RouteTable};
use crate::runtime::RouteSlot;
use crate::runtime::Routes;
use crate::tls::TlsFacts;

/// A parsed `HttpConnectionManager`.
#[derive(Debug)]
pub struct HttpConnectionManager {
    /// As in `http.<this>.downstream_rq_total`.
    pub stat_prefix: Arc<str>,
    /// Which HTTP versions.
    pub codec: Codec,
    /// Where its routes are.
    pub routes: RouteSource,
    /// The filters before the router, in order.
    pub filters: Vec<HttpFilter>,
    /// Names of filters that are not known here and were marked optional: they do nothing.
    pub skipped_filters: Vec<Box<str>>,
    /// Whether the chain ends in a router. Without one every request gets 404, as in Envoy.
    pub has_router: bool,
    /// The router does not add `x-envoy-*` headers.
    pub suppress_envoy_headers: bool,
    /// HTTP/1 options.
    pub http1: Http1Options,
    /// HTTP/2 options.
    pub http2: Http2Options,
    /// Close a connection without a request for this long (default 1 h).
    pub idle_timeout: Option<Duration>,
    /// Drain a connection after this long.
    pub max_connection_duration: Option<Duration>,
    /// Reset a stream after this long.
    pub max_stream_duration: Option<Duration>,
    /// Drain a connection after this many requests.
    pub max_requests_per_connection: Option<u32>,
    /// At most so many request headers (default 100).
    pub max_headers_count: u32,
    /// At most so many KiB of request headers (default 60).
    pub max_request_headers_kb: u32,
    /// What to do with header names that contain `_`.
    pub underscores: Underscores,
    /// Reset a stream on which nothing moved for this long (default 5 min).
    pub stream_idle_timeout: Option<Duration>,
    /// The whole request must have come after this long.
    pub request_timeout: Option<Duration>,
    /// The request headers must have come after this long.
    pub request_headers_timeout: Option<Duration>,
    /// Between a drain's GOAWAYs (default 5 s).
    pub drain_timeout: Duration,
    /// How long to wait for the peer to close after the last byte (default 1 s).
    pub delayed_close_timeout: Duration,
    /// Logs of its requests.
    pub access_log: Vec<AccessLog>,
    /// Log a request also when it begins.
    pub flush_access_log_on_new_request: bool,
    /// Log a request also at this interval.
    pub access_log_flush_interval: Option<Duration>,
    /// The `server` header value (default `envoy`).
    pub server_name: HeaderValue,
    /// What becomes of the upstream's `server` header.
    pub server_header: ServerHeader,
    /// Value added to `via`.
    pub via: Option<HeaderValue>,
    /// Answer `Expect: 100-continue` here (`false`) or pass it on.
    pub proxy_100_continue: bool,
    /// Upgrades that are allowed, in lower case (`websocket`, `connect`).
    pub upgrades: Vec<(Box<str>, bool)>,
    /// HTTP/1: a malformed message ends the stream only, not the connection.
    pub stream_error_on_invalid_http_message: bool,
    /// Put the request id in the response too.
    pub always_set_request_id_in_response: bool,
    pub(crate) prepare: prepare::Rules,
}

mod client_cert;
mod parse;
mod path;
mod prepare;
#[cfg(test)]
mod tests;

/// `codec_type`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// By the first bytes: an HTTP/2 preface or else HTTP/1.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 with prior knowledge only.
    Http2,
}

/// `server_header_transformation`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerHeader {
    /// Replace the upstream's.
    Overwrite,
    /// Keep the upstream's if it has one.
    AppendIfAbsent,
    /// Leave it alone.
    PassThrough,
}

/// `headers_with_underscores_action`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Underscores {
    /// They pass.
    Allow,
    /// The request gets 400 (HTTP/1) or a reset (HTTP/2).
    Reject,
    /// They are taken out.
    Drop,
}

/// Where a connection manager finds its routes.
#[derive(Debug, Clone)]
pub enum RouteSource {
    /// In the listener itself.
    Inline(Arc<RouteTable>),
    /// By RDS, under this slot's name.
    Rds(Arc<RouteSlot>),
}

impl RouteSource {
    /// The newest table. `None`: it has not arrived; requests get 404 (flag NR).
    pub fn load(&self) -> Option<Arc<RouteTable>> {
        match self {
            Self::Inline(table) => Some(table.clone()),
            Self::Rds(slot) => slot.load(),
        }
    }

    /// The name of the table.
    pub fn name(&self) -> &str {
        match self {
            Self::Inline(table) => &table.name,
            Self::Rds(slot) => slot.name(),
        }
    }
}

/// What is known of the downstream connection of a request.
#[derive(Debug, Clone, Copy)]
pub struct Downstream<'a> {
    /// The socket's peer.
    pub direct_remote: SocketAddr,
    /// The address it was sent to, restored if captured.
    pub local: SocketAddr,
    /// Its TLS, if it came over TLS.
    pub tls: Option<&'a TlsFacts>,
}

/// What [`HttpConnectionManager::prepare`] found out.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    /// The client's address, as trusted hops of `x-forwarded-for` give it.
    pub remote: SocketAddr,
    /// Whether the request counts as internal: only then are `x-envoy-*` request headers obeyed.
    pub internal: bool,
}

/// A response made here.
#[derive(Debug, Clone)]
pub struct LocalReply {
    /// HTTP status.
    pub status: StatusCode,
    /// Body, as `text/plain`; may be empty.
    pub body: bytes::Bytes,
    /// More headers.
    pub headers: HeaderMap,
    /// Response flags for the log.
    pub flags: crate::flags::ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: &'static str,
    /// For a gRPC request: this status goes into the trailers-only answer instead of the one that maps to `status`.
    pub grpc_status: Option<u32>,
}

impl LocalReply {
    /// A reply without extra headers.
    pub fn new(
        status: StatusCode,
        body: impl Into<bytes::Bytes>,
        flags: crate::flags::ResponseFlags,
        details: &'static str,
    ) -> Self {
        Self { status, body: body.into(), headers: HeaderMap::new(), flags, details, grpc_status: None }
    }
}

impl HttpConnectionManager {
    /// Reads a connection manager that stands at `at`.
    pub(crate) fn parse(
        at: &At<'_>,
        proto: &mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager,
        routes: &Routes,
    ) -> Result<Self, ConfigError> {
        parse::connection_manager(at, proto, routes)
    }

    /// Makes a request head what routes and filters may rely on, once:
    /// path normalised, port stripped from the host if so configured,
    /// `x-forwarded-for`, `x-forwarded-proto`, `x-request-id` and `via` set,
    /// headers a client has no right to set taken out.
    ///
    /// # Errors
    /// The reply to send instead: a path that cannot be normalised (400), a redirect of escaped slashes (307), a
    /// header that is not allowed (400).
    #[allow(clippy::result_large_err, reason = "a reply is made for refused requests only")]
    pub fn prepare(
        &self,
        parts: &mut Parts,
        downstream: &Downstream<'_>,
        rng: &mut impl RngCore,
    ) -> Result<Prepared, LocalReply> {
        let prepared = self.prepare.run(parts, downstream, rng)?;
        if !prepared.internal
            && let Some(table) = self.routes.load()
        {
            table.internal_only_headers.iter().for_each(|name| drop(parts.headers.remove(name)));
        }
        Ok(prepared)
    }

    /// What the HTTP filters want done with a routed request, in chain order.
    /// The caller waits for `delay` first, then sends `reply` if there is one.
    pub fn on_request(&self, matched: &Matched, parts: &Parts, rng: &mut impl RngCore) -> RequestDecision {
        crate::http_filter::on_request(&self.filters, matched, parts, rng)
    }

    /// What the HTTP filters do to the response headers. `request` is the
    /// request's head as [`Self::on_request`] saw it.
    pub fn on_response(&self, matched: &Matched, request: &HeaderMap, response: &mut HeaderMap) {
        crate::http_filter::on_response(&self.filters, matched, request, response);
    }

    /// Whether [`Self::on_response`] looks at the request on this route.
    pub fn response_depends_on_request(&self, matched: &Matched) -> bool {
        crate::http_filter::response_depends_on_request(&self.filters, matched)
    }

    /// Whether an upgrade to `protocol` is allowed; the route's word goes before the connection manager's.
    pub fn allows_upgrade(&self, protocol: &str, matched: &Matched) -> bool {
        let listed = |list: &[(Box<str>, bool)]| {
            list.iter().find(|(p, _)| p.eq_ignore_ascii_case(protocol)).map(|(_, enabled)| *enabled)
        };
        let on_route = matched.forward().and_then(|f| listed(&f.upgrades));
        on_route.or_else(|| listed(&self.upgrades)).unwrap_or(false)
    }
}

/// An upgrade's name in lower case; those that this proxy can carry out.
pub(crate) fn upgrade_type(at: &At<'_>, name: &str) -> Result<String, ConfigError> {
    match name.to_ascii_lowercase() {
        lower if lower == "websocket" => Ok(lower),
        _ => Err(at.field("upgrade_type").unsupported_value(name, "websocket")),
    }
}
