//! Access logs as MeshConfig asks for them.

use mesh_model::rules::MeshConfig;
use mesh_proto::envoy::config::accesslog::v3::{AccessLog, access_log};
use mesh_proto::envoy::config::core::v3::{
    DataSource, SubstitutionFormatString, data_source, substitution_format_string,
};
use mesh_proto::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use mesh_proto::google::protobuf::Struct;
use mesh_proto::json;

use crate::xds;

/// The logs of a filter: one, or none if `accessLogFile` is empty.
pub(super) fn of(mesh: &MeshConfig) -> Vec<AccessLog> {
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let log = FileAccessLog {
        path: mesh.access_log_file.to_string(),
        access_log_format: Some(file_access_log::AccessLogFormat::LogFormat(format(mesh))),
    };
    vec![AccessLog {
        name: "envoy.access_loggers.file".to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(xds::pack(&log))),
        ..Default::default()
    }]
}

fn format(mesh: &MeshConfig) -> SubstitutionFormatString {
    let format = if mesh.access_log_json { json_format(mesh) } else { text_format(mesh) };
    SubstitutionFormatString { format: Some(format), ..Default::default() }
}

fn text_format(mesh: &MeshConfig) -> substitution_format_string::Format {
    let text = match &*mesh.access_log_format {
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
fn json_format(mesh: &MeshConfig) -> substitution_format_string::Format {
    let own = Some(&mesh.access_log_format).filter(|f| !f.is_empty());
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
