//! Which requests are logged.

use mesh_proto::envoy::config::accesslog::v3 as xds;

use crate::error::{At, ConfigError};
use crate::flags::ResponseFlags;
use crate::format::Facts;
use crate::grpc;
use crate::matcher::HeaderMatcher;
use crate::parse;

/// An access-log filter.
#[derive(Debug, Clone)]
pub enum Filter {
    /// On the status; 0 if there is none.
    Status(Comparison),
    /// On the duration in milliseconds.
    Duration(Comparison),
    /// Not for health checks.
    NotHealthCheck,
    /// A share, in parts per million.
    Share(u32),
    /// All of them.
    And(Vec<Filter>),
    /// One of them.
    Or(Vec<Filter>),
    /// On a request header.
    Header(Box<HeaderMatcher>),
    /// One of these flags is set; `None`: any at all.
    Flags(Option<ResponseFlags>),
    /// The gRPC status is (or, excluded, is not) one of these.
    GrpcStatus(Vec<u32>, bool),
}

/// A comparison with a number.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    /// How.
    pub operation: Operation,
    /// With what.
    pub value: u64,
}

/// How numbers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Equal.
    Equal,
    /// At least.
    AtLeast,
    /// At most.
    AtMost,
    /// Not equal.
    NotEqual,
}

impl Comparison {
    fn holds(self, value: u64) -> bool {
        match self.operation {
            Operation::Equal => value == self.value,
            Operation::AtLeast => value >= self.value,
            Operation::AtMost => value <= self.value,
            Operation::NotEqual => value != self.value,
        }
    }

    fn parse(at: &At<'_>, proto: Option<&xds::ComparisonFilter>) -> Result<Self, ConfigError> {
        let proto = proto.ok_or_else(|| at.field("comparison").missing("a comparison"))?;
        let operation = match proto.op {
            0 => Operation::Equal,
            1 => Operation::AtLeast,
            2 => Operation::AtMost,
            3 => Operation::NotEqual,
            other => return Err(at.field("comparison").field("op").invalid(other, "EQ, GE, LE or NE")),
        };
        let value = proto.value.as_ref().ok_or_else(|| at.field("comparison").field("value").missing("a number"))?;
        Ok(Self { operation, value: value.default_value.into() })
    }
}

impl Filter {
    pub(super) fn parse(at: &At<'_>, proto: &xds::AccessLogFilter) -> Result<Self, ConfigError> {
        use xds::access_log_filter::FilterSpecifier as S;
        let list = |field: &str, filters: &[xds::AccessLogFilter]| -> Result<Vec<Self>, ConfigError> {
            if filters.len() < 2 {
                return Err(at.field(field).invalid(filters.len(), "at least 2 filters"));
            }
            filters.iter().enumerate().map(|(i, f)| Self::parse(&at.field(field).index("filters", i), f)).collect()
        };
        Ok(match &proto.filter_specifier {
            Some(S::StatusCodeFilter(f)) => {
                Self::Status(Comparison::parse(&at.field("status_code_filter"), f.comparison.as_ref())?)
            }
            Some(S::DurationFilter(f)) => {
                Self::Duration(Comparison::parse(&at.field("duration_filter"), f.comparison.as_ref())?)
            }
            Some(S::NotHealthCheckFilter(_)) => Self::NotHealthCheck,
            Some(S::RuntimeFilter(f)) => {
                let at = at.field("runtime_filter");
                match &f.percent_sampled {
                    Some(share) => Self::Share(parse::parts_per_million(&at.field("percent_sampled"), share)?),
                    None => Self::Share(0),
                }
            }
            Some(S::AndFilter(f)) => Self::And(list("and_filter", &f.filters)?),
            Some(S::OrFilter(f)) => Self::Or(list("or_filter", &f.filters)?),
            Some(S::HeaderFilter(f)) => {
                let at = at.field("header_filter");
                let header = f.header.as_ref().ok_or_else(|| at.field("header").missing("a matcher"))?;
                Self::Header(Box::new(HeaderMatcher::parse(&at.field("header"), header)?))
            }
            Some(S::ResponseFlagFilter(f)) => Self::Flags(flags(&at.field("response_flag_filter"), &f.flags)?),
            Some(S::GrpcStatusFilter(f)) => Self::GrpcStatus(f.statuses.iter().map(|s| *s as u32).collect(), f.exclude),
            Some(S::TraceableFilter(_)) => return Err(at.field("traceable_filter").unsupported()),
            Some(S::ExtensionFilter(_)) => return Err(at.field("extension_filter").unsupported()),
            Some(S::MetadataFilter(_)) => return Err(at.field("metadata_filter").unsupported()),
            Some(S::LogTypeFilter(_)) => return Err(at.field("log_type_filter").unsupported()),
            None => return Err(at.missing("a filter")),
        })
    }

    /// Whether the facts pass. `random` is any number.
    pub fn matches(&self, facts: &Facts<'_>, random: u64) -> bool {
        match self {
            Self::Status(comparison) => comparison.holds(u64::from(facts.response_code.unwrap_or(0))),
            Self::Duration(comparison) => {
                facts.duration.is_some_and(|d| comparison.holds(u64::try_from(d.as_millis()).unwrap_or(u64::MAX)))
            }
            // No health-check filter marks requests here.
            Self::NotHealthCheck => true,
            Self::Share(ppm) => random % 1_000_000 < u64::from(*ppm),
            Self::And(filters) => filters.iter().all(|f| f.matches(facts, random)),
            Self::Or(filters) => filters.iter().any(|f| f.matches(facts, random)),
            Self::Header(matcher) => facts.request.as_ref().is_some_and(|r| matcher.matches(r)),
            Self::Flags(None) => !facts.flags.is_empty(),
            Self::Flags(Some(flags)) => facts.flags.intersects(*flags),
            Self::GrpcStatus(statuses, exclude) => {
                let status = facts.response_trailers.and_then(grpc::status_of);
                let status = status.or_else(|| facts.response_headers.and_then(grpc::status_of));
                let status = status.unwrap_or_else(|| {
                    let code = facts.response_code.and_then(|c| http::StatusCode::from_u16(c).ok());
                    code.map_or(
                        UNKNOWN,
                        |c| if c == http::StatusCode::OK { UNKNOWN } else { grpc::status_from_http(c) },
                    )
                });
                statuses.contains(&status) != *exclude
            }
        }
    }
}

fn flags(at: &At<'_>, names: &[String]) -> Result<Option<ResponseFlags>, ConfigError> {
    let mut flags = ResponseFlags::NONE;
    for (i, name) in names.iter().enumerate() {
        let flag = ResponseFlags::from_short(name);
        flags.insert(flag.ok_or_else(|| at.index("flags", i).invalid(name, "a response flag such as UF"))?);
    }
    Ok((!names.is_empty()).then_some(flags))
}

/// gRPC's `UNKNOWN`.
const UNKNOWN: u32 = 2;
