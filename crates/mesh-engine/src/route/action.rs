//! Reads what a route does: forward, redirect, answer.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, StatusCode};
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::route::v3 as xds;

use super::hash;
use super::parse::{Limits, mutations};
use super::{
    Action, ClusterChoice, ClusterName, DirectResponse, Forward, HostRewrite, MaxStreamDuration, Mirror, PathRewrite,
    Priority, Redirect, RedirectPath, WeightedCluster, WeightedClusters,
};
use crate::error::{At, ConfigError};
use crate::http_filter::Overrides;
use crate::matcher::{header_name, substitution};
use crate::parse::{self, honour};
use crate::retry::RetryPolicy;

pub(super) fn parse(
    at: &At<'_>,
    proto: Option<&xds::route::Action>,
    host_retry: Option<&Arc<RetryPolicy>>,
    limits: &Limits,
) -> Result<Action, ConfigError> {
    use xds::route::Action as A;
    Ok(match proto {
        Some(A::Route(proto)) => Action::Forward(Box::new(forward(&at.field("route"), proto, host_retry)?)),
        Some(A::Redirect(proto)) => Action::Redirect(Box::new(redirect(&at.field("redirect"), proto)?)),
        Some(A::DirectResponse(proto)) => {
            Action::Direct(Box::new(direct_response(&at.field("direct_response"), proto, limits)?))
        }
        Some(A::NonForwardingAction(_)) => Action::NonForwarding,
        Some(A::FilterAction(_)) => return Err(at.field("filter_action").unsupported()),
        None => return Err(at.missing("an action")),
    })
}

fn forward(
    at: &At<'_>,
    proto: &xds::RouteAction,
    host_retry: Option<&Arc<RetryPolicy>>,
) -> Result<Forward, ConfigError> {
    honour!(at, proto, xds::RouteAction =>
        honour [
            cluster_not_found_response_code prefix_rewrite regex_rewrite append_x_forwarded_host timeout idle_timeout
            retry_policy priority hash_policy max_grpc_timeout grpc_timeout_offset upgrade_configs max_stream_duration
            cluster_specifier host_rewrite_specifier request_mirror_policies
        ]
        // Only subset load balancing looks at it, and clusters that ask for that are refused.
        ignore [metadata_match]
        refuse [
            path_rewrite_policy path_rewrite flush_timeout early_data_policy retry_policy_typed_config
            rate_limits include_vh_rate_limits cors internal_redirect_policy
            internal_redirect_action max_internal_redirects hedge_policy
        ]
    );
    let timeout = parse::duration(at, "timeout", proto.timeout.as_ref())?;
    let idle = parse::duration(at, "idle_timeout", proto.idle_timeout.as_ref())?;
    let retry_policy = match &proto.retry_policy {
        Some(policy) => Some(RetryPolicy::parse(&at.field("retry_policy"), policy)?.into()),
        None => host_retry.cloned(),
    };
    Ok(Forward {
        cluster: cluster_choice(at, proto.cluster_specifier.as_ref())?,
        cluster_not_found: match proto.cluster_not_found_response_code {
            0 => StatusCode::SERVICE_UNAVAILABLE,
            1 => StatusCode::NOT_FOUND,
            2 => StatusCode::INTERNAL_SERVER_ERROR,
            other => return Err(at.field("cluster_not_found_response_code").invalid(other, "0, 1 or 2")),
        },
        path_rewrite: path_rewrite(at, &proto.prefix_rewrite, proto.regex_rewrite.as_ref())?,
        host_rewrite: host_rewrite(at, proto.host_rewrite_specifier.as_ref())?,
        append_x_forwarded_host: proto.append_x_forwarded_host,
        timeout: parse::zero_disables(timeout, Some(TIMEOUT_DEFAULT)),
        idle_timeout: idle.map(|d| Some(d).filter(|d| !d.is_zero())),
        max_stream_duration: max_stream_duration(&at.field("max_stream_duration"), proto.max_stream_duration.as_ref())?,
        max_grpc_timeout: parse::duration(at, "max_grpc_timeout", proto.max_grpc_timeout.as_ref())?,
        grpc_timeout_offset: parse::duration(at, "grpc_timeout_offset", proto.grpc_timeout_offset.as_ref())?,
        retry_policy,
        priority: match proto.priority {
            0 => Priority::Default,
            1 => Priority::High,
            other => return Err(at.field("priority").invalid(other, "DEFAULT or HIGH")),
        },
        hash_policy: hash::parse(at, &proto.hash_policy)?,
        mirrors: mirrors(at, &proto.request_mirror_policies)?,
        upgrades: upgrades(at, &proto.upgrade_configs)?,
    })
}

fn mirrors(at: &At<'_>, policies: &[xds::route_action::RequestMirrorPolicy]) -> Result<Vec<Mirror>, ConfigError> {
    let one = |(i, policy)| Mirror::parse(&at.index("request_mirror_policies", i), policy);
    policies.iter().enumerate().map(one).collect()
}

fn cluster_choice(
    at: &At<'_>,
    proto: Option<&xds::route_action::ClusterSpecifier>,
) -> Result<ClusterChoice, ConfigError> {
    use xds::route_action::ClusterSpecifier as S;
    Ok(match proto {
        Some(S::Cluster(name)) => ClusterChoice::Named(parse::non_empty(at, "cluster", name)?.into()),
        Some(S::ClusterHeader(name)) => ClusterChoice::Header(header_name(at, "cluster_header", name)?),
        Some(S::WeightedClusters(weighted)) => {
            ClusterChoice::Weighted(weighted_clusters(&at.field("weighted_clusters"), weighted)?)
        }
        Some(S::ClusterSpecifierPlugin(_)) => return Err(at.field("cluster_specifier_plugin").unsupported()),
        Some(S::InlineClusterSpecifierPlugin(_)) => {
            return Err(at.field("inline_cluster_specifier_plugin").unsupported());
        }
        None => return Err(at.missing("a cluster_specifier")),
    })
}

fn weighted_clusters(at: &At<'_>, proto: &xds::WeightedCluster) -> Result<WeightedClusters, ConfigError> {
    use xds::weighted_cluster::RandomValueSpecifier as R;
    honour!(at, proto, xds::WeightedCluster =>
        // The sum is what counts, and there is no runtime to override it.
        honour [clusters random_value_specifier]
        ignore [total_weight runtime_key_prefix]
        refuse []
    );
    if proto.clusters.is_empty() {
        return Err(at.field("clusters").missing("at least one cluster"));
    }
    let mut clusters = Vec::with_capacity(proto.clusters.len());
    for (i, cluster) in proto.clusters.iter().enumerate() {
        clusters.push(cluster_weight(&at.index("clusters", i), cluster)?);
    }
    let total: u64 = clusters.iter().map(|c| u64::from(c.weight)).sum();
    if total == 0 {
        return Err(at.rule("Sum of weights in the weighted_cluster must be greater than 0."));
    }
    if total > u64::from(u32::MAX) {
        return Err(at.rule(format!("The sum of weights of all weighted clusters exceeds {}", u32::MAX)));
    }
    let random_header = match &proto.random_value_specifier {
        None => None,
        Some(R::HeaderName(name)) if name.is_empty() => None,
        Some(R::HeaderName(name)) => Some(header_name(at, "header_name", name)?),
        Some(R::UseHashPolicy(_)) => return Err(at.field("use_hash_policy").unsupported()),
    };
    Ok(WeightedClusters { clusters, total, random_header })
}

fn cluster_weight(at: &At<'_>, proto: &xds::weighted_cluster::ClusterWeight) -> Result<WeightedCluster, ConfigError> {
    use xds::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral;
    honour!(at, proto, xds::weighted_cluster::ClusterWeight =>
        honour [
            name cluster_header weight request_headers_to_add request_headers_to_remove response_headers_to_add
            response_headers_to_remove typed_per_filter_config host_rewrite_specifier
        ]
        // Only subset load balancing looks at it, and clusters that ask for that are refused.
        ignore [metadata_match]
        refuse []
    );
    let cluster = match (proto.name.as_str(), proto.cluster_header.as_str()) {
        ("", "") => return Err(at.rule("At least one of name or cluster_header need to be specified")),
        (name, "") => ClusterName::Named(name.into()),
        ("", header) => ClusterName::Header(header_name(at, "cluster_header", header)?),
        _ => return Err(at.rule("Only one of name or cluster_header can be specified")),
    };
    let host_rewrite = match &proto.host_rewrite_specifier {
        Some(HostRewriteLiteral(text)) => Some(literal_host(at, text)?),
        None => None,
    };
    Ok(WeightedCluster {
        cluster,
        weight: parse::u32_or(proto.weight.as_ref(), 0),
        headers: mutations(
            at,
            (&proto.request_headers_to_add, &proto.request_headers_to_remove),
            (&proto.response_headers_to_add, &proto.response_headers_to_remove),
        )?,
        overrides: Overrides::parse(at, &proto.typed_per_filter_config)?,
        host_rewrite,
    })
}

fn path_rewrite(
    at: &At<'_>,
    prefix: &str,
    regex: Option<&mesh_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute>,
) -> Result<Option<PathRewrite>, ConfigError> {
    match (prefix, regex) {
        ("", None) => Ok(None),
        (prefix, None) if prefix.contains(['\r', '\n', '\0']) => {
            Err(at.field("prefix_rewrite").invalid(prefix.escape_debug(), "no line break and no NUL"))
        }
        (prefix, None) => Ok(Some(PathRewrite::Prefix(prefix.into()))),
        ("", Some(regex)) => {
            let (regex, by) = substitution(&at.field("regex_rewrite"), regex)?;
            Ok(Some(PathRewrite::Regex(regex, by)))
        }
        _ => Err(at.rule("Specify only one of prefix_rewrite, regex_rewrite or path_rewrite_policy")),
    }
}

fn host_rewrite(
    at: &At<'_>,
    proto: Option<&xds::route_action::HostRewriteSpecifier>,
) -> Result<Option<HostRewrite>, ConfigError> {
    use xds::route_action::HostRewriteSpecifier as S;
    Ok(match proto {
        None => None,
        Some(S::HostRewriteLiteral(text)) if text.is_empty() => None,
        Some(S::HostRewriteLiteral(text)) => Some(HostRewrite::Literal(literal_host(at, text)?)),
        Some(S::AutoHostRewrite(auto)) => auto.value.then_some(HostRewrite::Auto),
        Some(S::HostRewriteHeader(name)) if name.is_empty() => None,
        Some(S::HostRewriteHeader(name)) => Some(HostRewrite::Header(header_name(at, "host_rewrite_header", name)?)),
        Some(S::HostRewritePathRegex(regex)) => {
            let (regex, by) = substitution(&at.field("host_rewrite_path_regex"), regex)?;
            Some(HostRewrite::PathRegex(regex, by))
        }
        Some(S::HostRewrite(_)) => return Err(at.field("host_rewrite").unsupported()),
    })
}

fn literal_host(at: &At<'_>, text: &str) -> Result<HeaderValue, ConfigError> {
    HeaderValue::from_str(text).map_err(|_| at.field("host_rewrite_literal").invalid(text, "a valid header value"))
}

fn max_stream_duration(
    at: &At<'_>,
    proto: Option<&xds::route_action::MaxStreamDuration>,
) -> Result<Option<MaxStreamDuration>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    let read = |field: &str, value: &Option<mesh_proto::google::protobuf::Duration>| {
        parse::duration(at, field, value.as_ref())
    };
    Ok(Some(MaxStreamDuration {
        max: read("max_stream_duration", &proto.max_stream_duration)?,
        grpc_timeout_header_max: read("grpc_timeout_header_max", &proto.grpc_timeout_header_max)?,
        grpc_timeout_header_offset: read("grpc_timeout_header_offset", &proto.grpc_timeout_header_offset)?,
    }))
}

fn upgrades(at: &At<'_>, protos: &[xds::route_action::UpgradeConfig]) -> Result<Vec<(Box<str>, bool)>, ConfigError> {
    let mut upgrades: Vec<(Box<str>, bool)> = Vec::new();
    for (i, proto) in protos.iter().enumerate() {
        let at = at.index("upgrade_configs", i);
        let name: Box<str> = crate::hcm::upgrade_type(&at, &proto.upgrade_type)?.into();
        parse::refuse_if_set(&at, "connect_config", &proto.connect_config)?;
        if upgrades.iter().any(|(known, _)| *known == name) {
            return Err(at.rule(format!("Duplicate upgrade {name}")));
        }
        upgrades.push((name, parse::bool_or(proto.enabled.as_ref(), true)));
    }
    Ok(upgrades)
}

fn redirect(at: &At<'_>, proto: &xds::RedirectAction) -> Result<Redirect, ConfigError> {
    use xds::redirect_action::{PathRewriteSpecifier as P, SchemeRewriteSpecifier as S};
    let status = match proto.response_code {
        0 => StatusCode::MOVED_PERMANENTLY,
        1 => StatusCode::FOUND,
        2 => StatusCode::SEE_OTHER,
        3 => StatusCode::TEMPORARY_REDIRECT,
        4 => StatusCode::PERMANENT_REDIRECT,
        other => return Err(at.field("response_code").invalid(other, "a RedirectResponseCode")),
    };
    let port = match u16::try_from(proto.port_redirect) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => return Err(at.field("port_redirect").invalid(proto.port_redirect, "0 to 65535")),
    };
    let text = |text: &str| -> Option<Box<str>> { (!text.is_empty()).then(|| text.into()) };
    for (field, value) in [("host_redirect", &proto.host_redirect)] {
        if value.contains(['\r', '\n', '\0']) {
            return Err(at.field(field).invalid(value.escape_debug(), "no line break and no NUL"));
        }
    }
    let path = match &proto.path_rewrite_specifier {
        None => None,
        Some(P::PathRedirect(path)) => text(path).map(RedirectPath::Full),
        Some(P::PrefixRewrite(prefix)) => text(prefix).map(RedirectPath::Prefix),
        Some(P::RegexRewrite(regex)) => {
            let (regex, by) = substitution(&at.field("regex_rewrite"), regex)?;
            Some(RedirectPath::Regex(regex, by))
        }
        Some(P::PathRewrite(_)) => return Err(at.field("path_rewrite").unsupported()),
    };
    let scheme = match &proto.scheme_rewrite_specifier {
        None | Some(S::HttpsRedirect(false)) => None,
        Some(S::HttpsRedirect(true)) => Some("https".into()),
        Some(S::SchemeRedirect(scheme)) => text(scheme),
    };
    Ok(Redirect { status, scheme, host: text(&proto.host_redirect), port, path, strip_query: proto.strip_query })
}

fn direct_response(
    at: &At<'_>,
    proto: &xds::DirectResponseAction,
    limits: &Limits,
) -> Result<DirectResponse, ConfigError> {
    honour!(at, proto, xds::DirectResponseAction =>
        honour [status body]
        ignore []
        refuse [body_format]
    );
    let status = u16::try_from(proto.status).ok().filter(|s| (200..600).contains(s));
    let status = status.and_then(|s| StatusCode::from_u16(s).ok());
    let status = status.ok_or_else(|| at.field("status").invalid(proto.status, "200 to 599"))?;
    let body = match &proto.body {
        None => bytes::Bytes::new(),
        Some(core::DataSource { specifier: None, .. }) => bytes::Bytes::new(),
        Some(source) => parse::inline_source(&at.field("body"), source)?,
    };
    if body.len() > limits.direct_response_bytes_max {
        return Err(at.field("body").rule(format!(
            "response body size is {} bytes; maximum is {}",
            body.len(),
            limits.direct_response_bytes_max
        )));
    }
    Ok(DirectResponse { status, body })
}

/// Envoy's default.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);
