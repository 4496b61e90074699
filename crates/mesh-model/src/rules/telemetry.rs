//! Telemetry: which logs, spans and metrics proxies make, and for whom.
//!
//! Source: istio `telemetry/v1alpha1/telemetry.proto`.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::{Labels, Meta, Name};

/// What some workloads report.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// Its name, age and place.
    pub meta: Arc<Meta>,
    /// Which workloads it is about; empty: all of the namespace, or of the mesh
    /// if the namespace is the root one.
    pub selector: Labels,
    /// `tracing`, in order; later entries change what earlier ones said.
    pub tracing: Vec<Tracing>,
    /// `metrics`, in order.
    pub metrics: Vec<Metrics>,
    /// `accessLogging`, in order.
    pub access_logging: Vec<AccessLogging>,
}

/// Which role of a workload an entry is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// Both.
    #[default]
    Both,
    /// Where it calls; gateways are clients.
    Client,
    /// Where it is called.
    Server,
}

impl Role {
    /// Whether an entry of this role holds for `side`, which is one of the two.
    pub fn holds_for(self, side: Role) -> bool {
        self == Role::Both || self == side
    }
}

/// An entry of `tracing`. What is `None` stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracing {
    /// `match.mode`
    pub role: Role,
    /// Provider names; the first counts.
    pub providers: Vec<Name>,
    /// Hundredths of a percent of requests that are traced.
    pub sampling: Option<u32>,
    /// Whether no spans are sent.
    pub disabled: Option<bool>,
    /// Tags, by name.
    pub tags: Option<BTreeMap<Name, Tag>>,
    /// Whether the request id says if a request is traced.
    pub request_id_decides: Option<bool>,
    /// Whether Istio's own tags (`istio.mesh_id`, ...) are added.
    pub istio_tags: Option<bool>,
    /// Whether trace headers are not passed on.
    pub no_propagation: Option<bool>,
}

/// Where a tag's value comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Tag {
    /// Itself.
    Literal(Name),
    /// A variable of the proxy's environment, else the default.
    Environment {
        /// The variable.
        name: Name,
        /// Value if it is not set.
        default: Name,
    },
    /// A request header, else the default.
    Header {
        /// The header.
        name: Name,
        /// Value if it is not there.
        default: Name,
    },
    /// A text with `%COMMAND%`s, as in access logs.
    Format(Name),
}

/// An entry of `accessLogging`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessLogging {
    /// `match.mode`
    pub role: Role,
    /// Provider names; none: those of the entry before.
    pub providers: Vec<Name>,
    /// Whether nothing is logged.
    pub disabled: bool,
    /// CEL: only requests for which it is true are logged.
    pub filter: Option<Name>,
}

/// An entry of `metrics`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Provider names; none: those of the entry before.
    pub providers: Vec<Name>,
    /// Changes, in order.
    pub overrides: Vec<Override>,
}

/// A change to metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// `match.mode`
    pub role: Role,
    /// Which metric; `None`: all.
    pub metric: Option<Metric>,
    /// Whether it is not collected; `None`: as before.
    pub disabled: Option<bool>,
    /// By tag: an expression that gives its value, or `None` to remove it.
    pub tags: BTreeMap<Name, Option<Name>>,
}

/// A metric by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// One of Istio's, such as `REQUEST_COUNT`.
    Standard(&'static str),
    /// Any other, by its Prometheus name.
    Custom(Name),
}

/// Istio's metrics: as Telemetry objects name them, and as Prometheus does.
///
/// Source: <https://istio.io/latest/docs/reference/config/metrics/>
pub const STANDARD_METRICS: [(&str, &str); 10] = [
    ("REQUEST_COUNT", "istio_requests_total"),
    ("REQUEST_DURATION", "istio_request_duration_milliseconds"),
    ("REQUEST_SIZE", "istio_request_bytes"),
    ("RESPONSE_SIZE", "istio_response_bytes"),
    ("TCP_OPENED_CONNECTIONS", "istio_tcp_connections_opened_total"),
    ("TCP_CLOSED_CONNECTIONS", "istio_tcp_connections_closed_total"),
    ("TCP_SENT_BYTES", "istio_tcp_sent_bytes_total"),
    ("TCP_RECEIVED_BYTES", "istio_tcp_received_bytes_total"),
    ("GRPC_REQUEST_MESSAGES", "istio_request_messages_total"),
    ("GRPC_RESPONSE_MESSAGES", "istio_response_messages_total"),
];
