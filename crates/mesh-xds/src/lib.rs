//! The xDS protocol, both ends.
//!
//! [`server::Subscriber`] decides what one proxy is owed, [`client::AdsClient`]
//! what a proxy asks for and how it answers. Both are state machines: they are
//! fed messages and handed back messages, in the state-of-the-world and in the
//! delta variant, and can be joined back to back in a test. The gRPC drivers
//! that carry the messages live in [`transport`].
//!
//! ```text
//!  translator                                                         proxy
//!      | Arc<Snapshot>                                                  ^ Update
//!      v                                                                |
//!  Subscriber --- Response ---> transport ~~~ gRPC ~~~ transport ---> AdsClient
//!      ^---------- Request ----------'                     '<-- Request ---'
//! ```
//!
//! Invariant: outside [`transport`] nothing here awaits, opens a socket, reads
//! a clock or draws a random number; `now` is a parameter.
//!
//! Deliberately absent: authentication, translation, and any notion of what a
//! cluster or a route is beyond the order in which types refer to each other.

pub mod client;
mod order;
pub mod server;
mod snapshot;
#[cfg(feature = "transport")]
pub mod transport;
pub mod wire;

#[cfg(test)]
mod tests;

pub use snapshot::Snapshot;

/// The node that a proxy says it is, in its first request.
pub use mesh_proto::envoy::config::core::v3::Node;

/// Which of the two ADS methods a stream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Variant {
    /// `StreamAggregatedResources`: a response holds the state of the world.
    Sotw,
    /// `DeltaAggregatedResources`: a response holds what changed.
    Delta,
}

impl Variant {
    /// The gRPC path of the method.
    pub fn path(self) -> &'static str {
        match self {
            Self::Sotw => "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
            Self::Delta => "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        }
    }
}
