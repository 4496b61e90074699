//! Reads `envoy.config.route.v3.RouteConfiguration`, down to what a route
//! matches.

use mesh_proto::Message;
use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::envoy::config::route::v3 as xds;
use mesh_proto::origin;

use super::domains::Domains;
use super::{Mutations, PathMatch, Route, RouteMatch, RouteTable, VirtualHost, action};
use crate::error::{At, ConfigError};
use crate::headers::HeaderMutations;
use crate::http_filter::Overrides;
use crate::matcher::{CookieMatcher, HeaderMatcher, MetadataMatcher, QueryMatcher, full_regex, header_name};
use crate::parse::{self, honour};
use crate::retry::RetryPolicy;

/// Bounds that a table sets for its routes.
pub(super) struct Limits {
    pub(super) direct_response_bytes_max: usize,
}

/// Reads a table that stands at `at`.
pub(crate) fn table(at: &At<'_>, proto: &xds::RouteConfiguration) -> Result<RouteTable, ConfigError> {
    honour!(at, proto, xds::RouteConfiguration =>
        honour [
            name virtual_hosts internal_only_headers response_headers_to_add response_headers_to_remove
            request_headers_to_add request_headers_to_remove most_specific_header_mutations_wins validate_clusters
            max_direct_response_body_size_bytes ignore_port_in_host_matching typed_per_filter_config metadata
        ]
        ignore []
        refuse [
            vhds cluster_specifier_plugins request_mirror_policies vhost_header
            ignore_path_parameters_in_path_matching route_specifiers
        ]
    );
    let limits = Limits {
        direct_response_bytes_max: parse::u32_or(
            proto.max_direct_response_body_size_bytes.as_ref(),
            DIRECT_RESPONSE_BYTES_DEFAULT,
        ) as usize,
    };
    let mut domains = Domains::default();
    let mut virtual_hosts = Vec::with_capacity(proto.virtual_hosts.len());
    for (i, host) in proto.virtual_hosts.iter().enumerate() {
        let at = at.index("virtual_hosts", i);
        let parsed = virtual_host(&at, host, &limits)?;
        for (j, domain) in parsed.domains.iter().enumerate() {
            domains.insert(&at.index("domains", j), &proto.name, domain, i as u32)?;
        }
        virtual_hosts.push(parsed);
    }
    let internal: Result<_, ConfigError> =
        proto.internal_only_headers.iter().map(|name| header_name(at, "internal_only_headers", name)).collect();
    Ok(RouteTable {
        name: proto.name.as_str().into(),
        virtual_hosts,
        headers: mutations(
            at,
            (&proto.request_headers_to_add, &proto.request_headers_to_remove),
            (&proto.response_headers_to_add, &proto.response_headers_to_remove),
        )?,
        most_specific_header_mutations_wins: proto.most_specific_header_mutations_wins,
        ignore_port_in_host_matching: proto.ignore_port_in_host_matching,
        internal_only_headers: internal?,
        validate_clusters: proto.validate_clusters.map(|v| v.value),
        overrides: Overrides::parse(at, &proto.typed_per_filter_config)?,
        domains,
        origins: origin::read(proto.metadata.as_ref()),
        hash: xxhash_rust::xxh3::xxh3_64(&proto.encode_to_vec()),
    })
}

fn virtual_host(at: &At<'_>, proto: &xds::VirtualHost, limits: &Limits) -> Result<VirtualHost, ConfigError> {
    honour!(at, proto, xds::VirtualHost =>
        honour [
            name domains routes request_headers_to_add request_headers_to_remove response_headers_to_add
            response_headers_to_remove typed_per_filter_config include_request_attempt_count
            include_attempt_count_in_response retry_policy metadata
        ]
        ignore []
        refuse [
            matcher require_tls virtual_clusters rate_limits cors retry_policy_typed_config hedge_policy
            include_is_timeout_retry_header per_request_buffer_limit_bytes request_body_buffer_limit
            request_mirror_policies route_specifiers
        ]
    );
    parse::non_empty(at, "name", &proto.name)?;
    if proto.domains.is_empty() {
        return Err(at.field("domains").missing("at least one domain"));
    }
    for (i, domain) in proto.domains.iter().enumerate() {
        let malformed = domain.is_empty() || domain.contains(['\r', '\n', '\0']) || domain == "**";
        if malformed {
            return Err(at.index("domains", i).invalid(domain.escape_debug(), "a host, *suffix, prefix* or *"));
        }
    }
    let retry_policy = match &proto.retry_policy {
        Some(policy) => Some(RetryPolicy::parse(&at.field("retry_policy"), policy)?.into()),
        None => None,
    };
    let mut routes = Vec::with_capacity(proto.routes.len());
    for (i, one) in proto.routes.iter().enumerate() {
        routes.push(route(&at.index("routes", i), one, retry_policy.as_ref(), limits)?);
    }
    Ok(VirtualHost {
        name: proto.name.as_str().into(),
        domains: proto.domains.iter().map(|d| d.as_str().into()).collect(),
        routes,
        headers: mutations(
            at,
            (&proto.request_headers_to_add, &proto.request_headers_to_remove),
            (&proto.response_headers_to_add, &proto.response_headers_to_remove),
        )?,
        retry_policy,
        include_request_attempt_count: proto.include_request_attempt_count,
        include_attempt_count_in_response: proto.include_attempt_count_in_response,
        overrides: Overrides::parse(at, &proto.typed_per_filter_config)?,
        origins: origin::read(proto.metadata.as_ref()),
    })
}

fn route(
    at: &At<'_>,
    proto: &xds::Route,
    host_retry: Option<&std::sync::Arc<RetryPolicy>>,
    limits: &Limits,
) -> Result<Route, ConfigError> {
    honour!(at, proto, xds::Route =>
        honour [
            name r#match metadata typed_per_filter_config request_headers_to_add request_headers_to_remove
            response_headers_to_add response_headers_to_remove action
        ]
        // Both only name and sample spans, and connection managers that trace are refused.
        ignore [decorator tracing]
        refuse [per_request_buffer_limit_bytes stat_prefix request_body_buffer_limit route_specifiers]
    );
    let matches = proto.r#match.as_ref().ok_or_else(|| at.field("match").missing("a match"))?;
    Ok(Route {
        name: proto.name.as_str().into(),
        matches: route_match(&at.field("match"), matches)?,
        action: action::parse(at, proto.action.as_ref(), host_retry, limits)?,
        headers: mutations(
            at,
            (&proto.request_headers_to_add, &proto.request_headers_to_remove),
            (&proto.response_headers_to_add, &proto.response_headers_to_remove),
        )?,
        overrides: Overrides::parse(at, &proto.typed_per_filter_config)?,
        origins: origin::read(proto.metadata.as_ref()),
    })
}

fn route_match(at: &At<'_>, proto: &xds::RouteMatch) -> Result<RouteMatch, ConfigError> {
    use xds::route_match::PathSpecifier as S;
    honour!(at, proto, xds::RouteMatch =>
        honour [
            case_sensitive runtime_fraction headers query_parameters cookies grpc dynamic_metadata path_specifier
        ]
        ignore []
        refuse [tls_context filter_state]
    );
    let path = match &proto.path_specifier {
        Some(S::Prefix(prefix)) => PathMatch::Prefix(prefix.as_str().into()),
        Some(S::Path(path)) => PathMatch::Exact(path.as_str().into()),
        Some(S::SafeRegex(regex)) => PathMatch::Regex(full_regex(&at.field("safe_regex"), regex)?),
        Some(S::ConnectMatcher(_)) => PathMatch::Connect,
        Some(S::PathSeparatedPrefix(prefix)) => {
            if !prefix.starts_with('/') || prefix.ends_with('/') || prefix.contains(['?', '#']) {
                let expected = "a path that begins with / and neither ends with / nor contains ? or #";
                return Err(at.field("path_separated_prefix").invalid(prefix, expected));
            }
            PathMatch::SeparatedPrefix(prefix.as_str().into())
        }
        Some(S::PathMatchPolicy(_)) => return Err(at.field("path_match_policy").unsupported()),
        None => return Err(at.missing("a path_specifier")),
    };
    let runtime_fraction = match proto.runtime_fraction.as_ref() {
        None => None,
        Some(fraction) => {
            let at = at.field("runtime_fraction");
            let at = at.field("default_value");
            let value = fraction.default_value.as_ref().ok_or_else(|| at.missing("a fraction"))?;
            Some(parse::parts_per_million(&at, value)?)
        }
    };
    let headers: Result<_, ConfigError> =
        proto.headers.iter().enumerate().map(|(i, h)| HeaderMatcher::parse(&at.index("headers", i), h)).collect();
    let query: Result<_, ConfigError> = proto
        .query_parameters
        .iter()
        .enumerate()
        .map(|(i, q)| QueryMatcher::parse(&at.index("query_parameters", i), q))
        .collect();
    let cookies: Result<_, ConfigError> =
        proto.cookies.iter().enumerate().map(|(i, c)| CookieMatcher::parse(&at.index("cookies", i), c)).collect();
    let metadata: Result<_, ConfigError> = proto
        .dynamic_metadata
        .iter()
        .enumerate()
        .map(|(i, m)| MetadataMatcher::parse(&at.index("dynamic_metadata", i), m))
        .collect();
    Ok(RouteMatch {
        path,
        case_sensitive: parse::bool_or(proto.case_sensitive.as_ref(), true),
        headers: headers?,
        query: query?,
        cookies: cookies?,
        metadata: metadata?,
        grpc: proto.grpc.is_some(),
        runtime_fraction,
    })
}

type Change<'a> = (&'a [core::HeaderValueOption], &'a [String]);

/// Reads header mutations of one level.
pub(super) fn mutations(at: &At<'_>, request: Change<'_>, response: Change<'_>) -> Result<Mutations, ConfigError> {
    Ok(Mutations {
        request: HeaderMutations::parse(at, "request", request.0, request.1)?,
        response: HeaderMutations::parse(at, "response", response.0, response.1)?,
    })
}

/// Envoy's default.
const DIRECT_RESPONSE_BYTES_DEFAULT: u32 = 4096;
