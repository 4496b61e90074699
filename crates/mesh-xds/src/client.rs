//! The proxy's end of ADS, without the network.
//!
//! The owner says what it wants ([`AdsClient::want`]), feeds in what the server
//! sends ([`AdsClient::on_response`]), answers each [`Update`] with
//! [`AdsClient::ack`] or [`AdsClient::nack`], and sends what
//! [`AdsClient::poll_request`] yields. After a reconnect everything wanted is
//! asked for again, with what is already held (delta: resource versions; state
//! of the world: the last good version).
//!
//! Invariant: what counts as held is what was acknowledged; a refused update
//! changes nothing.
//!
//! Deliberately absent: what a resource means, and hence warming and the order
//! in which a proxy asks for its types.

use std::collections::BTreeSet;

use mesh_proto::google::protobuf::Any;

use crate::wire::{Reply, Request};
use crate::{Node, Variant};

/// One ADS stream, seen from the proxy. See the module's documentation.
#[derive(Debug)]
pub struct AdsClient {
    variant: Variant,
    node: Node,
}

/// What a proxy watches of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything there is.
    Wildcard,
    /// These names. An empty set ends the subscription.
    Names(BTreeSet<String>),
}

/// Resources that arrived. The owner must answer with
/// [`AdsClient::ack`] or [`AdsClient::nack`], giving `type_url` and `nonce`.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    /// Resource type.
    pub type_url: String,
    /// Resources that are new or replaced, by name.
    pub added: Vec<(String, Any)>,
    /// Names that no longer exist. For a delta stream also names that were
    /// asked for and do not exist.
    pub removed: Vec<String>,
    /// Whether `added` is all there is, so that every other name of this type
    /// is gone (they are in `removed` as well).
    pub full: bool,
    /// The server's version of this response.
    pub version: String,
    /// To be given back in the answer.
    pub nonce: String,
}

/// A response that cannot be used. Unless stated otherwise it has been refused
/// on the owner's behalf, and the stream goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Nobody asked for this type; the response is ignored.
    #[error("the server sent {type_url}, which was not asked for; it is ignored")]
    Unwanted {
        /// Resource type.
        type_url: String,
    },
    /// A response on a stream of the other variant; it is ignored.
    #[error("a response of the other xDS variant arrived on a {0:?} stream; it is ignored")]
    OtherVariant(Variant),
    /// A resource in it is of another type than the response, or has no name.
    #[error(
        "response {nonce} of type {type_url}: resource {index}: {problem}; the response is refused and the previous state kept"
    )]
    Malformed {
        /// Resource type.
        type_url: String,
        /// The response's nonce.
        nonce: String,
        /// Position in the response, from 0.
        index: usize,
        /// What was found and what was expected.
        problem: String,
    },
}

impl AdsClient {
    /// A client that has asked for nothing yet. `node.id` must not be empty.
    pub fn new(variant: Variant, node: Node) -> Self {
        Self { variant, node }
    }

    /// Sets what is watched of one type; replaces what was wanted before.
    pub fn want(&mut self, type_url: &str, wanted: Wanted) {
        let _ = (type_url, wanted);
    }

    /// A new stream begins: everything will be asked for again, node first.
    pub fn on_connect(&mut self) {}

    /// Takes in a response.
    ///
    /// # Errors
    /// See [`ResponseError`]; the stream goes on.
    pub fn on_response(&mut self, reply: Reply) -> Result<Update, ResponseError> {
        let _ = reply;
        Err(ResponseError::OtherVariant(self.variant))
    }

    /// The update with this nonce is in force.
    pub fn ack(&mut self, type_url: &str, nonce: &str) {
        let _ = (type_url, nonce);
    }

    /// The update with this nonce is refused because of `text`, which goes to
    /// the server as it is.
    pub fn nack(&mut self, type_url: &str, nonce: &str, text: &str) {
        let _ = (type_url, nonce, text);
    }

    /// The next request to send, or `None` until something else happens.
    pub fn poll_request(&mut self) -> Option<Request> {
        None
    }

    /// Who this client says it is.
    pub fn node(&self) -> &Node {
        &self.node
    }
}
