//! HTTP protocol options, as clusters and connection managers share them.

use std::time::Duration;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::upstreams::http::v3 as upstreams;

use super::{AutoSni, Http1Options, Http2Options, TcpKeepalive, UpstreamHttp, UpstreamVersion};
use crate::error::{At, ConfigError};
use crate::outlier::ErrorStatuses;
use crate::parse::{self, bool_or, honour};

/// `core.v3.HttpProtocolOptions`, with Envoy's defaults.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_connection_duration: Option<Duration>,
    pub(crate) max_stream_duration: Option<Duration>,
    pub(crate) max_requests_per_connection: Option<u32>,
    pub(crate) max_headers_count: u32,
    pub(crate) underscores: i32,
    /// Of a cluster's options alone.
    pub(crate) error_statuses: Option<ErrorStatuses>,
}

/// Reads the options that HTTP/1 and HTTP/2 have in common.
pub(crate) fn common(at: &At<'_>, proto: Option<&core::HttpProtocolOptions>) -> Result<Common, ConfigError> {
    let empty = core::HttpProtocolOptions::default();
    let proto = proto.unwrap_or(&empty);
    honour!(at, proto, core::HttpProtocolOptions =>
        honour [
            idle_timeout max_connection_duration max_headers_count max_stream_duration headers_with_underscores_action
            max_requests_per_connection
        ]
        ignore []
        refuse [max_connection_duration_jitter max_response_headers_kb]
    );
    let idle = parse::duration(at, "idle_timeout", proto.idle_timeout.as_ref())?;
    let max_headers_count = parse::u32_or(proto.max_headers_count.as_ref(), HEADERS_COUNT_DEFAULT);
    if max_headers_count == 0 {
        return Err(at.field("max_headers_count").invalid(0, "at least 1"));
    }
    let max_connection = parse::duration(at, "max_connection_duration", proto.max_connection_duration.as_ref())?;
    let max_stream = parse::duration(at, "max_stream_duration", proto.max_stream_duration.as_ref())?;
    Ok(Common {
        idle_timeout: parse::zero_disables(idle, Some(IDLE_TIMEOUT_DEFAULT)),
        max_connection_duration: parse::zero_disables(max_connection, None),
        max_stream_duration: parse::zero_disables(max_stream, None),
        max_requests_per_connection: proto.max_requests_per_connection.map(|v| v.value).filter(|v| *v > 0),
        max_headers_count,
        underscores: proto.headers_with_underscores_action,
        error_statuses: None,
    })
}

/// Reads HTTP/1 options.
pub(crate) fn http1(at: &At<'_>, proto: Option<&core::Http1ProtocolOptions>) -> Result<Http1Options, ConfigError> {
    use core::http1_protocol_options::header_key_format::HeaderFormat;
    let Some(proto) = proto else { return Ok(Http1Options::default()) };
    honour!(at, proto, core::Http1ProtocolOptions =>
        honour [allow_absolute_url accept_http_10 default_host_for_http_10 header_key_format enable_trailers]
        // Which parser Envoy uses; how far an invalid message reaches (here always the connection);
        // methods outside the standard always pass here.
        ignore [use_balsa_parser override_stream_error_on_invalid_http_message allow_custom_methods]
        refuse [allow_chunked_length send_fully_qualified_url ignore_http_11_upgrade]
    );
    let (mut proper_case, mut preserve_case) = (false, false);
    match proto.header_key_format.as_ref().and_then(|f| f.header_format.as_ref()) {
        None => {}
        Some(HeaderFormat::ProperCaseWords(_)) => proper_case = true,
        Some(HeaderFormat::StatefulFormatter(extension)) => {
            let type_url = extension.typed_config.as_ref().map_or("", |a| a.type_url.as_str());
            if mesh_proto::any::message_name(type_url) != PRESERVE_CASE {
                let at = at.field("header_key_format");
                return Err(parse::unknown_extension(&at, &extension.name, type_url));
            }
            preserve_case = true;
        }
    }
    let default_host = &proto.default_host_for_http_10;
    Ok(Http1Options {
        accept_http_10: proto.accept_http_10,
        default_host_for_http_10: (!default_host.is_empty()).then(|| default_host.as_str().into()),
        proper_case,
        preserve_case,
        enable_trailers: proto.enable_trailers,
        allow_absolute_url: bool_or(proto.allow_absolute_url.as_ref(), true),
    })
}

/// Reads HTTP/2 options.
pub(crate) fn http2(at: &At<'_>, proto: Option<&core::Http2ProtocolOptions>) -> Result<Http2Options, ConfigError> {
    let Some(proto) = proto else { return Ok(Http2Options::default()) };
    honour!(at, proto, core::Http2ProtocolOptions =>
        honour [
            hpack_table_size max_concurrent_streams initial_stream_window_size initial_connection_window_size
            allow_connect connection_keepalive
        ]
        // Which codec Envoy uses, and how far an invalid message reaches (here always the stream).
        ignore [
            use_oghttp2_codec stream_error_on_invalid_http_messaging override_stream_error_on_invalid_http_message
            max_metadata_size
        ]
        refuse [
            allow_metadata max_outbound_frames max_outbound_control_frames
            max_consecutive_inbound_frames_with_empty_payload max_inbound_priority_frames_per_stream
            max_inbound_window_update_frames_per_data_frame_sent custom_settings_parameters enable_huffman_encoding
            max_header_field_size_kb disallow_obs_text stream_reset_burst stream_reset_rate
        ]
    );
    let default = Http2Options::default();
    let bounded = |field: &str, value: Option<u32>, min: u32, default: u32| match value {
        None => Ok(default),
        Some(v) if (min..=WINDOW_MAX).contains(&v) => Ok(v),
        Some(v) => Err(at.field(field).invalid(v, format!("{min} to {WINDOW_MAX}"))),
    };
    let value = |v: &Option<mesh_proto::google::protobuf::UInt32Value>| v.map(|v| v.value);
    Ok(Http2Options {
        header_table_size: value(&proto.hpack_table_size).unwrap_or(default.header_table_size),
        max_concurrent_streams: bounded(
            "max_concurrent_streams",
            value(&proto.max_concurrent_streams),
            1,
            default.max_concurrent_streams,
        )?,
        initial_stream_window: bounded(
            "initial_stream_window_size",
            value(&proto.initial_stream_window_size),
            WINDOW_MIN,
            default.initial_stream_window,
        )?,
        initial_connection_window: bounded(
            "initial_connection_window_size",
            value(&proto.initial_connection_window_size),
            WINDOW_MIN,
            default.initial_connection_window,
        )?,
        allow_connect: proto.allow_connect,
        keepalive: keepalive(&at.field("connection_keepalive"), proto.connection_keepalive.as_ref())?,
    })
}

fn keepalive(
    at: &At<'_>,
    proto: Option<&core::KeepaliveSettings>,
) -> Result<Option<(Duration, Duration)>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    honour!(at, proto, core::KeepaliveSettings =>
        // The jitter only spreads pings that would coincide.
        honour [interval timeout]
        ignore [interval_jitter]
        refuse [connection_idle_interval]
    );
    let interval = parse::positive_duration(at, "interval", proto.interval.as_ref())?;
    let timeout = parse::positive_duration(at, "timeout", proto.timeout.as_ref())?
        .ok_or_else(|| at.field("timeout").missing("a duration greater than 0s"))?;
    Ok(interval.map(|i| (i, timeout)))
}

/// Reads the HTTP options of a cluster and what they have in common.
pub(crate) fn upstream(
    at: &At<'_>,
    proto: &upstreams::HttpProtocolOptions,
) -> Result<(UpstreamHttp, Common), ConfigError> {
    use upstreams::http_protocol_options::UpstreamProtocolOptions as O;
    use upstreams::http_protocol_options::explicit_http_config::ProtocolConfig as P;
    honour!(at, proto, upstreams::HttpProtocolOptions =>
        honour [
            common_http_protocol_options upstream_protocol_options http_filters upstream_http_protocol_options
            outlier_detection
        ]
        ignore []
        refuse [header_validation_config request_mirror_policies hash_policy retry_policy]
    );
    for (i, filter) in proto.http_filters.iter().enumerate() {
        if filter.name != UPSTREAM_CODEC {
            return Err(at.index("http_filters", i).unsupported_value(&filter.name, UPSTREAM_CODEC));
        }
    }
    let mut common_options =
        common(&at.field("common_http_protocol_options"), proto.common_http_protocol_options.as_ref())?;
    if let Some(matcher) = proto.outlier_detection.as_ref().and_then(|o| o.error_matcher.as_ref()) {
        let at = at.field("outlier_detection");
        common_options.error_statuses = Some(ErrorStatuses::parse(&at.field("error_matcher"), matcher)?);
    }
    let (version, h1, h2) = match &proto.upstream_protocol_options {
        Some(O::ExplicitHttpConfig(explicit)) => match &explicit.protocol_config {
            Some(P::HttpProtocolOptions(h1)) => (UpstreamVersion::Http1, Some(h1), None),
            Some(P::Http2ProtocolOptions(h2)) => (UpstreamVersion::Http2, None, Some(h2)),
            Some(P::Http3ProtocolOptions(_)) => {
                return Err(at.field("explicit_http_config").field("http3_protocol_options").unsupported());
            }
            None => return Err(at.field("explicit_http_config").missing("a protocol")),
        },
        Some(O::UseDownstreamProtocolConfig(both)) => {
            parse::refuse_if_set(
                &at.field("use_downstream_protocol_config"),
                "http3_protocol_options",
                &both.http3_protocol_options,
            )?;
            (UpstreamVersion::Downstream, both.http_protocol_options.as_ref(), both.http2_protocol_options.as_ref())
        }
        Some(O::AutoConfig(_)) => return Err(at.field("auto_config").unsupported()),
        None => return Err(at.missing("upstream_protocol_options")),
    };
    let http1 = http1(&at.field("http_protocol_options"), h1)?;
    let http2 = http2(&at.field("http2_protocol_options"), h2)?;
    let auto_sni =
        auto_sni(&at.field("upstream_http_protocol_options"), proto.upstream_http_protocol_options.as_ref())?;
    Ok((UpstreamHttp { version, http1, http2, auto_sni }, common_options))
}

/// Reads how TLS follows the request's host.
pub(crate) fn auto_sni(
    at: &At<'_>,
    proto: Option<&core::UpstreamHttpProtocolOptions>,
) -> Result<Option<AutoSni>, ConfigError> {
    let Some(proto) = proto.filter(|p| p.auto_sni || p.auto_san_validation) else { return Ok(None) };
    let header = match proto.override_auto_sni_header.as_str() {
        "" | ":authority" => None,
        name => Some(crate::matcher::header_name(at, "override_auto_sni_header", name)?),
    };
    Ok(Some(AutoSni { ask: proto.auto_sni, verify: proto.auto_san_validation, header }))
}

/// Reads TCP keepalive settings.
pub(crate) fn tcp_keepalive(proto: &core::TcpKeepalive) -> TcpKeepalive {
    let seconds = |v: Option<mesh_proto::google::protobuf::UInt32Value>| v.map(|v| Duration::from_secs(v.value.into()));
    TcpKeepalive {
        probes: proto.keepalive_probes.map(|v| v.value),
        time: seconds(proto.keepalive_time),
        interval: seconds(proto.keepalive_interval),
    }
}

const HEADERS_COUNT_DEFAULT: u32 = 100;
const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600);
/// RFC 9113: the initial window; Envoy allows no less.
const WINDOW_MIN: u32 = 65_535;
/// RFC 9113, 6.9.1.
const WINDOW_MAX: u32 = i32::MAX as u32;
const PRESERVE_CASE: &str = "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";
const UPSTREAM_CODEC: &str = "envoy.filters.http.upstream_codec";
