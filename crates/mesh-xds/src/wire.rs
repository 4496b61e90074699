//! The messages as they travel: requests typed, responses assembled from bytes
//! that are already encoded.

use bytes::Bytes;
use mesh_proto::Message;
use mesh_proto::envoy::service::discovery::v3 as discovery;

use crate::Variant;

/// What a proxy sends, in either variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// On a state-of-the-world stream.
    Sotw(Box<discovery::DiscoveryRequest>),
    /// On a delta stream.
    Delta(Box<discovery::DeltaDiscoveryRequest>),
}

impl Request {
    /// The variant it belongs to.
    pub fn variant(&self) -> Variant {
        match self {
            Self::Sotw(_) => Variant::Sotw,
            Self::Delta(_) => Variant::Delta,
        }
    }

    /// The type that it is about.
    pub fn type_url(&self) -> &str {
        match self {
            Self::Sotw(request) => &request.type_url,
            Self::Delta(request) => &request.type_url,
        }
    }

    /// The encoded message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Sotw(request) => Bytes::from(request.encode_to_vec()),
            Self::Delta(request) => Bytes::from(request.encode_to_vec()),
        }
    }
}

/// What a server sends, in either variant, as a client reads it.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// On a state-of-the-world stream.
    Sotw(Box<discovery::DiscoveryResponse>),
    /// On a delta stream.
    Delta(Box<discovery::DeltaDiscoveryResponse>),
}
