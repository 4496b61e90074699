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
//! in which a proxy begins to ask for its types.

mod reading;
#[cfg(test)]
mod tests;
mod typed;

use std::collections::BTreeSet;

use mesh_proto::google::protobuf::Any;

use crate::wire::{Reply, Request};
use crate::{Node, Variant, order};

use reading::Received;
use typed::TypeState;

/// One ADS stream, seen from the proxy. See the module's documentation.
#[derive(Debug)]
pub struct AdsClient {
    variant: Variant,
    node: Node,
    /// Whether the node has gone out on this stream.
    introduced: bool,
    /// Counts streams.
    stream: u64,
    /// In push order.
    types: Vec<TypeState>,
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
    /// Resources that are new, replaced, or sent once more, by name.
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
    /// A client that has asked for nothing yet. `node.id` must not be empty:
    /// no server accepts it.
    pub fn new(variant: Variant, node: Node) -> Self {
        Self { variant, node, introduced: false, stream: 0, types: Vec::new() }
    }

    /// Sets what is watched of one type; replaces what was wanted before.
    /// What is no longer wanted no longer counts as held.
    pub fn want(&mut self, type_url: &str, wanted: Wanted) {
        let index = self.types.iter().position(|t| t.type_url() == type_url).unwrap_or_else(|| {
            let index = self.types.partition_point(|t| order::rank(t.type_url()) <= order::rank(type_url));
            self.types.insert(index, TypeState::new(type_url, self.variant, self.stream));
            index
        });
        self.types[index].want(wanted);
    }

    /// A new stream begins: everything will be asked for again, node first.
    pub fn on_connect(&mut self) {
        self.stream += 1;
        self.introduced = false;
        for state in &mut self.types {
            state.on_connect(self.stream);
        }
    }

    /// Takes in a response.
    ///
    /// # Errors
    /// See [`ResponseError`]; the stream goes on.
    pub fn on_response(&mut self, reply: Reply) -> Result<Update, ResponseError> {
        let received = match reply {
            Reply::Sotw(reply) if self.variant == Variant::Sotw => Received::sotw(*reply),
            Reply::Delta(reply) if self.variant == Variant::Delta => Received::delta(*reply),
            _ => return Err(ResponseError::OtherVariant(self.variant)),
        };
        let Some(state) = self.types.iter_mut().find(|t| t.type_url() == received.type_url) else {
            return Err(ResponseError::Unwanted { type_url: received.type_url });
        };
        match received.problem {
            None => Ok(state.receive(received)),
            Some((index, problem)) => {
                let error = ResponseError::Malformed {
                    type_url: received.type_url,
                    nonce: received.nonce.clone(),
                    index,
                    problem,
                };
                state.refuse(&received.nonce, &error.to_string());
                Err(error)
            }
        }
    }

    /// The update with this nonce is in force.
    pub fn ack(&mut self, type_url: &str, nonce: &str) {
        if let Some(state) = self.state(type_url) {
            state.ack(nonce);
        }
    }

    /// The update with this nonce is refused because of `text`, which goes to
    /// the server as it is.
    pub fn nack(&mut self, type_url: &str, nonce: &str, text: &str) {
        if let Some(state) = self.state(type_url) {
            state.nack(nonce, text);
        }
    }

    /// The next request to send, or `None` until something else happens:
    /// changed subscriptions first, then answers, each in push order. So a
    /// server that is told of clusters' acceptance already knows which
    /// endpoints are wanted for them.
    pub fn poll_request(&mut self) -> Option<Request> {
        let subscription = self.types.iter_mut().find_map(TypeState::poll_subscription);
        let mut request = subscription.or_else(|| self.types.iter_mut().find_map(TypeState::poll_answer))?;
        if !self.introduced {
            self.introduced = true;
            match &mut request {
                Request::Sotw(request) => request.node = Some(self.node.clone()),
                Request::Delta(request) => request.node = Some(self.node.clone()),
            }
        }
        Some(request)
    }

    /// Who this client says it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Which ADS method it speaks.
    pub fn variant(&self) -> Variant {
        self.variant
    }

    /// The names held of one type and, in delta, their versions (otherwise
    /// empty), sorted.
    pub fn held(&self, type_url: &str) -> impl Iterator<Item = (&str, &str)> {
        self.types.iter().filter(move |t| t.type_url() == type_url).flat_map(TypeState::held)
    }

    /// The version of the last response of one type that was acknowledged.
    pub fn version(&self, type_url: &str) -> Option<&str> {
        self.types.iter().find(|t| t.type_url() == type_url).map(TypeState::version).filter(|v| !v.is_empty())
    }

    fn state(&mut self, type_url: &str) -> Option<&mut TypeState> {
        self.types.iter_mut().find(|t| t.type_url() == type_url)
    }
}
