//! Outlier detection: hosts that answer badly are set aside for a while.

use std::time::Duration;

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
