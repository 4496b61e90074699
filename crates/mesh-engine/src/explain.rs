//! Where a request would go, and why: the proxy's own verbs, run on a request
//! that nobody sent.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use mesh_proto::origin::Origin;

use crate::endpoint::Health;
use crate::runtime::RuntimeConfig;

#[cfg(test)]
mod tests;
mod walk;

/// A connection, and for HTTP a request on it.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client's address.
    pub source: SocketAddr,
    /// Where the application sent it.
    pub destination: SocketAddr,
    /// The address the connection was captured to (as iptables would, for example `0.0.0.0:15001`); `None`: it came
    /// to the listener at `destination` itself.
    pub captured_by: Option<SocketAddr>,
    /// What is on the connection.
    pub traffic: Traffic,
}

/// What is on a connection.
#[derive(Debug, Clone)]
pub enum Traffic {
    /// Bytes.
    Tcp,
    /// TLS with this server name.
    Tls {
        /// SNI.
        server_name: Option<String>,
    },
    /// An HTTP request.
    Http(Box<Request>),
}

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// HTTP/2 (gRPC) or HTTP/1.1.
    pub http2: bool,
    /// Method.
    pub method: Method,
    /// Host, with its port if the URL has one.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Headers.
    pub headers: HeaderMap,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// What the request met, in order.
    pub steps: Vec<Step>,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Endpoints of the cluster (the likeliest, if there are several).
    pub endpoints: Vec<EndpointChance>,
}

/// One thing the request met.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What kind of thing.
    pub kind: StepKind,
    /// Its name.
    pub name: String,
    /// More, in words: what matched, the policy...
    pub detail: String,
    /// Candidates of the same kind that did not match, and why.
    pub rejected: Vec<NotMatched>,
    /// Which rule objects caused it.
    pub because: Vec<Origin>,
}

/// Kinds of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// A listener.
    Listener,
    /// A filter chain.
    FilterChain,
    /// A virtual host.
    VirtualHost,
    /// A route.
    Route,
    /// A cluster.
    Cluster,
    /// A cluster's endpoints.
    Endpoints,
}

impl StepKind {
    /// `listener`, `filter_chain`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::FilterChain => "filter_chain",
            Self::VirtualHost => "virtual_host",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoints => "endpoints",
        }
    }
}

/// A candidate that did not match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotMatched {
    /// Its name.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It goes to one of these clusters.
    Forward(Forward),
    /// The proxy answers.
    Respond {
        /// Status.
        status: StatusCode,
        /// Headers of the answer.
        headers: HeaderMap,
    },
    /// The connection is closed, or the request fails.
    Refuse {
        /// Status of the failure, for HTTP.
        status: Option<StatusCode>,
        /// Why.
        why: String,
    },
}

/// A request goes to a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Forward {
    /// Names and weights.
    pub clusters: Vec<(String, u32)>,
    /// Request headers as the endpoint sees them.
    pub headers: HeaderMap,
    /// Path as the endpoint sees it; empty for TCP.
    pub path: String,
    /// Host as the endpoint sees it; empty for TCP.
    pub authority: String,
    /// For the whole response; `None`: forever.
    pub timeout: Option<Duration>,
    /// Tries after the first.
    pub retries: u32,
    /// How long every request waits here first.
    pub delay: Option<Duration>,
    /// Clusters that get copies, and of how many requests in a million.
    pub mirrors: Vec<(String, u32)>,
}

/// An endpoint and how likely it is picked.
#[derive(Debug, Clone, PartialEq)]
pub struct EndpointChance {
    /// Where it is.
    pub address: SocketAddr,
    /// What the control plane says of its health.
    pub health: Health,
    /// Whether outlier detection has ejected it.
    pub ejected: bool,
    /// Its weight.
    pub weight: u32,
    /// Its priority.
    pub priority: u32,
    /// From 0 to 1, with no request in flight.
    pub probability: f64,
}

/// Runs the proxy's verbs on `question`.
///
/// Where chance decides, the likeliest way is shown: the heaviest of several
/// clusters, and faults only if they are certain.
pub fn explain(config: &RuntimeConfig, question: &Question) -> Explanation {
    walk::Walk::new(config, question).run()
}
