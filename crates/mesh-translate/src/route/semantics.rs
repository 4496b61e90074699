//! What a route means by whose words it is: a VirtualService's, a Gateway API
//! route's, or an Ingress'.
//!
//! Source: `TranslateRouteMatch` and `applyHTTPRouteDestination`, istio
//! `pilot/pkg/networking/core/route/route.go`.

use mesh_model::rules::virtual_service::Semantics;
use mesh_proto::envoy::config::route::v3::Route;
use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::route_action::ClusterNotFoundResponseCode;
use mesh_proto::envoy::config::route::v3::route_match::PathSpecifier;
use mesh_proto::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::matches;

/// Changes a route that was made as a VirtualService's into what it means.
pub(super) fn apply(route: &mut Route, semantics: Semantics) {
    if semantics == Semantics::Istio {
        return;
    }
    let prefix = whole_segments(route);
    let (Semantics::GatewayApi, Some(Action::Route(action))) = (semantics, &mut route.action) else { return };
    action.cluster_not_found_response_code = ClusterNotFoundResponseCode::InternalServerError.into();
    if action.prefix_rewrite == "/" {
        // The prefix goes; what is left begins with one slash.
        action.prefix_rewrite.clear();
        action.regex_rewrite = Some(RegexMatchAndSubstitute {
            pattern: Some(matches::regex(&format!("^{}(/?)(.*)", escaped(&prefix)))),
            substitution: "/\\2".to_owned(),
        });
    }
}

/// A prefix ends where a segment of the path ends. Yields it, empty for any path.
fn whole_segments(route: &mut Route) -> String {
    let Some(found) = route.r#match.as_mut() else { return String::new() };
    let prefix = match &found.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix.strip_suffix('/').unwrap_or(prefix).to_owned(),
        _ => return String::new(),
    };
    if !prefix.is_empty() {
        found.path_specifier = Some(PathSpecifier::PathSeparatedPrefix(prefix.clone()));
    }
    prefix
}

/// `text` as an expression that matches it alone.
fn escaped(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}
