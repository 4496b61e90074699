//! Retries: whether another try is made, where, and after how long.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use rand::RngCore;

use crate::matcher::HeaderMatcher;

/// A parsed `RetryPolicy`.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// What is retried.
    pub retry_on: RetryOn,
    /// Tries after the first (default 1).
    pub num_retries: u32,
    /// For one try; `None`: the route's timeout alone.
    pub per_try_timeout: Option<Duration>,
    /// For one try without a byte of response.
    pub per_try_idle_timeout: Option<Duration>,
    /// For `retriable-status-codes`.
    pub retriable_status_codes: Vec<u16>,
    /// Response headers for `retriable-headers`.
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Only requests with one of these headers are retried; empty: all.
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// First backoff interval (default 25 ms).
    pub base_interval: Duration,
    /// Longest (default ten times the first).
    pub max_interval: Duration,
    /// Hosts tried before are avoided.
    pub avoid_previous_hosts: bool,
    /// Picks before a host that was tried before is taken nevertheless (default 1).
    pub host_selection_attempts: u32,
    /// Headers that say when to come back.
    pub rate_limited: Option<RateLimitedBackoff>,
}

/// `RateLimitedRetryBackOff`
#[derive(Debug, Clone)]
pub struct RateLimitedBackoff {
    /// In order; the first that is there counts.
    pub reset_headers: Vec<(http::HeaderName, ResetFormat)>,
    /// Longer waits are not obeyed (default 300 s).
    pub max_interval: Duration,
}

/// What a reset header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetFormat {
    /// Seconds to wait.
    Seconds,
    /// A Unix time.
    UnixTimestamp,
}

/// A set of `retry_on` conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryOn(pub(crate) u32);

/// How a try ended, as far as retries are concerned.
#[derive(Debug, Clone, Copy)]
pub enum TryResult<'a> {
    /// Response headers came. Nothing went downstream yet.
    Response {
        /// Status.
        status: StatusCode,
        /// Headers; `grpc-status` in them means a trailers-only response.
        headers: &'a HeaderMap,
    },
    /// No connection could be made; nothing was sent.
    ConnectFailure,
    /// The stream was refused before it was processed (HTTP/2 `REFUSED_STREAM`, or a GOAWAY below its id).
    Refused,
    /// The stream or connection was reset before response headers came.
    Reset {
        /// Whether any of the request had been sent (for `reset-before-request`).
        request_sent: bool,
    },
    /// The per-try timeout ran out.
    PerTryTimeout,
    /// A circuit breaker or the like was in the way: never retried.
    Overflow,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Yes.
    Yes,
    /// The end is not one that is retried.
    NotRetriable,
    /// It is, but all tries are used up: flag URX.
    LimitExceeded,
}

/// The retries of one request.
#[derive(Debug, Clone)]
pub struct RetryState {
    policy: Option<Arc<RetryPolicy>>,
    retry_on: RetryOn,
    remaining: u32,
    made: u32,
}

impl RetryState {
    /// Retries for a request with these headers. If `internal`, the headers
    /// `x-envoy-retry-on`, `x-envoy-retry-grpc-on` and `x-envoy-max-retries`
    /// are obeyed. `None`: never retry.
    pub fn new(policy: Option<&Arc<RetryPolicy>>, headers: &HeaderMap, internal: bool) -> Option<Self> {
        let _ = (policy, headers, internal);
        None
    }

    /// Whether a try that ended so is followed by another. Counts it if so;
    /// the caller must hold a retry permit of the cluster's circuit breaker
    /// before it goes on.
    pub fn should_retry(&mut self, result: &TryResult<'_>) -> Retry {
        let _ = (result, self.retry_on, self.remaining);
        Retry::NotRetriable
    }

    /// How long to wait before the try that [`Self::should_retry`] allowed.
    pub fn backoff(&self, rng: &mut impl RngCore) -> Duration {
        let _ = rng;
        Duration::ZERO
    }

    /// Tries allowed so far after the first.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// The policy.
    pub fn policy(&self) -> Option<&RetryPolicy> {
        self.policy.as_deref()
    }
}
