//! Matchers on what filters leave about a request.
//!
//! No filter of this proxy leaves anything yet, so that a value is always
//! absent: as in Envoy, every matcher says no to that, and an inverted one yes.
//! What a matcher asks for is read all the same, so that a bad one is refused.

use std::fmt;

use mesh_proto::envoy::r#type::matcher::v3 as types;
use mesh_proto::envoy::r#type::matcher::v3::list_matcher::MatchPattern as ListPattern;
use mesh_proto::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use mesh_proto::envoy::r#type::matcher::v3::value_matcher::MatchPattern as ValuePattern;

use super::StringMatcher;
use crate::error::{At, ConfigError};
use crate::parse::{honour, non_empty};

/// A parsed `MetadataMatcher`.
#[derive(Debug, Clone)]
pub struct MetadataMatcher {
    /// Which filter's words.
    pub filter: Box<str>,
    /// Keys that lead to the value; never empty.
    pub path: Vec<Box<str>>,
    /// The result is inverted.
    pub invert: bool,
}

impl MetadataMatcher {
    /// Reads a matcher.
    pub(crate) fn parse(at: &At<'_>, proto: &types::MetadataMatcher) -> Result<Self, ConfigError> {
        honour!(at, proto, types::MetadataMatcher =>
            honour [filter path value invert]
            ignore []
            refuse []
        );
        let mut path = Vec::with_capacity(proto.path.len());
        for (i, segment) in proto.path.iter().enumerate() {
            let at = at.index("path", i);
            match &segment.segment {
                Some(Segment::Key(key)) => path.push(non_empty(&at, "key", key)?.into()),
                None => return Err(at.missing("a key")),
            }
        }
        if path.is_empty() {
            return Err(at.field("path").missing("at least one key"));
        }
        let value = proto.value.as_ref().ok_or_else(|| at.field("value").missing("a value matcher"))?;
        check_value(&at.field("value"), value)?;
        Ok(Self { filter: non_empty(at, "filter", &proto.filter)?.into(), path, invert: proto.invert })
    }

    /// Whether it holds for a request about which no filter left anything.
    pub fn matches_absent(&self) -> bool {
        self.invert
    }
}

impl fmt::Display for MetadataMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = if self.invert { "no " } else { "" };
        write!(f, "{not}metadata {} {}", self.filter, self.path.join("."))
    }
}

/// Refuses what is no matcher, and `present_match: false`, which would be the
/// only one that an absent value could meet.
fn check_value(at: &At<'_>, proto: &types::ValueMatcher) -> Result<(), ConfigError> {
    match &proto.match_pattern {
        None => Err(at.missing("a match_pattern")),
        Some(ValuePattern::PresentMatch(false)) => Err(at.field("present_match").unsupported_value("false", "true")),
        Some(ValuePattern::StringMatch(text)) => StringMatcher::parse(&at.field("string_match"), text).map(drop),
        Some(ValuePattern::ListMatch(list)) => match &list.match_pattern {
            Some(ListPattern::OneOf(one)) => check_value(&at.field("list_match"), one),
            None => Err(at.field("list_match").missing("one_of")),
        },
        Some(ValuePattern::OrMatch(or)) => {
            let mut each = or.value_matchers.iter().enumerate();
            each.try_for_each(|(i, one)| check_value(&at.index("or_match", i), one))
        }
        Some(
            ValuePattern::NullMatch(_)
            | ValuePattern::DoubleMatch(_)
            | ValuePattern::BoolMatch(_)
            | ValuePattern::PresentMatch(true),
        ) => Ok(()),
    }
}
