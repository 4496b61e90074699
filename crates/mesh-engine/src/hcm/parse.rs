//! Reads `HttpConnectionManager`.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::extensions::filters::http::router::v3::Router;
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as xds;
use mesh_proto::google::protobuf::{self as pb, Any};

use super::client_cert::ClientCert;
use super::path::EscapedSlashes;
use super::prepare::{Rules, StripPort};
use super::{Codec, HttpConnectionManager, RouteSource, ServerHeader, Underscores};
use crate::access_log::AccessLog;
use crate::cluster::protocol;
use crate::error::{At, ConfigError, Problem};
use crate::http_filter::{self, HttpFilter};
use crate::parse::{self, bool_or, honour};
use crate::route;
use crate::runtime::Routes;

type Proto = xds::HttpConnectionManager;

pub(super) fn connection_manager(
    at: &At<'_>,
    proto: &Proto,
    routes: &Routes,
) -> Result<HttpConnectionManager, ConfigError> {
    refuse_unsupported(at, proto)?;
    parse::non_empty(at, "stat_prefix", &proto.stat_prefix)?;
    let common =
        protocol::common(&at.field("common_http_protocol_options"), proto.common_http_protocol_options.as_ref())?;
    let chain = filters(at, &proto.http_filters)?;
    let duration = |field: &str, value: &Option<pb::Duration>| parse::duration(at, field, value.as_ref());
    let idle = duration("stream_idle_timeout", &proto.stream_idle_timeout)?;
    let options = proto.access_log_options.unwrap_or_default();
    parse::refuse_if_set(
        &at.field("access_log_options"),
        "flush_log_on_tunnel_successfully_established",
        &options.flush_log_on_tunnel_successfully_established,
    )?;
    let flush = options.access_log_flush_interval.as_ref().or(proto.access_log_flush_interval.as_ref());
    Ok(HttpConnectionManager {
        stat_prefix: proto.stat_prefix.as_str().into(),
        codec: codec(at, proto.codec_type)?,
        routes: route_source(at, proto.route_specifier.as_ref(), routes)?,
        filters: chain.filters,
        skipped_filters: chain.skipped,
        has_router: chain.router.is_some(),
        suppress_envoy_headers: chain.router.is_some_and(|r| r.suppress_envoy_headers),
        http1: protocol::http1(&at.field("http_protocol_options"), proto.http_protocol_options.as_ref())?,
        http2: protocol::http2(&at.field("http2_protocol_options"), proto.http2_protocol_options.as_ref())?,
        idle_timeout: common.idle_timeout,
        max_connection_duration: common.max_connection_duration,
        max_stream_duration: common.max_stream_duration,
        max_requests_per_connection: common.max_requests_per_connection,
        max_headers_count: common.max_headers_count,
        max_request_headers_kb: max_request_headers_kb(at, proto.max_request_headers_kb)?,
        underscores: underscores(at, common.underscores)?,
        stream_idle_timeout: parse::zero_disables(idle, Some(STREAM_IDLE_TIMEOUT_DEFAULT)),
        request_timeout: optional(at, "request_timeout", &proto.request_timeout)?,
        request_headers_timeout: optional(at, "request_headers_timeout", &proto.request_headers_timeout)?,
        drain_timeout: duration("drain_timeout", &proto.drain_timeout)?.unwrap_or(DRAIN_TIMEOUT_DEFAULT),
        delayed_close_timeout: duration("delayed_close_timeout", &proto.delayed_close_timeout)?
            .unwrap_or(DELAYED_CLOSE_TIMEOUT_DEFAULT),
        access_log: AccessLog::parse_all(at, &proto.access_log)?,
        flush_access_log_on_new_request: proto.flush_access_log_on_new_request
            || options.flush_access_log_on_new_request,
        access_log_flush_interval: parse::positive_duration(at, "access_log_flush_interval", flush)?,
        server_name: header_value(at, "server_name", &proto.server_name)?.unwrap_or(HeaderValue::from_static("envoy")),
        server_header: server_header(at, proto.server_header_transformation)?,
        via: header_value(at, "via", &proto.via)?,
        proxy_100_continue: proto.proxy_100_continue,
        upgrades: upgrades(at, &proto.upgrade_configs)?,
        stream_error_on_invalid_http_message: bool_or(proto.stream_error_on_invalid_http_message.as_ref(), false),
        always_set_request_id_in_response: proto.always_set_request_id_in_response,
        prepare: rules(at, proto)?,
    })
}

/// A duration; zero means none.
fn optional(at: &At<'_>, field: &str, value: &Option<pb::Duration>) -> Result<Option<Duration>, ConfigError> {
    Ok(parse::zero_disables(parse::duration(at, field, value.as_ref())?, None))
}

fn max_request_headers_kb(at: &At<'_>, value: Option<pb::UInt32Value>) -> Result<u32, ConfigError> {
    match parse::u32_or(value.as_ref(), REQUEST_HEADERS_KB_DEFAULT) {
        kb @ 1..=REQUEST_HEADERS_KB_MAX => Ok(kb),
        other => Err(at.field("max_request_headers_kb").invalid(other, "1 to 8192")),
    }
}

fn header_value(at: &At<'_>, field: &str, text: &str) -> Result<Option<HeaderValue>, ConfigError> {
    let value = HeaderValue::from_str(text).map_err(|_| at.field(field).invalid(text, "a valid header value"))?;
    Ok(Some(value).filter(|v| !v.is_empty()))
}

fn refuse_unsupported(at: &At<'_>, proto: &Proto) -> Result<(), ConfigError> {
    honour!(at, proto, xds::HttpConnectionManager =>
        honour [
            codec_type stat_prefix http_filters common_http_protocol_options http_protocol_options
            http2_protocol_options server_name server_header_transformation max_request_headers_kb stream_idle_timeout
            request_timeout request_headers_timeout drain_timeout delayed_close_timeout access_log
            access_log_flush_interval flush_access_log_on_new_request access_log_options use_remote_address
            xff_num_trusted_hops internal_address_config skip_xff_append via generate_request_id
            preserve_external_request_id always_set_request_id_in_response forward_client_cert_details
            proxy_100_continue upgrade_configs normalize_path merge_slashes path_with_escaped_slashes_action
            request_id_extension strip_matching_host_port stream_error_on_invalid_http_message strip_trailing_host_dot
            append_x_forwarded_port route_specifier strip_port_mode tracing set_current_client_cert_details
        ]
        ignore [
            // About the PROXY protocol, and its listener filter is refused.
            add_proxy_protocol_connection_state
            // What this proxy does in any case.
            http1_safe_max_connection_duration
        ]
        refuse [
            add_user_agent http3_protocol_options scheme_header_transformation stream_flush_timeout
            drain_timeout_jitter original_ip_detection_extensions early_header_mutation_extensions
            forward_client_cert_matcher represent_ipv4_remote_address_as_ipv4_mapped_ipv6 local_reply_config
            path_normalization_options proxy_status_config typed_header_validation_config append_local_overload
            forward_proto_config
        ]
    );
    // Without a provider Envoy makes no spans either.
    match &proto.tracing {
        Some(tracing) => parse::refuse_if_set(&at.field("tracing"), "provider", &tracing.provider),
        None => Ok(()),
    }
}

struct Chain {
    filters: Vec<HttpFilter>,
    skipped: Vec<Box<str>>,
    router: Option<Router>,
}

fn filters(at: &At<'_>, protos: &[xds::HttpFilter]) -> Result<Chain, ConfigError> {
    let mut chain = Chain { filters: Vec::new(), skipped: Vec::new(), router: None };
    for (i, proto) in protos.iter().enumerate() {
        let at = at.index("http_filters", i);
        parse::non_empty(&at, "name", &proto.name)?;
        if chain.router.is_some() {
            return Err(at.rule(
                "Error: terminal filter named envoy.filters.http.router of type envoy.filters.http.router must be the last filter in a http filter chain.",
            ));
        }
        let any = match &proto.config_type {
            Some(xds::http_filter::ConfigType::TypedConfig(any)) => any,
            Some(xds::http_filter::ConfigType::ConfigDiscovery(_)) => {
                return Err(at.field("config_discovery").unsupported());
            }
            None => &Any::default(),
        };
        if mesh_proto::any::is::<Router>(any) {
            parse::refuse_if_set(&at, "disabled", &proto.disabled)?;
            let at = at.field("typed_config");
            chain.router = Some(router(&at, parse::unpack(&at, any)?)?);
            continue;
        }
        match http_filter::parse_kind(&at.field("typed_config"), any) {
            Ok(Some(kind)) => {
                chain.filters.push(HttpFilter { name: proto.name.as_str().into(), kind, disabled: proto.disabled });
            }
            Ok(None) if proto.is_optional => chain.skipped.push(proto.name.as_str().into()),
            Ok(None) => return Err(parse::unknown_extension(&at, &proto.name, &any.type_url)),
            // What this proxy does not do may be left out if it is optional; what is wrong may not.
            Err(ConfigError { problem: Problem::NotSupported | Problem::UnsupportedValue { .. }, .. })
                if proto.is_optional =>
            {
                chain.skipped.push(proto.name.as_str().into());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(chain)
}

fn router(at: &At<'_>, proto: Router) -> Result<Router, ConfigError> {
    honour!(at, &proto, Router =>
        honour [suppress_envoy_headers upstream_http_filters]
        // Statistics and spans.
        ignore [dynamic_stats start_child_span suppress_grpc_request_failure_code_stats]
        refuse [
            upstream_log upstream_log_options strict_check_headers respect_expected_rq_timeout
            reject_connect_request_early_data
        ]
    );
    match proto.upstream_http_filters.iter().find(|f| f.name != "envoy.filters.http.upstream_codec") {
        Some(other) => {
            Err(at.field("upstream_http_filters").unsupported_value(&other.name, "envoy.filters.http.upstream_codec"))
        }
        None => Ok(proto),
    }
}

fn route_source(
    at: &At<'_>,
    proto: Option<&xds::http_connection_manager::RouteSpecifier>,
    routes: &Routes,
) -> Result<RouteSource, ConfigError> {
    use xds::http_connection_manager::RouteSpecifier as S;
    match proto {
        Some(S::Rds(rds)) => {
            let at = at.field("rds");
            let source: Option<&core::ConfigSource> = rds.config_source.as_ref();
            let source = source.ok_or_else(|| at.field("config_source").missing("ads"))?;
            parse::ads_source(&at.field("config_source"), source)?;
            let name = parse::non_empty(&at, "route_config_name", &rds.route_config_name)?;
            Ok(RouteSource::Rds(routes.slot(name)))
        }
        Some(S::RouteConfig(table)) => {
            Ok(RouteSource::Inline(Arc::new(route::parse::table(&at.field("route_config"), table)?)))
        }
        Some(S::ScopedRoutes(_)) => Err(at.field("scoped_routes").unsupported()),
        None => Err(at.missing("rds or route_config")),
    }
}

fn rules(at: &At<'_>, proto: &Proto) -> Result<Rules, ConfigError> {
    use xds::http_connection_manager::StripPortMode;
    let strip_any = matches!(proto.strip_port_mode, Some(StripPortMode::StripAnyHostPort(true)));
    if strip_any && proto.strip_matching_host_port {
        return Err(at.rule("Error: Only one of `strip_matching_host_port` or `strip_any_host_port` can be set."));
    }
    let mut internal_networks = Vec::new();
    if let Some(internal) = &proto.internal_address_config {
        let at = at.field("internal_address_config");
        // There are no Unix sockets here.
        for (i, range) in internal.cidr_ranges.iter().enumerate() {
            internal_networks.push(parse::cidr(&at.index("cidr_ranges", i), range)?);
        }
    }
    if let Some(any) = proto.request_id_extension.as_ref().and_then(|e| e.typed_config.as_ref())
        && mesh_proto::any::message_name(&any.type_url) != UUID_REQUEST_ID
    {
        return Err(parse::unknown_extension(&at.field("request_id_extension"), "request_id", &any.type_url));
    }
    Ok(Rules {
        use_remote_address: bool_or(proto.use_remote_address.as_ref(), false),
        trusted_hops: proto.xff_num_trusted_hops as usize,
        skip_xff_append: proto.skip_xff_append,
        append_forwarded_port: proto.append_x_forwarded_port,
        generate_request_id: bool_or(proto.generate_request_id.as_ref(), true),
        preserve_external_request_id: proto.preserve_external_request_id,
        client_cert: ClientCert::parse(at, proto)?,
        internal_networks,
        normalize_path: bool_or(proto.normalize_path.as_ref(), false),
        merge_slashes: proto.merge_slashes,
        escaped_slashes: match proto.path_with_escaped_slashes_action {
            0 | 1 => EscapedSlashes::Keep,
            2 => EscapedSlashes::Reject,
            3 => EscapedSlashes::Redirect,
            4 => EscapedSlashes::Forward,
            other => {
                let expected = "a PathWithEscapedSlashesAction";
                return Err(at.field("path_with_escaped_slashes_action").invalid(other, expected));
            }
        },
        strip_port: match (strip_any, proto.strip_matching_host_port) {
            (true, _) => StripPort::Any,
            (false, true) => StripPort::Matching,
            (false, false) => StripPort::None,
        },
        strip_trailing_dot: proto.strip_trailing_host_dot,
        via: HeaderValue::from_str(&proto.via).ok().filter(|v| !v.is_empty()),
    })
}

fn upgrades(
    at: &At<'_>,
    protos: &[xds::http_connection_manager::UpgradeConfig],
) -> Result<Vec<(Box<str>, bool)>, ConfigError> {
    let mut upgrades: Vec<(Box<str>, bool)> = Vec::new();
    for (i, proto) in protos.iter().enumerate() {
        let at = at.index("upgrade_configs", i);
        parse::refuse_if_set(&at, "filters", &proto.filters)?;
        let name: Box<str> = super::upgrade_type(&at, &proto.upgrade_type)?.into();
        if upgrades.iter().any(|(known, _)| *known == name) {
            return Err(at.rule(format!("Error: multiple upgrade configs with the same name: '{name}'")));
        }
        upgrades.push((name, bool_or(proto.enabled.as_ref(), true)));
    }
    Ok(upgrades)
}

fn codec(at: &At<'_>, value: i32) -> Result<Codec, ConfigError> {
    match value {
        0 => Ok(Codec::Auto),
        1 => Ok(Codec::Http1),
        2 => Ok(Codec::Http2),
        3 => Err(at.field("codec_type").unsupported_value("HTTP3", "AUTO, HTTP1 or HTTP2")),
        other => Err(at.field("codec_type").invalid(other, "AUTO, HTTP1 or HTTP2")),
    }
}

fn underscores(at: &At<'_>, value: i32) -> Result<Underscores, ConfigError> {
    match value {
        0 => Ok(Underscores::Allow),
        1 => Ok(Underscores::Reject),
        2 => Ok(Underscores::Drop),
        other => {
            let at = at.field("common_http_protocol_options");
            Err(at.field("headers_with_underscores_action").invalid(other, "ALLOW, REJECT_REQUEST or DROP_HEADER"))
        }
    }
}

fn server_header(at: &At<'_>, value: i32) -> Result<ServerHeader, ConfigError> {
    match value {
        0 => Ok(ServerHeader::Overwrite),
        1 => Ok(ServerHeader::AppendIfAbsent),
        2 => Ok(ServerHeader::PassThrough),
        other => {
            Err(at.field("server_header_transformation").invalid(other, "OVERWRITE, APPEND_IF_ABSENT or PASS_THROUGH"))
        }
    }
}

const REQUEST_HEADERS_KB_DEFAULT: u32 = 60;
/// Envoy's bound.
const REQUEST_HEADERS_KB_MAX: u32 = 8192;
const STREAM_IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);
const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const DELAYED_CLOSE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const UUID_REQUEST_ID: &str = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig";
