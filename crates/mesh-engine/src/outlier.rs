//! Outlier detection: hosts that answer badly are set aside for a while.

use std::time::Duration;

use mesh_proto::envoy::config::cluster::v3 as xds;

use crate::error::{At, ConfigError};
use crate::parse::{self, honour};

mod detect;
mod errors;
#[cfg(test)]
mod tests;

pub use errors::ErrorStatuses;

pub(crate) use detect::{Monitor, Timer, eject};

/// A parsed `OutlierDetection`. Shares are in percent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutlierConfig {
    /// Errors in a row (status 5xx, or gateway failures and local ones) before ejection.
    pub consecutive_5xx: u32,
    /// How likely that is then carried out.
    pub enforcing_consecutive_5xx: u32,
    /// Gateway errors (502, 503, 504) in a row before ejection.
    pub consecutive_gateway_failure: u32,
    /// How likely that is then carried out.
    pub enforcing_consecutive_gateway_failure: u32,
    /// Connection failures and timeouts are counted apart from statuses.
    pub split_external_local_origin_errors: bool,
    /// Local failures in a row before ejection, if counted apart.
    pub consecutive_local_origin_failure: u32,
    /// How likely that is then carried out.
    pub enforcing_consecutive_local_origin_failure: u32,
    /// Time between analyses.
    pub interval: Duration,
    /// First ejection lasts this long; the n-th n times that.
    pub base_ejection_time: Duration,
    /// No ejection lasts longer.
    pub max_ejection_time: Duration,
    /// Up to this much is added at random.
    pub max_ejection_time_jitter: Duration,
    /// At most this share of hosts is out at once.
    pub max_ejection_percent: u32,
    /// But one may always be.
    pub always_eject_one_host: bool,
    /// How likely a success-rate ejection is carried out.
    pub enforcing_success_rate: u32,
    /// The same for local failures, if counted apart.
    pub enforcing_local_origin_success_rate: u32,
    /// Hosts with enough requests that success rate needs.
    pub success_rate_minimum_hosts: u32,
    /// Requests in an interval that a host needs.
    pub success_rate_request_volume: u32,
    /// Times a thousand: how many standard deviations below the mean is an outlier.
    pub success_rate_stdev_factor: u32,
    /// Share of failures that is an outlier.
    pub failure_percentage_threshold: u32,
    /// How likely that is then carried out.
    pub enforcing_failure_percentage: u32,
    /// The same for local failures, if counted apart.
    pub enforcing_failure_percentage_local_origin: u32,
    /// Hosts with enough requests that failure percentage needs.
    pub failure_percentage_minimum_hosts: u32,
    /// Requests in an interval that a host needs.
    pub failure_percentage_request_volume: u32,
}

/// How a try or connection ended, as far as the host is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response with this status. gRPC: see [`crate::grpc::http_from_status`].
    Status(u16),
    /// A TCP connection was made (TCP proxy).
    Connected,
    /// No connection could be made.
    ConnectFailure,
    /// The connection or stream broke before a response.
    Reset,
    /// A timeout of ours ran out.
    Timeout,
}

/// An ejection or its end, for the event log and statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A host was ejected for this reason.
    Ejected(Reason),
    /// It would have been, but the enforcing percentage or the maximum share forbade it.
    NotEnforced(Reason),
    /// A host came back.
    Returned,
}

/// Why a host is an outlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Errors in a row.
    Consecutive5xx,
    /// Gateway errors in a row.
    ConsecutiveGatewayFailure,
    /// Local failures in a row.
    ConsecutiveLocalOriginFailure,
    /// Success rate far below the mean.
    SuccessRate,
    /// The same, of local failures.
    SuccessRateLocalOrigin,
    /// Share of failures.
    FailurePercentage,
    /// The same, of local failures.
    FailurePercentageLocalOrigin,
}

/// Reads an outlier detection.
pub(crate) fn parse(at: &At<'_>, proto: &xds::OutlierDetection) -> Result<OutlierConfig, ConfigError> {
    honour!(at, proto, xds::OutlierDetection =>
        honour [
            consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx
            enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor
            consecutive_gateway_failure enforcing_consecutive_gateway_failure split_external_local_origin_errors
            consecutive_local_origin_failure enforcing_consecutive_local_origin_failure
            enforcing_local_origin_success_rate failure_percentage_threshold enforcing_failure_percentage
            enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts
            failure_percentage_request_volume max_ejection_time max_ejection_time_jitter always_eject_one_host
        ]
        // Of no effect without active health checks, and those are refused.
        ignore [successful_active_health_check_uneject_host]
        refuse [monitors detect_degraded_hosts]
    );
    macro_rules! percent {
        ($field:ident, $default:expr) => {
            parse::percent_u32(at, stringify!($field), proto.$field.as_ref(), $default)?
        };
    }
    macro_rules! number {
        ($field:ident, $default:expr) => {
            parse::u32_or(proto.$field.as_ref(), $default)
        };
    }
    let (base_ejection_time, max_ejection_time) = ejection_times(at, proto)?;
    let jitter = parse::duration(at, "max_ejection_time_jitter", proto.max_ejection_time_jitter.as_ref())?;
    Ok(OutlierConfig {
        consecutive_5xx: number!(consecutive_5xx, 5),
        enforcing_consecutive_5xx: percent!(enforcing_consecutive_5xx, 100),
        consecutive_gateway_failure: number!(consecutive_gateway_failure, 5),
        enforcing_consecutive_gateway_failure: percent!(enforcing_consecutive_gateway_failure, 0),
        split_external_local_origin_errors: proto.split_external_local_origin_errors,
        consecutive_local_origin_failure: number!(consecutive_local_origin_failure, 5),
        enforcing_consecutive_local_origin_failure: percent!(enforcing_consecutive_local_origin_failure, 100),
        interval: parse::positive_duration(at, "interval", proto.interval.as_ref())?.unwrap_or(INTERVAL_DEFAULT),
        base_ejection_time,
        max_ejection_time,
        max_ejection_time_jitter: jitter.unwrap_or_default(),
        max_ejection_percent: percent!(max_ejection_percent, 10),
        always_eject_one_host: parse::bool_or(proto.always_eject_one_host.as_ref(), false),
        enforcing_success_rate: percent!(enforcing_success_rate, 100),
        enforcing_local_origin_success_rate: percent!(enforcing_local_origin_success_rate, 100),
        success_rate_minimum_hosts: number!(success_rate_minimum_hosts, 5),
        success_rate_request_volume: number!(success_rate_request_volume, 100),
        success_rate_stdev_factor: number!(success_rate_stdev_factor, 1900),
        failure_percentage_threshold: percent!(failure_percentage_threshold, 85),
        enforcing_failure_percentage: percent!(enforcing_failure_percentage, 0),
        enforcing_failure_percentage_local_origin: percent!(enforcing_failure_percentage_local_origin, 0),
        failure_percentage_minimum_hosts: number!(failure_percentage_minimum_hosts, 5),
        failure_percentage_request_volume: number!(failure_percentage_request_volume, 50),
    })
}

/// First and longest ejection time.
fn ejection_times(at: &At<'_>, proto: &xds::OutlierDetection) -> Result<(Duration, Duration), ConfigError> {
    let base = parse::positive_duration(at, "base_ejection_time", proto.base_ejection_time.as_ref())?;
    let base = base.unwrap_or(BASE_DEFAULT);
    let max = parse::positive_duration(at, "max_ejection_time", proto.max_ejection_time.as_ref())?;
    let max = max.unwrap_or(MAX_DEFAULT.max(base));
    if max < base {
        return Err(at.rule("outlier detector's max_ejection_time cannot be smaller than base_ejection_time"));
    }
    Ok((base, max))
}

const INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
const BASE_DEFAULT: Duration = Duration::from_secs(30);
const MAX_DEFAULT: Duration = Duration::from_secs(300);
