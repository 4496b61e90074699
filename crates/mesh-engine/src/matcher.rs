//! Matchers on strings, headers and query parameters, as routes, access-log
//! filters and retry policies use them.
//!
//! **Invariant:** matching does not allocate, except to join several values of
//! one header or to decode a query parameter that is percent-encoded.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderMap, HeaderName, StatusCode};
use mesh_proto::envoy::config::route::v3 as xds;
use mesh_proto::envoy::r#type::matcher::v3 as types;
use regex::Regex;

use crate::error::{At, ConfigError};
use crate::parse::{honour, non_empty};
use crate::route::RequestView;

mod metadata;
#[cfg(test)]
mod tests;

pub use metadata::MetadataMatcher;

/// A string matcher.
#[derive(Debug, Clone)]
pub struct StringMatcher {
    /// What is compared.
    pub kind: StringMatch,
    /// ASCII case makes no difference. Never set for regular expressions.
    pub ignore_case: bool,
}

/// Kinds of string match.
#[derive(Debug, Clone)]
pub enum StringMatch {
    /// The whole string.
    Exact(Box<str>),
    /// How it begins.
    Prefix(Box<str>),
    /// How it ends.
    Suffix(Box<str>),
    /// What is in it.
    Contains(Box<str>),
    /// The whole string matches this expression.
    Regex(Regex),
}

/// A matcher on one request or response header.
#[derive(Debug, Clone)]
pub struct HeaderMatcher {
    /// Which header.
    pub name: HeaderRef,
    /// What about it.
    pub kind: HeaderMatch,
    /// The result is inverted. A missing header never matches an inverted
    /// value match, unless `treat_missing_as_empty`.
    pub invert: bool,
    /// A missing header counts as one with an empty value.
    pub treat_missing_as_empty: bool,
}

/// A header or pseudo-header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderRef {
    /// `:method`
    Method,
    /// `:authority` or `host`
    Authority,
    /// `:path`, with the query
    Path,
    /// `:scheme`
    Scheme,
    /// `:protocol`
    Protocol,
    /// `:status` (responses)
    Status,
    /// Any other
    Name(HeaderName),
}

/// What is asked of a header. Several values of one header count as one,
/// joined by commas.
#[derive(Debug, Clone)]
pub enum HeaderMatch {
    /// It is there (`true`) or absent (`false`).
    Present(bool),
    /// Its value matches.
    String(StringMatcher),
    /// Its value is a whole number `start <= n < end`.
    Range(i64, i64),
}

/// A matcher on one query parameter.
#[derive(Debug, Clone)]
pub struct QueryMatcher {
    /// Its name.
    pub name: Box<str>,
    /// What its first value must be; `None`: it must be there.
    pub value: Option<StringMatcher>,
    /// With `value: None`, whether it must be there (`true`) or absent.
    pub present: bool,
}

/// A matcher on one cookie.
#[derive(Debug, Clone)]
pub struct CookieMatcher {
    /// Its name.
    pub name: Box<str>,
    /// What its value must be. A missing cookie does not match, inverted or not.
    pub value: StringMatcher,
    /// The result is inverted.
    pub invert: bool,
}

impl StringMatcher {
    /// Matches exactly `text`.
    pub fn exact(text: &str) -> Self {
        Self { kind: StringMatch::Exact(text.into()), ignore_case: false }
    }

    /// Reads a matcher.
    pub(crate) fn parse(at: &At<'_>, proto: &types::StringMatcher) -> Result<Self, ConfigError> {
        use types::string_matcher::MatchPattern as P;
        let ignore_case = proto.ignore_case;
        let kind = match &proto.match_pattern {
            Some(P::Exact(text)) => StringMatch::Exact(text.as_str().into()),
            Some(P::Prefix(text)) => StringMatch::Prefix(non_empty(at, "prefix", text)?.into()),
            Some(P::Suffix(text)) => StringMatch::Suffix(non_empty(at, "suffix", text)?.into()),
            Some(P::Contains(text)) => StringMatch::Contains(non_empty(at, "contains", text)?.into()),
            Some(P::SafeRegex(_)) if ignore_case => {
                return Err(at.rule("ignore_case has no effect for safe_regex."));
            }
            Some(P::SafeRegex(regex)) => StringMatch::Regex(full_regex(&at.field("safe_regex"), regex)?),
            Some(P::Custom(_)) => return Err(at.field("custom").unsupported()),
            None => return Err(at.missing("a match_pattern")),
        };
        Ok(Self { kind, ignore_case })
    }

    /// Whether `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let (value, fold) = (text.as_bytes(), self.ignore_case);
        match &self.kind {
            StringMatch::Exact(p) => equal(value, p.as_bytes(), fold),
            StringMatch::Prefix(p) => value.get(..p.len()).is_some_and(|v| equal(v, p.as_bytes(), fold)),
            StringMatch::Suffix(p) => {
                value.len().checked_sub(p.len()).is_some_and(|at| equal(&value[at..], p.as_bytes(), fold))
            }
            StringMatch::Contains(p) if fold => value.windows(p.len()).any(|w| equal(w, p.as_bytes(), true)),
            StringMatch::Contains(p) => text.contains(&**p),
            StringMatch::Regex(regex) => regex.is_match(text),
        }
    }
}

impl HeaderMatcher {
    /// Reads a matcher.
    pub(crate) fn parse(at: &At<'_>, proto: &xds::HeaderMatcher) -> Result<Self, ConfigError> {
        use xds::header_matcher::HeaderMatchSpecifier as S;
        let name = HeaderRef::parse(at, "name", &proto.name)?;
        let of = |kind| Ok(HeaderMatch::String(StringMatcher { kind, ignore_case: false }));
        let kind: Result<HeaderMatch, ConfigError> = match &proto.header_match_specifier {
            None => Ok(HeaderMatch::Present(true)),
            Some(S::PresentMatch(present)) => Ok(HeaderMatch::Present(*present)),
            Some(S::RangeMatch(range)) => Ok(HeaderMatch::Range(range.start, range.end)),
            Some(S::ExactMatch(text)) => of(StringMatch::Exact(text.as_str().into())),
            Some(S::PrefixMatch(text)) => of(StringMatch::Prefix(non_empty(at, "prefix_match", text)?.into())),
            Some(S::SuffixMatch(text)) => of(StringMatch::Suffix(non_empty(at, "suffix_match", text)?.into())),
            Some(S::ContainsMatch(text)) => of(StringMatch::Contains(non_empty(at, "contains_match", text)?.into())),
            Some(S::SafeRegexMatch(regex)) => of(StringMatch::Regex(full_regex(&at.field("safe_regex_match"), regex)?)),
            Some(S::StringMatch(matcher)) => {
                Ok(HeaderMatch::String(StringMatcher::parse(&at.field("string_match"), matcher)?))
            }
        };
        Ok(Self {
            name,
            kind: kind?,
            invert: proto.invert_match,
            treat_missing_as_empty: proto.treat_missing_header_as_empty,
        })
    }

    /// Whether a request matches.
    pub fn matches(&self, request: &RequestView<'_>) -> bool {
        self.matches_value(self.name.of_request(request).as_deref())
    }

    /// Whether a response matches.
    pub fn matches_response(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        match &self.name {
            HeaderRef::Status => self.matches_value(Some(status.as_str())),
            HeaderRef::Name(name) => self.matches_value(joined(headers, name).as_deref()),
            _ => self.matches_value(None),
        }
    }

    fn matches_value(&self, value: Option<&str>) -> bool {
        let value = match value {
            None if self.treat_missing_as_empty => Some(""),
            other => other,
        };
        match (&self.kind, value) {
            (HeaderMatch::Present(wanted), value) => (value.is_some() == *wanted) != self.invert,
            (_, None) => false,
            (HeaderMatch::String(matcher), Some(value)) => matcher.matches(value) != self.invert,
            (HeaderMatch::Range(start, end), Some(value)) => {
                value.parse::<i64>().is_ok_and(|n| *start <= n && n < *end) != self.invert
            }
        }
    }
}

impl HeaderRef {
    /// Reads a header name, pseudo-headers included.
    pub(crate) fn parse(at: &At<'_>, field: &str, name: &str) -> Result<Self, ConfigError> {
        match name.to_ascii_lowercase().as_str() {
            "" => Err(at.field(field).missing("a header name")),
            ":method" => Ok(Self::Method),
            ":authority" | "host" => Ok(Self::Authority),
            ":path" => Ok(Self::Path),
            ":scheme" => Ok(Self::Scheme),
            ":protocol" => Ok(Self::Protocol),
            ":status" => Ok(Self::Status),
            lower => header_name(at, field, lower).map(Self::Name),
        }
    }

    /// Its value in a request; several values are joined by commas.
    pub fn of_request<'a>(&self, request: &RequestView<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Method => Some(Cow::Borrowed(request.method.as_str())),
            Self::Authority => (!request.authority.is_empty()).then_some(Cow::Borrowed(request.authority)),
            Self::Path => Some(Cow::Borrowed(request.path)),
            Self::Scheme => Some(Cow::Borrowed(request.scheme)),
            Self::Protocol | Self::Status => None,
            Self::Name(name) => joined(request.headers, name),
        }
    }
}

impl QueryMatcher {
    /// Reads a matcher.
    pub(crate) fn parse(at: &At<'_>, proto: &xds::QueryParameterMatcher) -> Result<Self, ConfigError> {
        use xds::query_parameter_matcher::QueryParameterMatchSpecifier as S;
        let name = non_empty(at, "name", &proto.name)?.into();
        let (value, present) = match &proto.query_parameter_match_specifier {
            Some(S::StringMatch(matcher)) => (Some(StringMatcher::parse(&at.field("string_match"), matcher)?), true),
            Some(S::PresentMatch(present)) => (None, *present),
            None => (None, true),
        };
        Ok(Self { name, value, present })
    }

    /// Whether the query of `path` matches.
    pub fn matches(&self, path: &str) -> bool {
        let found = query_parameter(path, &self.name);
        match &self.value {
            None => found.is_some() == self.present,
            Some(matcher) => found.is_some_and(|value| matcher.matches(&value)),
        }
    }
}

impl CookieMatcher {
    /// Reads a matcher.
    pub(crate) fn parse(at: &At<'_>, proto: &xds::CookieMatcher) -> Result<Self, ConfigError> {
        let name = non_empty(at, "name", &proto.name)?.into();
        let matcher = proto.string_match.as_ref().ok_or_else(|| at.field("string_match").missing("a matcher"))?;
        Ok(Self { name, value: StringMatcher::parse(&at.field("string_match"), matcher)?, invert: proto.invert_match })
    }

    /// Whether the request's cookies match.
    pub fn matches(&self, headers: &HeaderMap) -> bool {
        cookie(headers, &self.name).is_some_and(|value| self.value.matches(value) != self.invert)
    }
}

/// The value of the cookie `name`, without quotes around it.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|v| std::str::from_utf8(v.as_bytes()).ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
}

/// All values of `name`, joined by commas; borrowed if there is only one.
pub fn joined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut values = headers.get_all(name).iter();
    let first = String::from_utf8_lossy(values.next()?.as_bytes());
    let Some(second) = values.next() else { return Some(first) };
    let mut all = first.into_owned();
    for value in std::iter::once(second).chain(values) {
        all.push(',');
        all.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    Some(Cow::Owned(all))
}

/// The first value of the query parameter `name` in `path`, decoded.
pub fn query_parameter<'a>(path: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, query) = path.split_once('?')?;
    let query = query.split_once('#').map_or(query, |(q, _)| q);
    query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| decoded(key) == name)
        .map(|(_, value)| decoded(value))
}

/// A header name.
pub(crate) fn header_name(at: &At<'_>, field: &str, name: &str) -> Result<HeaderName, ConfigError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| at.field(field).invalid(name, "a valid header name"))
}

/// An expression that must match a whole string.
pub(crate) fn full_regex(at: &At<'_>, proto: &types::RegexMatcher) -> Result<Regex, ConfigError> {
    regex(at, proto, |text| format!(r"\A(?:{text})\z"))
}

/// An expression that may match anywhere, and a substitution in the syntax of
/// the `regex` crate (`\1` becomes `${1}`).
pub(crate) fn substitution(
    at: &At<'_>,
    proto: &types::RegexMatchAndSubstitute,
) -> Result<(Regex, Box<str>), ConfigError> {
    let pattern = proto.pattern.as_ref().ok_or_else(|| at.field("pattern").missing("a regular expression"))?;
    let regex = regex(&at.field("pattern"), pattern, str::to_owned)?;
    let at = at.field("substitution");
    let mut out = String::new();
    let mut chars = proto.substitution.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.push_str("$$"),
            '\n' | '\r' | '\0' => return Err(at.invalid(proto.substitution.escape_debug(), "no line break and no NUL")),
            '\\' => match chars.next() {
                Some('\\') => out.push('\\'),
                Some(d) if d.is_ascii_digit() => {
                    let group = d as usize - '0' as usize;
                    if group >= regex.captures_len() {
                        return Err(
                            at.invalid(&proto.substitution, format!("groups up to \\{}", regex.captures_len() - 1))
                        );
                    }
                    out.push_str(&format!("${{{d}}}"));
                }
                _ => return Err(at.invalid(&proto.substitution, "a digit or a backslash after each backslash")),
            },
            c => out.push(c),
        }
    }
    Ok((regex, out.into()))
}

fn regex(at: &At<'_>, proto: &types::RegexMatcher, wrap: impl Fn(&str) -> String) -> Result<Regex, ConfigError> {
    // The engine type (google_re2) only carries deprecated limits.
    honour!(at, proto, types::RegexMatcher =>
        honour [regex]
        ignore [engine_type]
        refuse []
    );
    non_empty(at, "regex", &proto.regex)?;
    // Compiled bare first, so that a broken expression is reported as it was written.
    Regex::new(&proto.regex)
        .and_then(|_| Regex::new(&wrap(&proto.regex)))
        .map_err(|e| at.field("regex").rule(format!("{}: {e}", proto.regex)))
}

fn equal(a: &[u8], b: &[u8], fold: bool) -> bool {
    if fold { a.eq_ignore_ascii_case(b) } else { a == b }
}

fn decoded(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', ..) => out.push(b' '),
            (other, ..) => out.push(other),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

impl fmt::Display for HeaderRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => ":method",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Scheme => ":scheme",
            Self::Protocol => ":protocol",
            Self::Status => ":status",
            Self::Name(name) => name.as_str(),
        })
    }
}

/// As `explain` words it: `is exactly "v1"`.
impl fmt::Display for StringMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            StringMatch::Exact(p) => write!(f, "is exactly \"{p}\"")?,
            StringMatch::Prefix(p) => write!(f, "begins with \"{p}\"")?,
            StringMatch::Suffix(p) => write!(f, "ends with \"{p}\"")?,
            StringMatch::Contains(p) => write!(f, "contains \"{p}\"")?,
            StringMatch::Regex(r) => {
                let text = r.as_str();
                write!(
                    f,
                    "matches {}",
                    text.strip_prefix(r"\A(?:").and_then(|t| t.strip_suffix(r")\z")).unwrap_or(text)
                )?;
            }
        }
        if self.ignore_case { f.write_str(" in any case") } else { Ok(()) }
    }
}

/// As `explain` words it: `header x-user is exactly "v1"`.
impl fmt::Display for HeaderMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.invert { "not: " } else { "" };
        match &self.kind {
            HeaderMatch::Present(true) => write!(f, "{not}header {} is present", self.name),
            HeaderMatch::Present(false) => write!(f, "{not}header {} is absent", self.name),
            HeaderMatch::String(matcher) => write!(f, "{not}header {} {matcher}", self.name),
            HeaderMatch::Range(a, b) => write!(f, "{not}header {} is a number from {a} to below {b}", self.name),
        }
    }
}
