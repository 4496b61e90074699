//! What the proxy decides: xDS resources become a typed runtime configuration,
//! and a few verbs answer every question that a connection or a request asks.
//!
//! Nothing here awaits, reads a clock or draws entropy: `now` is an
//! [`Instant`](std::time::Instant) parameter and randomness a
//! [`rand::RngCore`] or a number. Readers never take a lock.
//!
//! # How a proxy uses it
//!
//! Configuration (one writer):
//! ```text
//! Listener::parse(&proto, &runtime.routes)   -> Arc<Listener> or ConfigError (the NACK text)
//! RouteTable::parse(&proto)                  -> RouteTable;        runtime.routes.set(table)
//! ClusterConfig::parse(&proto)               -> ClusterConfig;     runtime.clusters.upsert(config, endpoints)
//! LoadAssignment::parse(&proto)              -> LoadAssignment;    cluster.update_endpoints(&assignment)
//! DNS clusters: config.load_assignment.names() are to be resolved; assignment.resolve(lookup) is then
//! given to cluster.update_endpoints
//! ```
//! A listener that names a route table by RDS holds an [`Arc<RouteSlot>`](RouteSlot): an RDS update is seen by
//! the next request without rebuilding the listener. A [`Cluster`] lives as long as its name does, so an update
//! keeps in-flight counters and ejections of the hosts that remain.
//!
//! Per connection:
//! ```text
//! listeners.redirect_target(listener, dst)   a captured connection's own listener (use_original_dst)
//! listener.select_chain(&Connection{..})     -> Option<&Arc<FilterChain>>;  None: close the connection
//! chain.filter                               NetworkFilter::Http(hcm) | NetworkFilter::Tcp(tcp)
//! tcp.cluster(random)                        -> cluster name
//! ```
//! Per request:
//! ```text
//! hcm.prepare(&mut parts, &Downstream{..}, rng)     normalises path, host and forwarding headers, once; or a reply
//! let table = hcm.routes.load()                     None: 404, flag NR
//! match_route(&table, &RequestView::of(&parts), random) -> Matched or NoRoute (404, flag NR)
//! hcm.on_request(&matched, &parts, rng)             what the HTTP filters want: delay (flag DI), reply
//! matched.action()                                  Forward | Redirect (matched.location) | Direct | NonForwarding
//! matched.timeouts(&parts.headers, internal)        route, per-try, idle, stream
//! RetryState::new(policy, &parts.headers, internal) None: never retry
//! clusters.get(matched.cluster(&parts.headers)?)    None: forward.cluster_not_found, flag NC
//! matched.mutate_request(&mut parts, &facts)        headers, host and path rewrite
//! let permit = cluster.admit(Resource::Requests, priority, now)?   RAII; Err: 503, flag UO
//! cluster.pick_endpoint(&PickContext{..}, rng)      -> Arc<Host> or PickError (503, flag UH or DO)
//! if matched.auto_host_rewrite() { route::set_authority(&mut parts, hostname) }
//! let flight = host.begin_request()                 RAII: least request and admin count it
//! hcm.on_response(&matched, &request, &mut headers); matched.mutate_response(&mut headers, &facts)
//! ```
//! Per attempt that ended: `cluster.observe(&host, outcome, now, rng)`; then `state.should_retry(&result)`, a permit
//! for [`Resource::Retries`](balance::Resource::Retries), and `state.rate_limited_backoff(..)` or else
//! `state.backoff(rng)`. Per completion, for each `log` of `hcm.access_log`:
//! `if log.wants(&facts, random) { log.write(&facts, &mut line) }`. About every second `cluster.tick(now, rng)` for
//! each cluster (un-ejection, success-rate ejection, forgotten original destinations).
//!
//! [`explain`] runs the very same verbs on a synthetic request.
//!
//! **Invariant:** what a resource asks for is either done or refused by name ([`ConfigError`]); nothing that
//! changes meaning is dropped in silence.
//!
//! Deliberately absent: sockets, timers, connection pools, cryptography ([`tls`] says only what a handshake must be),
//! name resolution, and the order in which resources become active.
#![allow(deprecated)] // Envoy honours many fields that its protocol marks deprecated, so they must be looked at.

pub mod access_log;
pub mod balance;
pub mod cluster;
pub mod dynamic;
pub mod endpoint;
pub mod error;
pub mod explain;
pub mod flags;
pub mod format;
pub mod grpc;
pub(crate) mod hash;
pub mod hcm;
pub mod headers;
pub mod http_filter;
pub mod listener;
pub mod matcher;
pub mod outlier;
pub(crate) mod parse;
pub mod retry;
pub mod route;
pub mod runtime;
pub mod tcp;
pub mod tls;

pub use access_log::AccessLog;
pub use balance::{Cluster, Host, PickContext, PickError};
pub use cluster::ClusterConfig;
pub use endpoint::LoadAssignment;
pub use error::ConfigError;
pub use flags::ResponseFlags;
pub use format::Facts;
pub use hcm::HttpConnectionManager;
pub use listener::{Connection, FilterChain, Listener, NetworkFilter};
pub use outlier::Outcome;
pub use retry::{RetryPolicy, RetryState};
pub use route::{Matched, NoRoute, RequestView, RouteTable, match_route, trace_route};
pub use runtime::{Clusters, Listeners, RouteSlot, Routes, RuntimeConfig, Secrets};
pub use tcp::TcpProxy;
