//! From a mesh to the xDS resources of one proxy, purely and in sorted order.
//!
//! ```text
//! MeshSnapshot + Proxy ── scope ──► ProxyScope ── clusters, listeners, routes ──► ProxyResources
//!                                   (Eq + Hash:        (encoded once,              (type URL ->
//!                                   the cache key)      shared by scope)            ResourceSet)
//! ```
//!
//! [`Translator::resources`] is the one verb. A [`ProxyScope`] holds everything
//! that translation reads; proxies with equal scopes share every byte.
//!
//! Invariant: equal scopes give equal bytes, in every process. A rule that
//! cannot be honoured costs that rule alone and is said in a
//! [`mesh_model::Diagnostic`]. Nothing that unmodified Envoy lacks is emitted.
//!
//! Deliberately absent: the xDS protocol (`mesh-xds`), the clock, the network,
//! and certificates.

mod cluster;
mod destination;
mod endpoint;
mod envoy_filter;
mod features;
mod grpc;
mod http_filters;
mod listener;
mod memo;
mod mutual_tls;
mod place;
mod proxy;
mod resources;
mod route;
mod rules;
mod scope;
mod telemetry;
mod translator;
mod xds;

pub use features::Features;
pub use proxy::{Capture, Generator, NodeError, Place, Proxy};
pub use resources::ProxyResources;
pub use scope::ProxyScope;
pub use translator::{Translator, Withdrawn};
