//! Response flags: why a request or connection ended as it did, in Envoy's
//! words.

use std::fmt;

/// A set of response flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($bit:literal $name:ident $short:literal $long:literal $doc:literal;)*) => {
        impl ResponseFlags {
            $( #[doc = $doc] pub const $name: Self = Self(1 << $bit); )*
        }
        /// Every flag with its short and long name, in the order in which they are written.
        pub const ALL: &[(ResponseFlags, &str, &str)] = &[$( (ResponseFlags::$name, $short, $long), )*];
    };
}

flags! {
    0 FAILED_LOCAL_HEALTH_CHECK "LH" "FailedLocalHealthCheck" "Local service failed its health check.";
    1 NO_HEALTHY_UPSTREAM "UH" "NoHealthyUpstream" "No healthy host in the cluster.";
    2 UPSTREAM_REQUEST_TIMEOUT "UT" "UpstreamRequestTimeout" "The route or try timeout ran out.";
    3 LOCAL_RESET "LR" "LocalReset" "The stream was reset here.";
    4 UPSTREAM_REMOTE_RESET "UR" "UpstreamRemoteReset" "The upstream reset the stream.";
    5 UPSTREAM_CONNECTION_FAILURE "UF" "UpstreamConnectionFailure" "No connection to the upstream.";
    6 UPSTREAM_CONNECTION_TERMINATION "UC" "UpstreamConnectionTermination" "The upstream closed the connection.";
    7 UPSTREAM_OVERFLOW "UO" "UpstreamOverflow" "A circuit breaker is open.";
    8 NO_ROUTE_FOUND "NR" "NoRouteFound" "No route, or no filter chain, matched.";
    9 DELAY_INJECTED "DI" "DelayInjected" "A fault rule delayed the request.";
    10 FAULT_INJECTED "FI" "FaultInjected" "A fault rule answered the request.";
    11 RATE_LIMITED "RL" "RateLimited" "Rate limited.";
    12 UNAUTHORIZED "UAEX" "UnauthorizedExternalService" "Denied by an external authorizer.";
    13 RATE_LIMIT_SERVICE_ERROR "RLSE" "RateLimitServiceError" "The rate limit service failed.";
    14 DOWNSTREAM_CONNECTION_TERMINATION "DC" "DownstreamConnectionTermination" "The client went away.";
    15 UPSTREAM_RETRY_LIMIT_EXCEEDED "URX" "UpstreamRetryLimitExceeded" "All retries or connect attempts were used up.";
    16 STREAM_IDLE_TIMEOUT "SI" "StreamIdleTimeout" "The stream idle timeout ran out.";
    17 INVALID_REQUEST_HEADERS "IH" "InvalidEnvoyRequestHeaders" "A strictly checked request header is invalid.";
    18 DOWNSTREAM_PROTOCOL_ERROR "DPE" "DownstreamProtocolError" "The client broke the protocol.";
    19 UPSTREAM_MAX_STREAM_DURATION_REACHED "UMSDR" "UpstreamMaxStreamDurationReached" "The upstream stream lived too long.";
    20 NO_FILTER_CONFIG_FOUND "NFCF" "NoFilterConfigFound" "A filter's configuration is missing.";
    21 DURATION_TIMEOUT "DT" "DurationTimeout" "The connection lived too long.";
    22 UPSTREAM_PROTOCOL_ERROR "UPE" "UpstreamProtocolError" "The upstream broke the protocol.";
    23 NO_CLUSTER_FOUND "NC" "NoClusterFound" "The route's cluster is not known.";
    24 OVERLOAD_MANAGER "OM" "OverloadManagerTerminated" "Ended because of overload here.";
    25 DNS_RESOLUTION_FAILED "DF" "DnsResolutionFailed" "The upstream's name did not resolve.";
    26 DROP_OVERLOAD "DO" "DropOverload" "Dropped by the endpoints' drop_overloads policy.";
}

impl ResponseFlags {
    /// No flag.
    pub const NONE: Self = Self(0);

    /// This set and `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds `other`.
    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a flag of `other` is set.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether none is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flag whose short name is `short`.
    pub fn from_short(short: &str) -> Option<Self> {
        ALL.iter().find(|(_, s, _)| *s == short).map(|(flag, _, _)| *flag)
    }

    /// The long names, separated by commas; `-` if there are none.
    pub fn long(self) -> String {
        let names: Vec<&str> = ALL.iter().filter(|(f, _, _)| self.contains(*f)).map(|(_, _, l)| *l).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(",") }
    }
}

/// The short names, separated by commas; `-` if there are none.
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (flag, short, _) in ALL {
            if self.contains(*flag) {
                if !first {
                    f.write_str(",")?;
                }
                f.write_str(short)?;
                first = false;
            }
        }
        if first { f.write_str("-") } else { Ok(()) }
    }
}
