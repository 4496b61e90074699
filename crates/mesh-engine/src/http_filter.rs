//! HTTP filters: one table from type URL to parser, one enum of what this
//! proxy has.

use std::time::Duration;

use http::HeaderMap;
use http::request::Parts;
use rand::RngCore;

use crate::hcm::LocalReply;
use crate::route::Matched;

/// A filter before the router.
#[derive(Debug, Clone)]
pub enum HttpFilter {
    /// `envoy.filters.http.grpc_stats`
    GrpcStats(GrpcStats),
}

/// Counts gRPC requests per cluster, service and method. The proxy keeps the
/// counters.
#[derive(Debug, Clone, Default)]
pub struct GrpcStats {
    /// Count per method, for every method.
    pub all_methods: bool,
    /// Count per method for these `(service, method)` only.
    pub allowlist: Vec<(Box<str>, Box<str>)>,
    /// `.` in service names becomes `_`.
    pub replace_dots: bool,
    /// Also count upstream latency.
    pub upstream_stats: bool,
}

/// What the filters want done with a request.
#[derive(Debug, Clone, Default)]
pub struct RequestDecision {
    /// Wait this long first.
    pub delay: Option<Duration>,
    /// Then answer so instead of forwarding.
    pub reply: Option<LocalReply>,
}

pub(crate) fn on_request(
    _filters: &[HttpFilter],
    _matched: &Matched,
    _parts: &Parts,
    _rng: &mut impl RngCore,
) -> RequestDecision {
    RequestDecision::default()
}

pub(crate) fn on_response(
    _filters: &[HttpFilter],
    _matched: &Matched,
    _request: &HeaderMap,
    _response: &mut HeaderMap,
) {
}
