//! Matchers on strings, headers and query parameters, as routes, access-log
//! filters and retry policies use them.

use std::fmt;

use http::HeaderName;
use regex::Regex;

/// A string matcher.
#[derive(Debug, Clone)]
pub struct StringMatcher {
    /// What is compared.
    pub kind: StringMatch,
    /// ASCII case makes no difference. Never set for regular expressions.
    pub ignore_case: bool,
}

/// Kinds of string match. With `ignore_case` the pattern is in lower case.
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
