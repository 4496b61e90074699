//! Access logs, as Telemetry objects or MeshConfig ask for them.

use std::collections::BTreeMap;

use mesh_model::Name;
use mesh_model::rules::MeshConfig;
use mesh_model::rules::provider::{GrpcLog, LogFormat, ProviderKind};
use mesh_proto::envoy::config::accesslog::v3::access_log_filter::FilterSpecifier;
use mesh_proto::envoy::config::accesslog::v3::{
    AccessLog, AccessLogFilter, ExtensionFilter, access_log, extension_filter,
};
use mesh_proto::envoy::config::core::v3::{
    ApiVersion, DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use mesh_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use mesh_proto::envoy::extensions::access_loggers::filters::cel::v3::ExpressionFilter;
use mesh_proto::envoy::extensions::access_loggers::grpc::v3::{
    CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig, TcpGrpcAccessLogConfig,
};
use mesh_proto::envoy::extensions::access_loggers::open_telemetry::v3::OpenTelemetryAccessLogConfig;
use mesh_proto::google::protobuf::{Any, Struct};
use mesh_proto::json;
use mesh_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, KeyValueList, any_value};

use super::tracing;
use crate::scope::Settings;
use crate::telemetry::{Log, Logs};
use crate::xds;

/// What a filter sees: requests, or bytes.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Sees {
    Requests,
    Connections,
}

/// The logs of a filter.
pub(super) fn of(settings: &Settings, sees: Sees) -> Vec<AccessLog> {
    match &settings.telemetry.logs {
        Logs::To(logs) => logs.iter().filter_map(|log| to(settings, log, sees)).collect(),
        Logs::Mesh if settings.access_log_file.is_empty() => Vec::new(),
        Logs::Mesh => vec![file(&settings.access_log_file, mesh_format(settings, false))],
    }
}

fn to(settings: &Settings, log: &Log, sees: Sees) -> Option<AccessLog> {
    let cluster = log.cluster.as_deref().unwrap_or_default();
    let made = match (&log.provider.kind, sees) {
        (ProviderKind::FileLog { path, format, omit_empty }, _) => {
            file(path, own_format(settings, format, *omit_empty))
        }
        (ProviderKind::HttpLog(own), Sees::Requests) => named(
            "envoy.access_loggers.http_grpc",
            xds::pack(&HttpGrpcAccessLogConfig {
                common_config: Some(common(own, cluster)),
                additional_request_headers_to_log: texts(&own.request_headers),
                additional_response_headers_to_log: texts(&own.response_headers),
                additional_response_trailers_to_log: texts(&own.response_trailers),
            }),
        ),
        (ProviderKind::TcpLog(own), Sees::Connections) => named(
            "envoy.access_loggers.tcp_grpc",
            xds::pack(&TcpGrpcAccessLogConfig { common_config: Some(common(own, cluster)) }),
        ),
        (ProviderKind::OtlpLog { collector, log_name, text, labels }, _) => {
            let log_name = if log_name.is_empty() { "otel_envoy_accesslog" } else { log_name };
            let config = OpenTelemetryAccessLogConfig {
                grpc_service: Some(tracing::grpc(cluster, &collector.host, collector)),
                log_name: log_name.to_owned(),
                body: Some(string(text.as_deref().unwrap_or(TEXT))),
                attributes: Some(key_values(labels)),
                ..Default::default()
            };
            named("envoy.access_loggers.open_telemetry", xds::pack(&config))
        }
        _ => return None,
    };
    Some(AccessLog { filter: log.filter.as_deref().map(cel), ..made })
}

fn named(name: &str, config: Any) -> AccessLog {
    AccessLog {
        name: name.to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(config)),
        ..Default::default()
    }
}

fn file(path: &str, format: SubstitutionFormatString) -> AccessLog {
    let log = FileAccessLog {
        path: path.to_owned(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format)),
    };
    named("envoy.access_loggers.file", xds::pack(&log))
}

/// Only what the expression says.
fn cel(expression: &str) -> AccessLogFilter {
    let config = xds::pack(&ExpressionFilter { expression: expression.to_owned(), ..Default::default() });
    AccessLogFilter {
        filter_specifier: Some(FilterSpecifier::ExtensionFilter(ExtensionFilter {
            name: "envoy.access_loggers.extension_filters.cel".to_owned(),
            config_type: Some(extension_filter::ConfigType::TypedConfig(config)),
        })),
    }
}

fn common(log: &GrpcLog, cluster: &str) -> CommonGrpcAccessLogConfig {
    CommonGrpcAccessLogConfig {
        log_name: log.log_name.to_string(),
        grpc_service: Some(tracing::grpc(cluster, &log.collector.host, &log.collector)),
        transport_api_version: ApiVersion::V3 as i32,
        filter_state_objects_to_log: texts(&log.filter_state),
        ..Default::default()
    }
}

fn texts(names: &[Name]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn string(text: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) }
}

fn key_values(labels: &BTreeMap<Name, Name>) -> KeyValueList {
    let pair = |(key, value): (&Name, &Name)| KeyValue {
        key: key.to_string(),
        value: Some(string(value)),
        ..Default::default()
    };
    KeyValueList { values: labels.iter().map(pair).collect() }
}

fn mesh_format(mesh: &MeshConfig, omit_empty: bool) -> SubstitutionFormatString {
    let own = &mesh.access_log_format;
    let format = if mesh.access_log_json { json_format(own) } else { text_format(own) };
    SubstitutionFormatString { format: Some(format), omit_empty_values: omit_empty, ..Default::default() }
}

fn own_format(mesh: &MeshConfig, format: &LogFormat, omit_empty: bool) -> SubstitutionFormatString {
    let format = match format {
        LogFormat::Mesh => return mesh_format(mesh, omit_empty),
        LogFormat::Text(text) => text_format(text),
        LogFormat::Json(text) => json_format(text),
    };
    SubstitutionFormatString { format: Some(format), omit_empty_values: omit_empty, ..Default::default() }
}

fn text_format(own: &str) -> substitution_format_string::Format {
    let text = match own {
        "" => TEXT.to_owned(),
        own if own.ends_with('\n') => own.to_owned(),
        own => format!("{own}\n"),
    };
    substitution_format_string::Format::TextFormatSource(DataSource {
        specifier: Some(data_source::Specifier::InlineString(text)),
        ..Default::default()
    })
}

/// An object that does not parse was reported where it was read; the default
/// stands in for it.
fn json_format(own: &str) -> substitution_format_string::Format {
    let own = Some(own).filter(|f| !f.is_empty());
    let parsed = own.and_then(|f| json::from_yaml::<Struct>(f).ok());
    let default = || Struct { fields: JSON.iter().map(|(k, v)| ((*k).to_owned(), xds::text(v))).collect() };
    substitution_format_string::Format::JsonFormat(parsed.unwrap_or_else(default))
}

/// Istio's default.
const TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% ",
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% ",
    "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n"
);

/// Istio's default, as an object.
const JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("route_name", "%ROUTE_NAME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%"),
];
