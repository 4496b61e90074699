//! VirtualService: where requests for a host go.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/virtual-service/>

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::{Hostname, Labels, Meta, Name, Visibility};

/// Routes for some hosts.
#[derive(Debug, Clone, PartialEq)]
pub struct VirtualService {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// Hosts it is about, short names resolved; may begin with `*`.
    pub hosts: Vec<Hostname>,
    /// Gateways it is bound to, as `namespace/name`, or `mesh` for sidecars;
    /// never empty.
    pub gateways: Vec<Name>,
    /// Which namespaces see it.
    pub export_to: Visibility,
    /// Whose words its routes are, where that makes a difference.
    pub semantics: Semantics,
    /// HTTP routes; the first that matches is taken.
    pub http: Vec<HttpRoute>,
    /// Routes for TLS connections by server name, which stay encrypted.
    pub tls: Vec<ConnectionRoute>,
    /// Routes for all other connections.
    pub tcp: Vec<ConnectionRoute>,
}

impl VirtualService {
    /// Whether it has no hosts of its own: only a rule that delegates to it
    /// uses it.
    pub fn is_delegate(&self) -> bool {
        self.hosts.is_empty()
    }
}

/// A route for connections of which only addresses and the TLS server name are
/// known.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionRoute {
    /// Any of these must match; empty matches everything (`tcp` only).
    pub matches: Vec<ConnectionMatch>,
    /// Weights add up to more than 0; they have no header operations.
    pub destinations: Vec<WeightedDestination>,
}

/// Conditions on a connection that must all hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionMatch {
    /// TLS server names, which may begin with `*`; never empty in `tls`, always
    /// in `tcp`.
    pub sni_hosts: Vec<Hostname>,
    /// Networks that the client calls; empty: any.
    pub destination_subnets: Vec<IpNet>,
    /// Destination port.
    pub port: Option<u16>,
    /// Labels that the calling workload must have.
    pub source_labels: Labels,
    /// Namespace that the calling workload must be in.
    pub source_namespace: Option<Name>,
    /// Gateways it holds for, as in [`VirtualService::gateways`]; empty: the rule's own.
    pub gateways: Vec<Name>,
}

/// Whose words routes are. The same match means different things to different
/// authors.
///
/// Source: `UseGatewaySemantics`, `UseIngressSemantics`, istio
/// `pilot/pkg/model/virtualservice.go`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Semantics {
    /// A VirtualService: a prefix is a prefix of characters.
    #[default]
    Istio,
    /// A route of the Kubernetes Gateway API: a prefix ends where a path segment
    /// ends, a destination that does not exist answers 500, the prefix replaced
    /// by `/` is removed, and a mesh route holds for clients of its own
    /// namespace, or for all if it lies in the service's.
    GatewayApi,
    /// An Ingress: a prefix ends where a path segment ends.
    Ingress,
}

/// One HTTP route.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRoute {
    /// Its name; may be empty.
    pub name: Name,
    /// Any of these must match; empty matches everything.
    pub matches: Vec<HttpMatch>,
    /// What happens to a request that matches.
    pub action: HttpAction,
    /// `None` or zero: no limit (Istio's default).
    pub timeout: Option<Duration>,
    /// `None`: the mesh's default retry policy.
    pub retries: Option<Retries>,
    /// Header operations for all destinations.
    pub headers: Headers,
    /// What is done to requests on purpose, to see what becomes of it.
    pub fault: Option<Fault>,
    /// Who gets a copy of the requests; their answers are dropped.
    pub mirrors: Vec<Mirror>,
    /// Which pages of other origins may call.
    pub cors: Option<Cors>,
    /// Where the route stands, if that is not at its own place in the rule that
    /// carries it; see [`super::delegation`].
    pub origin: Option<RouteOrigin>,
}

/// Where a route that a rule carries was written.
#[derive(Debug, Clone, PartialEq)]
pub struct RouteOrigin {
    /// The object.
    pub meta: Arc<Meta>,
    /// Its place in that object's list of routes.
    pub index: usize,
}

/// Parts of a whole, in millionths: 0 to 1,000,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millionths(pub u32);

impl Millionths {
    /// All.
    pub const ALL: Self = Self(1_000_000);
}

/// Trouble made on purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Requests wait before they are sent on.
    pub delay: Option<(Duration, Millionths)>,
    /// Requests are answered with an error and not sent on.
    pub abort: Option<(AbortStatus, Millionths)>,
}

/// The error that an aborted request is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AbortStatus {
    /// 200 to 599.
    Http(u16),
    /// gRPC's number of its status.
    Grpc(u32),
}

/// Who gets copies, and of how many requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// How many; zero: none.
    pub share: Millionths,
}

/// Cross-origin resource sharing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cors {
    /// Origins that may call; empty: none.
    pub allow_origins: Vec<StringMatch>,
    /// Methods that may be used.
    pub allow_methods: Vec<Name>,
    /// Request headers that may be sent.
    pub allow_headers: Vec<Name>,
    /// Response headers that a page may read.
    pub expose_headers: Vec<Name>,
    /// How long an answer to a preflight may be remembered; whole seconds.
    pub max_age: Option<Duration>,
    /// Whether credentials may be sent; `None`: the answer does not say.
    pub allow_credentials: Option<bool>,
    /// Whether preflights of other origins are answered here, not sent on.
    pub ignore_unmatched_preflights: bool,
}

/// Conditions that must all hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HttpMatch {
    /// Its name; may be empty.
    pub name: Name,
    /// The path, without query.
    pub uri: Option<StringMatch>,
    /// Whether `uri` ignores case (exact and prefix only).
    pub ignore_uri_case: bool,
    /// `:scheme`
    pub scheme: Option<StringMatch>,
    /// `:method`
    pub method: Option<StringMatch>,
    /// `:authority`
    pub authority: Option<StringMatch>,
    /// Headers by lower-case name, sorted; [`StringMatch::Present`] asks only that it is there.
    pub headers: Vec<(Name, StringMatch)>,
    /// Headers that must not match, by lower-case name, sorted.
    pub without_headers: Vec<(Name, StringMatch)>,
    /// Claims of the request's JWT that must, or must not, have a value.
    pub claims: Vec<ClaimMatch>,
    /// Query parameters, sorted by name.
    pub query_params: Vec<(Name, StringMatch)>,
    /// Destination port.
    pub port: Option<u16>,
    /// Labels that the calling workload must have.
    pub source_labels: Labels,
    /// Namespace that the calling workload must be in.
    pub source_namespace: Option<Name>,
    /// Gateways it holds for, as in [`VirtualService::gateways`]; empty: the rule's own.
    pub gateways: Vec<Name>,
}

/// A condition on a claim of the request's JWT: its value, or one of its values
/// if it is a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMatch {
    /// The claim's name, or the names that lead to a nested one; never empty.
    pub path: Vec<Name>,
    /// What it must be.
    pub value: StringMatch,
    /// Whether it must not be that.
    pub without: bool,
}

/// How a string is compared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// Any value, but it must be there.
    Present,
    /// Equal.
    Exact(Name),
    /// Begins with it.
    Prefix(Name),
    /// The whole string matches this RE2 expression, which compiles.
    Regex(Name),
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum HttpAction {
    /// It is sent on.
    Route {
        /// Weights add up to more than 0; one destination may have weight 0.
        destinations: Vec<WeightedDestination>,
        /// How path and authority change on the way.
        rewrite: Option<Rewrite>,
    },
    /// It is answered with another address.
    Redirect(Redirect),
    /// It is answered as written here.
    DirectResponse {
        /// 200 to 599.
        status: u16,
        /// Body; empty for none.
        body: Vec<u8>,
    },
    /// The routes of another rule decide. Never in a
    /// [`RuleIndex`](crate::world::RuleIndex), where those routes stand instead.
    Delegate {
        /// Namespace of the rule.
        namespace: Name,
        /// Its name.
        name: Name,
        /// For routes that have none of their own.
        rewrite: Option<Rewrite>,
    },
}

/// A destination and its share.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedDestination {
    /// Where to.
    pub destination: Destination,
    /// Share of requests; a single destination without a weight has 100.
    pub weight: u32,
    /// Header operations for this destination alone.
    pub headers: Headers,
}

/// A service, or a subset of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Host, short names resolved.
    pub host: Hostname,
    /// Subset that a DestinationRule defines.
    pub subset: Option<Name>,
    /// Port; `None`: the only port, or the one that was called.
    pub port: Option<u16>,
}

/// Changes of path and authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// Replaces the matched prefix, or the whole path after an exact match.
    pub uri: Option<Name>,
    /// Replaces the authority.
    pub authority: Option<Name>,
    /// Replaces what a regular expression finds in the path: pattern and
    /// substitution.
    pub uri_regex: Option<(Name, Name)>,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// Replaces the whole path.
    pub uri: Option<Name>,
    /// Replaces only the matched prefix.
    pub prefix: Option<Name>,
    /// Replaces the authority.
    pub authority: Option<Name>,
    /// Replaces the port.
    pub port: Option<RedirectPort>,
    /// `http` or `https`.
    pub scheme: Option<Name>,
    /// 301, 302, 303, 307 or 308.
    pub code: u16,
}

/// Which port a redirect names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedirectPort {
    /// This one.
    Number(u16),
    /// The one of the request.
    FromRequest,
    /// The scheme's default.
    FromProtocol,
}

/// How failed requests are repeated.
#[derive(Debug, Clone, PartialEq)]
pub struct Retries {
    /// How often at most, besides the first time; 0 turns retries off.
    pub attempts: u32,
    /// Limit of each attempt; `None`: the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Envoy's `retry_on` words; empty: Istio's default. Sorted as written.
    pub retry_on: Vec<Name>,
    /// Status codes that are retried besides, from numbers in `retryOn`.
    pub retriable_status_codes: Vec<u32>,
    /// Base interval; `None`: 25 ms.
    pub backoff: Option<Duration>,
    /// Whether an attempt avoids hosts that failed before (default).
    pub ignore_previous_hosts: bool,
}

/// Header operations, in the order set, add, remove. Names are lower-case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers {
    /// On the request.
    pub request: HeaderOperations,
    /// On the response.
    pub response: HeaderOperations,
}

/// One side of [`Headers`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeaderOperations {
    /// Replace, sorted by name.
    pub set: Vec<(Name, Name)>,
    /// Append, sorted by name.
    pub add: Vec<(Name, Name)>,
    /// Remove, as written.
    pub remove: Vec<Name>,
}
