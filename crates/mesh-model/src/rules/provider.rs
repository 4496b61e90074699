//! Extension providers: where logs, spans and metrics go.
//!
//! Source: `ExtensionProvider`, istio `mesh/v1alpha1/config.proto`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Name;

/// One entry of `extensionProviders`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Provider {
    /// What Telemetry objects call it; compared without regard to case.
    pub name: Name,
    /// What it is.
    pub kind: ProviderKind,
}

/// What a provider is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// `envoyFileAccessLog`
    FileLog {
        /// Where lines go.
        path: Name,
        /// How they look.
        format: LogFormat,
        /// Whether keys without a value are left out of JSON.
        omit_empty: bool,
    },
    /// `envoyHttpAls`: entries of requests, by gRPC.
    HttpLog(GrpcLog),
    /// `envoyTcpAls`: entries of connections, by gRPC.
    TcpLog(GrpcLog),
    /// `envoyOtelAls`: OTLP log records, by gRPC.
    OtlpLog {
        /// Who takes them.
        collector: Collector,
        /// Name of the log; empty: `otel_envoy_accesslog`.
        log_name: Name,
        /// The record's body; `None`: Istio's default text.
        text: Option<Name>,
        /// The record's attributes.
        labels: BTreeMap<Name, Name>,
    },
    /// `zipkin`: spans in Zipkin's JSON v2.
    Zipkin {
        /// Who takes them.
        collector: Collector,
        /// Path; empty: `/api/v2/spans`.
        path: Name,
        /// Whether trace ids have 64 bits instead of 128.
        short_ids: bool,
        /// Whether W3C's `traceparent` is read and written beside B3's headers.
        with_w3c: bool,
        /// Bytes of the path that a span carries; 0: Envoy's default.
        max_tag_length: u32,
    },
    /// `opentelemetry`: OTLP spans.
    Otlp {
        /// Who takes them.
        collector: Collector,
        /// By HTTP, on this path; `None`: by gRPC.
        http_path: Option<Name>,
        /// Bytes of the path that a span carries; 0: Envoy's default.
        max_tag_length: u32,
        /// Whether `OTEL_RESOURCE_ATTRIBUTES` of the proxy are added.
        environment: bool,
    },
    /// `prometheus`: scraped from the proxy.
    Prometheus,
    /// A kind that is known and not applied, by its field's name.
    NotApplied(&'static str),
}

/// Entries by Envoy's access log service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GrpcLog {
    /// Who takes them.
    pub collector: Collector,
    /// Name of the log.
    pub log_name: Name,
    /// Request headers that are added.
    pub request_headers: Vec<Name>,
    /// Response headers that are added.
    pub response_headers: Vec<Name>,
    /// Response trailers that are added.
    pub response_trailers: Vec<Name>,
    /// Filter state objects that are added.
    pub filter_state: Vec<Name>,
}

/// A service that takes telemetry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Collector {
    /// Namespace that the service must be in, if stated (`namespace/host`).
    pub namespace: Option<Name>,
    /// Host name.
    pub host: Name,
    /// Port of the service.
    pub port: u16,
    /// How long a delivery may take; `None`: the default of its kind.
    pub timeout: Option<Duration>,
    /// Headers (HTTP) or metadata (gRPC) of each delivery.
    pub headers: Vec<(Name, Name)>,
}

/// How a line of an access log looks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// As MeshConfig's `accessLogFormat` and `accessLogEncoding` say.
    Mesh,
    /// Text with `%COMMAND%`s; empty: Istio's default.
    Text(Name),
    /// An object as JSON, whose texts hold `%COMMAND%`s; empty: Istio's default.
    Json(Name),
}

/// `defaultProviders`: who is used where no Telemetry object names one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct DefaultProviders {
    /// For access logs.
    pub access_logging: Vec<Name>,
    /// For spans; the first counts.
    pub tracing: Vec<Name>,
    /// For metrics.
    pub metrics: Vec<Name>,
}
