//! Which statuses count as errors where a cluster says so itself.

use http::{HeaderMap, StatusCode};
use mesh_proto::envoy::config::common::matcher::v3::MatchPredicate;
use mesh_proto::envoy::config::common::matcher::v3::match_predicate::Rule;

use crate::error::{At, ConfigError};
use crate::matcher::{HeaderMatcher, HeaderRef};

/// A set of statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorStatuses(Box<[bool]>);

impl ErrorStatuses {
    /// Reads an error matcher. It may look at nothing but the status.
    pub(crate) fn parse(at: &At<'_>, proto: &MatchPredicate) -> Result<Self, ConfigError> {
        Self::read(at, proto, 0)
    }

    fn read(at: &At<'_>, proto: &MatchPredicate, depth: u32) -> Result<Self, ConfigError> {
        if depth > DEPTH_MAX {
            return Err(at.rule("the predicate is nested too deeply"));
        }
        let each = |field: &str, rules: &[MatchPredicate]| -> Result<Vec<Self>, ConfigError> {
            let at = at.field(field);
            rules.iter().enumerate().map(|(i, rule)| Self::read(&at.index("rules", i), rule, depth + 1)).collect()
        };
        match &proto.rule {
            Some(Rule::OrMatch(set)) => {
                let all = each("or_match", &set.rules)?;
                Ok(Self::by(|status| all.iter().any(|one| one.contains(status))))
            }
            Some(Rule::AndMatch(set)) => {
                let all = each("and_match", &set.rules)?;
                Ok(Self::by(|status| all.iter().all(|one| one.contains(status))))
            }
            Some(Rule::NotMatch(rule)) => {
                let inner = Self::read(&at.field("not_match"), rule, depth + 1)?;
                Ok(Self::by(|status| !inner.contains(status)))
            }
            Some(Rule::AnyMatch(any)) => Ok(Self::by(|_| *any)),
            Some(Rule::HttpResponseHeadersMatch(headers)) => {
                let at = at.field("http_response_headers_match");
                let mut matchers = Vec::new();
                for (i, header) in headers.headers.iter().enumerate() {
                    let at = at.index("headers", i);
                    let matcher = HeaderMatcher::parse(&at, header)?;
                    if matcher.name != HeaderRef::Status {
                        return Err(at.field("name").unsupported_value(&header.name, ":status"));
                    }
                    matchers.push(matcher);
                }
                let none = HeaderMap::new();
                Ok(Self::by(|status| {
                    let status = StatusCode::from_u16(status).unwrap_or_default();
                    matchers.iter().all(|m| m.matches_response(status, &none))
                }))
            }
            Some(_) => Err(at.field("rule").unsupported()),
            None => Err(at.missing("a rule")),
        }
    }

    fn by(is_error: impl Fn(u16) -> bool) -> Self {
        Self((FIRST..END).map(is_error).collect())
    }

    fn contains(&self, status: u16) -> bool {
        status.checked_sub(FIRST).and_then(|at| self.0.get(usize::from(at))).copied().unwrap_or(false)
    }

    /// The status that outlier detection counts in place of `status`: an error
    /// is one of 5xx, everything else a success.
    pub(crate) fn counted(&self, status: u16) -> u16 {
        match self.contains(status) {
            true if status >= 500 => status,
            true => 500,
            false => 200,
        }
    }
}

/// What a status can be.
const FIRST: u16 = 100;
const END: u16 = 600;
/// Bounds the work of reading one.
const DEPTH_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    //! Which statuses a predicate takes.
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Kind;

    fn parse(yaml: &str) -> Result<ErrorStatuses, ConfigError> {
        ErrorStatuses::parse(&At::root(Kind::Cluster, "c"), &mesh_proto::json::from_yaml(yaml).unwrap())
    }

    #[test]
    fn listed_statuses_are_errors_and_no_others() {
        let status = |code: u16| {
            format!(
                "{{http_response_headers_match: {{headers: [{{name: ':status', string_match: {{exact: '{code}'}}}}]}}}}"
            )
        };
        let errors = parse(&format!("or_match: {{rules: [{}, {}]}}", status(429), status(503))).unwrap();
        let counted = [200, 429, 500, 503].map(|code| errors.counted(code));
        assert_eq!(counted, [200, 500, 200, 503]);
        let others = parse(&format!("not_match: {}", status(429))).unwrap();
        assert_eq!([200, 429].map(|code| others.counted(code)), [500, 200]);
    }

    #[test]
    fn a_predicate_on_another_header_is_refused_by_name() {
        let error = parse("http_response_headers_match: {headers: [{name: x-a, present_match: true}]}").unwrap_err();
        assert!(error.to_string().contains("x-a"), "{error}");
    }
}
