//! The `tracing` of a connection manager.
//!
//! Source: istio `pilot/pkg/networking/core/tracing.go`.

use mesh_model::rules::provider::{Collector, ProviderKind};
use mesh_model::rules::telemetry::Tag;
use mesh_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use mesh_proto::envoy::config::core::v3::{
    GrpcService, HeaderValue, HeaderValueOption, HttpService, HttpUri, TypedExtensionConfig, http_uri,
};
use mesh_proto::envoy::config::trace::v3::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
use mesh_proto::envoy::config::trace::v3::{OpenTelemetryConfig, ZipkinConfig, tracing};
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::RequestIdExtension;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager as hcm;
use mesh_proto::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;
use mesh_proto::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::EnvironmentResourceDetectorConfig;
use mesh_proto::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use mesh_proto::envoy::r#type::v3::Percent;
use mesh_proto::google::protobuf::Any;

use crate::telemetry::Tracing;
use crate::xds;

/// As `settings` say.
pub(super) fn of(settings: &Tracing) -> Option<hcm::Tracing> {
    let (name, config) = match &settings.provider.kind {
        ProviderKind::Zipkin { collector, path, short_ids, with_w3c, .. } => {
            ("envoy.tracers.zipkin", zipkin(settings, collector, path, *short_ids, *with_w3c))
        }
        ProviderKind::Otlp { collector, http_path, environment, .. } => {
            ("envoy.tracers.opentelemetry", otlp(settings, collector, http_path.as_deref(), *environment))
        }
        _ => return None,
    };
    let percent = |hundredths: u32| Some(Percent { value: f64::from(hundredths) / 100.0 });
    let whole = percent(HUNDREDTHS);
    Some(hcm::Tracing {
        client_sampling: whole,
        random_sampling: percent(settings.sampling),
        overall_sampling: whole,
        max_path_tag_length: Some(settings.max_path_tag_length).filter(|l| *l > 0).and_then(xds::number),
        custom_tags: settings.tags.iter().map(|(name, tag)| custom_tag(name, tag)).collect(),
        provider: Some(tracing::Http {
            name: name.to_owned(),
            config_type: Some(tracing::http::ConfigType::TypedConfig(config)),
        }),
        no_context_propagation: settings.no_propagation,
        ..Default::default()
    })
}

/// Whether the request id carries the decision to trace.
pub(super) fn request_id(settings: &Tracing) -> Option<RequestIdExtension> {
    let config = UuidRequestIdConfig {
        use_request_id_for_trace_sampling: xds::truth(settings.request_id_decides),
        ..Default::default()
    };
    Some(RequestIdExtension { typed_config: Some(xds::pack(&config)) })
}

fn custom_tag(name: &str, tag: &Tag) -> CustomTag {
    let source = match tag {
        Tag::Literal(value) => custom_tag::Type::Literal(custom_tag::Literal { value: value.to_string() }),
        Tag::Environment { name, default } => custom_tag::Type::Environment(custom_tag::Environment {
            name: name.to_string(),
            default_value: default.to_string(),
        }),
        Tag::Header { name, default } => custom_tag::Type::RequestHeader(custom_tag::Header {
            name: name.to_string(),
            default_value: default.to_string(),
        }),
        Tag::Format(text) => custom_tag::Type::Value(text.to_string()),
    };
    CustomTag { tag: name.to_owned(), r#type: Some(source) }
}

fn zipkin(settings: &Tracing, collector: &Collector, path: &str, short_ids: bool, with_w3c: bool) -> Any {
    let path = if path.is_empty() { "/api/v2/spans" } else { path };
    let context = if with_w3c { TraceContextOption::UseB3WithW3cPropagation } else { TraceContextOption::UseB3 };
    xds::pack(&ZipkinConfig {
        trace_id_128bit: !short_ids,
        shared_span_context: xds::truth(false),
        collector_endpoint_version: CollectorEndpointVersion::HttpJson as i32,
        trace_context_option: context as i32,
        collector_service: Some(http(settings, collector, path)),
        ..Default::default()
    })
}

fn otlp(settings: &Tracing, collector: &Collector, http_path: Option<&str>, environment: bool) -> Any {
    let detector = || TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.resource_detectors.environment".to_owned(),
        typed_config: Some(xds::pack(&EnvironmentResourceDetectorConfig::default())),
    };
    xds::pack(&OpenTelemetryConfig {
        http_service: http_path.map(|path| http(settings, collector, path)),
        grpc_service: http_path.is_none().then(|| grpc(&settings.cluster, &settings.host, collector)),
        service_name: settings.service.to_string(),
        resource_detectors: environment.then(detector).into_iter().collect(),
        ..Default::default()
    })
}

fn http(settings: &Tracing, collector: &Collector, path: &str) -> HttpService {
    let header = |(key, value): &(mesh_model::Name, mesh_model::Name)| HeaderValueOption {
        header: Some(HeaderValue { key: key.to_string(), value: value.to_string(), ..Default::default() }),
        ..Default::default()
    };
    HttpService {
        http_uri: Some(HttpUri {
            uri: format!("http://{}{path}", settings.host),
            timeout: xds::duration(collector.timeout.unwrap_or(DELIVERY_TIMEOUT)),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(settings.cluster.to_string())),
        }),
        request_headers_to_add: collector.headers.iter().map(header).collect(),
        ..Default::default()
    }
}

/// A collector that is called by gRPC.
pub(super) fn grpc(cluster: &str, authority: &str, collector: &Collector) -> GrpcService {
    let header = |(key, value): &(mesh_model::Name, mesh_model::Name)| HeaderValue {
        key: key.to_string(),
        value: value.to_string(),
        ..Default::default()
    };
    GrpcService {
        timeout: collector.timeout.and_then(xds::duration),
        initial_metadata: collector.headers.iter().map(header).collect(),
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: cluster.to_owned(),
            authority: authority.to_owned(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// All requests, in hundredths of a percent.
const HUNDREDTHS: u32 = 10_000;
/// How long a delivery of spans may take unless the provider says otherwise.
const DELIVERY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
