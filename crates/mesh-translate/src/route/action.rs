//! What happens to a request: it is forwarded, redirected, or answered.

use std::time::Duration;

use mesh_model::rules::virtual_service::{Redirect, RedirectPort, Rewrite, Semantics};
use mesh_proto::envoy::config::core::v3::{DataSource, data_source};
use mesh_proto::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use mesh_proto::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration};
use mesh_proto::envoy::config::route::v3::{DirectResponseAction, RedirectAction, RouteAction};
use mesh_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::matches;
use crate::proxy::Generator;
use crate::xds;

/// Forwards to one cluster.
pub(super) fn to_cluster(cluster: &str) -> RouteAction {
    RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())), ..Default::default() }
}

/// Without a timeout in the rule there is none (a proxy's own default is 15 s);
/// a `grpc-timeout` is obeyed up to the rule's.
///
/// Envoy ignores `timeout` where `max_stream_duration` is set at all, so the
/// older field bounds `grpc-timeout`; gRPC libraries read only the newer one.
#[allow(deprecated)]
pub(super) fn set_timeout(action: &mut RouteAction, timeout: Option<Duration>, generator: Generator) {
    let timeout = xds::duration(timeout.unwrap_or_default());
    action.timeout = timeout;
    match generator {
        Generator::Envoy => action.max_grpc_timeout = timeout,
        Generator::Grpc => {
            action.max_stream_duration = Some(MaxStreamDuration { max_stream_duration: timeout, ..Default::default() });
        }
    }
}

/// Changes path and authority on the way.
pub(super) fn set_rewrite(action: &mut RouteAction, rewrite: &Rewrite) {
    if let Some((pattern, substitution)) = &rewrite.uri_regex {
        action.regex_rewrite = Some(RegexMatchAndSubstitute {
            pattern: Some(matches::regex(pattern)),
            substitution: substitution.to_string(),
        });
    } else if let Some(uri) = &rewrite.uri {
        action.prefix_rewrite = uri.to_string();
    }
    if let Some(authority) = &rewrite.authority {
        set_authority(action, authority);
    }
}

pub(super) fn set_authority(action: &mut RouteAction, authority: &str) {
    action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority.to_owned()));
}

/// Sends the client elsewhere. `port` is the one that it called, with TLS or
/// without.
pub(super) fn redirect(redirect: &Redirect, port: u16, tls: bool, semantics: Semantics) -> RedirectAction {
    let path = match (&redirect.uri, &redirect.prefix) {
        (Some(uri), _) => Some(PathRewriteSpecifier::PathRedirect(uri.to_string())),
        (None, Some(prefix)) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.to_string())),
        (None, None) => None,
    };
    RedirectAction {
        host_redirect: redirect.authority.as_deref().unwrap_or_default().to_owned(),
        port_redirect: u32::from(redirect_port(redirect, port, tls, semantics)),
        response_code: response_code(redirect.code) as i32,
        scheme_rewrite_specifier: redirect
            .scheme
            .as_ref()
            .map(|s| SchemeRewriteSpecifier::SchemeRedirect(s.to_string())),
        path_rewrite_specifier: path,
        ..Default::default()
    }
}

/// Port 80 of HTTP and 443 of HTTPS are not written out where the client did
/// not write them either.
fn redirect_port(redirect: &Redirect, called: u16, tls: bool, semantics: Semantics) -> u16 {
    let https = redirect.scheme.as_deref().map_or(tls, |scheme| scheme == "https");
    let default = if https { 443 } else { 80 };
    let wanted = match redirect.port {
        None => return 0,
        Some(RedirectPort::Number(number)) => number,
        Some(RedirectPort::FromRequest) => called,
        Some(RedirectPort::FromProtocol) => default,
    };
    let implied = matches!(called, 80 | 443) || semantics == Semantics::GatewayApi;
    if wanted == default && implied { 0 } else { wanted }
}

fn response_code(code: u16) -> RedirectResponseCode {
    match code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    }
}

/// Answers at once. A body above [`BODY_BYTES_MAX`] is left out.
pub(super) fn direct_response(status: u16, body: &[u8]) -> DirectResponseAction {
    let fits = !body.is_empty() && body.len() <= BODY_BYTES_MAX as usize;
    let specifier = match std::str::from_utf8(body) {
        Ok(text) => data_source::Specifier::InlineString(text.to_owned()),
        Err(_) => data_source::Specifier::InlineBytes(body.to_vec()),
    };
    DirectResponseAction {
        status: u32::from(status),
        body: fits.then(|| DataSource { specifier: Some(specifier), ..Default::default() }),
        ..Default::default()
    }
}

/// Longest body of a direct response, as Istio sets it; a proxy refuses the
/// table if one is longer.
pub(super) const BODY_BYTES_MAX: u32 = 1 << 20;
