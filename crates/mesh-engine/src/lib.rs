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
//! hcm.prepare(&mut parts, &Downstream{..}, rng)     normalises path, host and forwarding headers, once
//! let table = hcm.routes.load()
//! match_route(&table, &RequestView::of(&parts), random) -> Matched or NoRoute (404, flag NR)
//! hcm.on_request(&matched, &parts, rng)             what the HTTP filters want: delay, reply
//! matched.action()                                  Forward | Redirect | Direct
//! matched.mutate_request(&mut parts, &facts)        headers, host and path rewrite
//! matched.timeouts(&parts.headers)                  route, per-try, idle, stream
//! clusters.get(matched.cluster(&parts.headers)?)    None: 503, flag NC
//! let permit = cluster.admit_request(priority)?     circuit breaker; Err: 503, flag UO
//! cluster.pick_endpoint(&PickContext{..}, rng)      -> Arc<Host> or PickError (503, flag UH)
//! let flight = host.begin_request()                 RAII: least request and admin count it
//! matched.mutate_response(&mut headers, &facts)     hcm.on_response(..)
//! ```
//! Per attempt that ended: `cluster.observe(&host, &Outcome, now)`; then
//! `RetryState::new(policy, &headers)`, `state.should_retry(&outcome)` and `state.backoff(rng)`. Per completion:
//! each `log` of `hcm.access_log`: `if log.wants(&facts, random) { log.write(&facts, &mut line) }`. Every second or
//! so `cluster.tick(now, rng)` for each cluster (un-ejection, success-rate ejection).
//!
//! [`explain`] runs the very same verbs on a synthetic request.
//!
//! **Invariant:** what a resource asks for is either done or refused by name ([`ConfigError`]); nothing that
//! changes meaning is dropped in silence.
//!
//! Deliberately absent: sockets, timers, connection pools, TLS (transport sockets are refused by name), name
//! resolution, and the order in which resources become active.
#![allow(deprecated)] // Envoy honours many fields that its protocol marks deprecated, so they must be looked at.

pub mod access_log;
pub mod balance;
pub mod cluster;
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
pub use runtime::{Clusters, Listeners, RouteSlot, Routes, RuntimeConfig};
pub use tcp::TcpProxy;
