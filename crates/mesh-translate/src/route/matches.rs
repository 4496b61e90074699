//! What a request must look like.

use mesh_model::rules::virtual_service::{ClaimMatch, HttpMatch, StringMatch};
use mesh_proto::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use mesh_proto::envoy::config::route::v3::query_parameter_matcher::QueryParameterMatchSpecifier;
use mesh_proto::envoy::config::route::v3::route_match::PathSpecifier;
use mesh_proto::envoy::config::route::v3::{HeaderMatcher, QueryParameterMatcher, RouteMatch};
use mesh_proto::envoy::r#type::matcher::v3::list_matcher::MatchPattern as ListPattern;
use mesh_proto::envoy::r#type::matcher::v3::metadata_matcher::PathSegment;
use mesh_proto::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use mesh_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use mesh_proto::envoy::r#type::matcher::v3::value_matcher::MatchPattern as ValuePattern;
use mesh_proto::envoy::r#type::matcher::v3::{
    ListMatcher, MetadataMatcher, OrMatcher, RegexMatcher, StringMatcher, ValueMatcher,
};

use crate::xds;

/// Matches every request.
pub(super) fn everything() -> RouteMatch {
    RouteMatch { path_specifier: Some(PathSpecifier::Prefix("/".to_owned())), ..Default::default() }
}

/// One set of conditions that must all hold.
pub(super) fn route_match(matched: &HttpMatch) -> RouteMatch {
    let pseudo = [(":method", &matched.method), (":authority", &matched.authority), (":scheme", &matched.scheme)];
    let pseudo = pseudo.into_iter().filter_map(|(name, value)| Some(header(name, value.as_ref()?)));
    let with = matched.headers.iter().map(|(name, value)| header(name, value));
    let without = matched.without_headers.iter().map(|(name, value)| absent(name, value));
    RouteMatch {
        path_specifier: Some(path(matched.uri.as_ref())),
        case_sensitive: xds::truth(false).filter(|_| matched.ignore_uri_case),
        headers: with.chain(without).chain(pseudo).collect(),
        query_parameters: matched.query_params.iter().map(|(name, value)| query(name, value)).collect(),
        dynamic_metadata: matched.claims.iter().map(claim).collect(),
        ..Default::default()
    }
}

/// Whether no request fails to match, so that later routes are never met.
pub(super) fn is_everything(found: &RouteMatch) -> bool {
    let any_path = match &found.path_specifier {
        Some(PathSpecifier::Prefix(prefix)) => prefix == "/",
        Some(PathSpecifier::SafeRegex(regex)) => matches!(regex.regex.as_str(), ".*" | "/.*"),
        _ => false,
    };
    any_path && found.headers.is_empty() && found.query_parameters.is_empty() && found.dynamic_metadata.is_empty()
}

fn path(uri: Option<&StringMatch>) -> PathSpecifier {
    match uri {
        None | Some(StringMatch::Present) => PathSpecifier::Prefix("/".to_owned()),
        Some(StringMatch::Exact(path)) => PathSpecifier::Path(path.to_string()),
        Some(StringMatch::Prefix(prefix)) => PathSpecifier::Prefix(prefix.to_string()),
        Some(StringMatch::Regex(expression)) => PathSpecifier::SafeRegex(regex(expression)),
    }
}

fn header(name: &str, value: &StringMatch) -> HeaderMatcher {
    HeaderMatcher {
        name: name.to_owned(),
        header_match_specifier: Some(match string(value) {
            Some(matcher) => HeaderMatchSpecifier::StringMatch(matcher),
            None => HeaderMatchSpecifier::PresentMatch(true),
        }),
        ..Default::default()
    }
}

/// A claim is where the filter that checks JWTs leaves it: a text, or a list of
/// which one item is enough.
///
/// Source: `MetadataMatcherForJWTClaims`, istio `pilot/pkg/security/authz/model`.
fn claim(claim: &ClaimMatch) -> MetadataMatcher {
    let key = |name: &str| PathSegment { segment: Some(Segment::Key(name.to_owned())) };
    let value = |pattern| ValueMatcher { match_pattern: Some(pattern) };
    let found = match string(&claim.value) {
        None => value(ValuePattern::PresentMatch(true)),
        Some(text) => {
            let text = value(ValuePattern::StringMatch(text));
            let one_of = ListPattern::OneOf(Box::new(text.clone()));
            let list = value(ValuePattern::ListMatch(Box::new(ListMatcher { match_pattern: Some(one_of) })));
            value(ValuePattern::OrMatch(OrMatcher { value_matchers: vec![text, list] }))
        }
    };
    MetadataMatcher {
        filter: "envoy.filters.http.jwt_authn".to_owned(),
        path: std::iter::once(key("payload")).chain(claim.path.iter().map(|name| key(name))).collect(),
        value: Some(found),
        invert: claim.without,
    }
}

/// A header that is missing does not match either.
fn absent(name: &str, value: &StringMatch) -> HeaderMatcher {
    HeaderMatcher {
        invert_match: true,
        treat_missing_header_as_empty: *value != StringMatch::Present,
        ..header(name, value)
    }
}

fn query(name: &str, value: &StringMatch) -> QueryParameterMatcher {
    QueryParameterMatcher {
        name: name.to_owned(),
        query_parameter_match_specifier: Some(match string(value) {
            Some(matcher) => QueryParameterMatchSpecifier::StringMatch(matcher),
            None => QueryParameterMatchSpecifier::PresentMatch(true),
        }),
    }
}

/// `None` if only presence is asked for.
pub(super) fn string(value: &StringMatch) -> Option<StringMatcher> {
    let pattern = match value {
        StringMatch::Present => return None,
        StringMatch::Exact(text) => MatchPattern::Exact(text.to_string()),
        // Envoy refuses an empty prefix; it means no more than presence.
        StringMatch::Prefix(text) if text.is_empty() => return None,
        StringMatch::Prefix(text) => MatchPattern::Prefix(text.to_string()),
        StringMatch::Regex(expression) => MatchPattern::SafeRegex(regex(expression)),
    };
    Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() })
}

pub(super) fn regex(expression: &str) -> RegexMatcher {
    RegexMatcher { regex: expression.to_owned(), ..Default::default() }
}
