//! Retries: whether another try is made, where, and after how long.
//!
//! Source: Envoy's documentation, "Router", `x-envoy-retry-on` and
//! `x-envoy-retry-grpc-on`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use mesh_proto::envoy::config::route::v3 as xds;
use rand::RngCore;

use crate::error::{At, ConfigError};
use crate::grpc;
use crate::matcher::{HeaderMatcher, header_name};
use crate::parse::{self, honour};
use crate::route::RequestView;

#[cfg(test)]
mod tests;

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

macro_rules! conditions {
    ($($bit:literal $name:ident $word:literal;)*) => {
        impl RetryOn {
            $( const $name: Self = Self(1 << $bit); )*
        }
        const WORDS: &[(&str, RetryOn)] = &[$( ($word, RetryOn::$name), )*];
    };
}

conditions! {
    0 FIVE_XX "5xx";
    1 GATEWAY_ERROR "gateway-error";
    2 RESET "reset";
    3 RESET_BEFORE_REQUEST "reset-before-request";
    4 CONNECT_FAILURE "connect-failure";
    5 RETRIABLE_4XX "retriable-4xx";
    6 REFUSED_STREAM "refused-stream";
    7 RETRIABLE_STATUS_CODES "retriable-status-codes";
    8 RETRIABLE_HEADERS "retriable-headers";
    9 RATE_LIMITED "envoy-ratelimited";
    10 HTTP3_POST_CONNECT_FAILURE "http3-post-connect-failure";
    11 GRPC_CANCELLED "cancelled";
    12 GRPC_DEADLINE_EXCEEDED "deadline-exceeded";
    13 GRPC_INTERNAL "internal";
    14 GRPC_RESOURCE_EXHAUSTED "resource-exhausted";
    15 GRPC_UNAVAILABLE "unavailable";
}

impl RetryOn {
    /// Reads a list of words, separated by commas. What is none of Envoy's
    /// words is ignored, as Envoy does.
    pub fn parse(words: &str) -> Self {
        let known = |word: &str| WORDS.iter().find(|(w, _)| *w == word).map_or(0, |(_, flag)| flag.0);
        Self(words.split(',').map(|word| known(word.trim())).fold(0, |set, flag| set | flag))
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is retried.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

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
    status_codes: Vec<u16>,
    remaining: u32,
    made: u32,
}

impl RetryState {
    /// Retries for a request with these headers. If `internal`, the headers
    /// `x-envoy-retry-on`, `x-envoy-retry-grpc-on`, `x-envoy-max-retries` and
    /// `x-envoy-retriable-status-codes` are obeyed. `None`: never retry.
    pub fn new(policy: Option<&Arc<RetryPolicy>>, headers: &HeaderMap, internal: bool) -> Option<Self> {
        let mut retry_on = policy.map(|p| p.retry_on).unwrap_or_default();
        let mut remaining = policy.map_or(RETRIES_DEFAULT, |p| p.num_retries);
        let mut status_codes = Vec::new();
        if internal {
            let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
            for words in [text("x-envoy-retry-on"), text("x-envoy-retry-grpc-on")].into_iter().flatten() {
                retry_on.0 |= RetryOn::parse(words).0;
            }
            if let Some(n) = text("x-envoy-max-retries").and_then(|n| n.trim().parse().ok()) {
                remaining = n;
            }
            if let Some(codes) = text("x-envoy-retriable-status-codes") {
                status_codes = codes.split(',').filter_map(|c| c.trim().parse().ok()).collect();
            }
        }
        if let Some(policy) = policy
            && !policy.retriable_request_headers.is_empty()
        {
            let method = http::Method::GET;
            let view = RequestView { method: &method, authority: "", path: "", scheme: "http", headers };
            if !policy.retriable_request_headers.iter().any(|h| h.matches(&view)) {
                return None;
            }
        }
        (!retry_on.is_empty() && remaining > 0).then(|| Self {
            policy: policy.cloned(),
            retry_on,
            status_codes,
            remaining,
            made: 0,
        })
    }

    /// Whether a try that ended so is followed by another. Counts it if so;
    /// the caller must hold a retry permit of the cluster's circuit breaker
    /// before it goes on.
    pub fn should_retry(&mut self, result: &TryResult<'_>) -> Retry {
        if !self.is_retriable(result) {
            return Retry::NotRetriable;
        }
        if self.remaining == 0 {
            return Retry::LimitExceeded;
        }
        self.remaining -= 1;
        self.made += 1;
        Retry::Yes
    }

    fn is_retriable(&self, result: &TryResult<'_>) -> bool {
        let on = |flags: &[RetryOn]| flags.iter().any(|f| self.retry_on.has(*f));
        match result {
            TryResult::Response { status, headers } => self.is_retriable_response(*status, headers),
            TryResult::ConnectFailure => on(&[
                RetryOn::FIVE_XX,
                RetryOn::GATEWAY_ERROR,
                RetryOn::RESET,
                RetryOn::CONNECT_FAILURE,
                RetryOn::RESET_BEFORE_REQUEST,
            ]),
            TryResult::Refused => {
                on(&[RetryOn::FIVE_XX, RetryOn::GATEWAY_ERROR, RetryOn::RESET, RetryOn::REFUSED_STREAM])
            }
            TryResult::Reset { request_sent } => {
                on(&[RetryOn::FIVE_XX, RetryOn::GATEWAY_ERROR, RetryOn::RESET])
                    || (!request_sent && on(&[RetryOn::RESET_BEFORE_REQUEST]))
            }
            TryResult::PerTryTimeout => on(&[RetryOn::FIVE_XX, RetryOn::GATEWAY_ERROR, RetryOn::RESET]),
            TryResult::Overflow => false,
        }
    }

    fn is_retriable_response(&self, status: StatusCode, headers: &HeaderMap) -> bool {
        // An upstream proxy that says it is rate limited is left alone unless asked otherwise.
        if headers.contains_key("x-envoy-ratelimited") {
            return self.retry_on.has(RetryOn::RATE_LIMITED);
        }
        let code = status.as_u16();
        let listed = |codes: &[u16]| codes.contains(&code);
        let by_policy = |p: &RetryPolicy| {
            (self.retry_on.has(RetryOn::RETRIABLE_STATUS_CODES) && listed(&p.retriable_status_codes))
                || (self.retry_on.has(RetryOn::RETRIABLE_HEADERS)
                    && p.retriable_headers.iter().any(|h| h.matches_response(status, headers)))
        };
        (self.retry_on.has(RetryOn::FIVE_XX) && code >= 500)
            || (self.retry_on.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&code))
            || (self.retry_on.has(RetryOn::RETRIABLE_4XX) && code == 409)
            || self.policy.as_deref().is_some_and(by_policy)
            || (self.retry_on.has(RetryOn::RETRIABLE_STATUS_CODES) && listed(&self.status_codes))
            || grpc::status_of(headers).is_some_and(|status| self.is_retriable_grpc(status))
    }

    fn is_retriable_grpc(&self, status: u32) -> bool {
        let flag = match status {
            1 => RetryOn::GRPC_CANCELLED,
            4 => RetryOn::GRPC_DEADLINE_EXCEEDED,
            8 => RetryOn::GRPC_RESOURCE_EXHAUSTED,
            13 => RetryOn::GRPC_INTERNAL,
            14 => RetryOn::GRPC_UNAVAILABLE,
            _ => return false,
        };
        self.retry_on.has(flag)
    }

    /// How long to wait before the try that [`Self::should_retry`] allowed:
    /// fully jittered, from nothing up to `(2^n - 1)` times the base interval,
    /// at most the longest interval.
    pub fn backoff(&self, rng: &mut impl RngCore) -> Duration {
        let (base, max) =
            self.policy.as_ref().map_or((BASE_DEFAULT, BASE_DEFAULT * 10), |p| (p.base_interval, p.max_interval));
        let factor = (1u32 << self.made.clamp(1, DOUBLINGS_MAX)) - 1;
        let ceiling = base.saturating_mul(factor).min(max);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(((u128::from(rng.next_u64()) * u128::from(nanos)) >> 64) as u64)
    }

    /// How long the response itself asks to wait, if the policy obeys it and
    /// the response does ask. `now_unix` is wall-clock time since 1970.
    pub fn rate_limited_backoff(
        &self,
        headers: &HeaderMap,
        now_unix: Duration,
        rng: &mut impl RngCore,
    ) -> Option<Duration> {
        let limited = self.policy.as_ref()?.rate_limited.as_ref()?;
        let ask = |(name, format): &(http::HeaderName, ResetFormat)| {
            let value: u64 = headers.get(name)?.to_str().ok()?.trim().parse().ok()?;
            let wait = match format {
                ResetFormat::Seconds => Duration::from_secs(value),
                ResetFormat::UnixTimestamp => Duration::from_secs(value).checked_sub(now_unix)?,
            };
            (wait <= limited.max_interval).then_some(wait)
        };
        let wait = limited.reset_headers.iter().find_map(ask)?;
        // Up to half as long again, so that not everybody comes back at once.
        Some(wait + wait.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX) / 2.0))
    }

    /// Tries that may still be made.
    pub fn limit(&self) -> u32 {
        self.remaining
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

impl RetryPolicy {
    /// Reads a policy.
    pub(crate) fn parse(at: &At<'_>, proto: &xds::RetryPolicy) -> Result<Self, ConfigError> {
        honour!(at, proto, xds::RetryPolicy =>
            honour [
                retry_on num_retries per_try_timeout per_try_idle_timeout retry_host_predicate
                host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off
                retriable_headers retriable_request_headers
            ]
            ignore []
            refuse [retry_priority retry_options_predicates refresh_cluster_on_retry]
        );
        let (base_interval, max_interval) = backoff(&at.field("retry_back_off"), proto.retry_back_off.as_ref())?;
        let matchers = |field: &str, list: &[xds::HeaderMatcher]| -> Result<Vec<HeaderMatcher>, ConfigError> {
            list.iter().enumerate().map(|(i, h)| HeaderMatcher::parse(&at.index(field, i), h)).collect()
        };
        let mut retriable_status_codes = Vec::new();
        for code in &proto.retriable_status_codes {
            let code = u16::try_from(*code).ok().filter(|c| (100..600).contains(c));
            retriable_status_codes.push(code.ok_or_else(|| {
                at.field("retriable_status_codes")
                    .invalid(format_args!("{:?}", proto.retriable_status_codes), "100 to 599")
            })?);
        }
        let attempts = u32::try_from(proto.host_selection_retry_max_attempts).unwrap_or(0).min(HOST_ATTEMPTS_MAX);
        let per_try = parse::duration(at, "per_try_timeout", proto.per_try_timeout.as_ref())?;
        let per_try_idle = parse::duration(at, "per_try_idle_timeout", proto.per_try_idle_timeout.as_ref())?;
        Ok(Self {
            retry_on: RetryOn::parse(&proto.retry_on),
            num_retries: parse::u32_or(proto.num_retries.as_ref(), RETRIES_DEFAULT),
            per_try_timeout: parse::zero_disables(per_try, None),
            per_try_idle_timeout: parse::zero_disables(per_try_idle, None),
            retriable_status_codes,
            retriable_headers: matchers("retriable_headers", &proto.retriable_headers)?,
            retriable_request_headers: matchers("retriable_request_headers", &proto.retriable_request_headers)?,
            base_interval,
            max_interval,
            avoid_previous_hosts: previous_hosts(at, &proto.retry_host_predicate)?,
            host_selection_attempts: if attempts == 0 { HOST_ATTEMPTS_DEFAULT } else { attempts },
            rate_limited: rate_limited(
                &at.field("rate_limited_retry_back_off"),
                proto.rate_limited_retry_back_off.as_ref(),
            )?,
        })
    }
}

fn backoff(at: &At<'_>, proto: Option<&xds::retry_policy::RetryBackOff>) -> Result<(Duration, Duration), ConfigError> {
    let Some(proto) = proto else { return Ok((BASE_DEFAULT, BASE_DEFAULT * 10)) };
    let base = parse::positive_duration(at, "base_interval", proto.base_interval.as_ref())?
        .ok_or_else(|| at.field("base_interval").missing("a duration greater than 0s"))?;
    // Envoy counts in milliseconds.
    let base = base.max(Duration::from_millis(1));
    let max = parse::positive_duration(at, "max_interval", proto.max_interval.as_ref())?;
    let max = max.unwrap_or(base.saturating_mul(10));
    if max < base {
        return Err(at.rule("retry_policy.max_interval must greater than or equal to the base_interval"));
    }
    Ok((base, max))
}

fn previous_hosts(at: &At<'_>, predicates: &[xds::retry_policy::RetryHostPredicate]) -> Result<bool, ConfigError> {
    use xds::retry_policy::retry_host_predicate::ConfigType;
    for (i, predicate) in predicates.iter().enumerate() {
        let type_url = match &predicate.config_type {
            Some(ConfigType::TypedConfig(any)) => any.type_url.as_str(),
            None => "",
        };
        let name = mesh_proto::any::message_name(type_url);
        if name != PREVIOUS_HOSTS
            && !(name.is_empty() && predicate.name == "envoy.retry_host_predicates.previous_hosts")
        {
            return Err(parse::unknown_extension(&at.index("retry_host_predicate", i), &predicate.name, type_url));
        }
    }
    Ok(!predicates.is_empty())
}

fn rate_limited(
    at: &At<'_>,
    proto: Option<&xds::retry_policy::RateLimitedRetryBackOff>,
) -> Result<Option<RateLimitedBackoff>, ConfigError> {
    let Some(proto) = proto else { return Ok(None) };
    if proto.reset_headers.is_empty() {
        return Err(at.field("reset_headers").missing("at least one header"));
    }
    let mut reset_headers = Vec::new();
    for (i, header) in proto.reset_headers.iter().enumerate() {
        let at = at.index("reset_headers", i);
        let format = match header.format {
            0 => ResetFormat::Seconds,
            1 => ResetFormat::UnixTimestamp,
            other => return Err(at.field("format").invalid(other, "SECONDS or UNIX_TIMESTAMP")),
        };
        reset_headers.push((header_name(&at, "name", &header.name)?, format));
    }
    let max = parse::positive_duration(at, "max_interval", proto.max_interval.as_ref())?;
    Ok(Some(RateLimitedBackoff { reset_headers, max_interval: max.unwrap_or(RESET_MAX_DEFAULT) }))
}

const RETRIES_DEFAULT: u32 = 1;
const BASE_DEFAULT: Duration = Duration::from_millis(25);
/// Past this many doublings the longest interval holds in any case.
const DOUBLINGS_MAX: u32 = 20;
const HOST_ATTEMPTS_DEFAULT: u32 = 1;
/// Bounds the work of one pick.
const HOST_ATTEMPTS_MAX: u32 = 64;
const RESET_MAX_DEFAULT: Duration = Duration::from_secs(300);
const PREVIOUS_HOSTS: &str = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
