//! A response and its bytes, assembled from resources that are already encoded.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use mesh_proto::resource::{Resource, ResourceName};
use xxhash_rust::xxh3::Xxh3;

use crate::Variant;

/// One response, to be encoded and sent as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Resource type.
    pub type_url: Arc<str>,
    /// Hash of what the response holds: equal content, equal version.
    pub version: Arc<str>,
    /// To be returned by the proxy in its answer; unique on the stream.
    pub nonce: Arc<str>,
    /// Resources, sorted by name.
    pub resources: Vec<Resource>,
    /// Delta only: names that are gone or were asked for in vain, sorted.
    pub removed: Vec<ResourceName>,
    /// Whether what `resources` lacks is thereby removed (state of the world,
    /// for types that are not watched by name).
    pub full: bool,
}

impl Response {
    pub(super) fn new(
        type_url: Arc<str>,
        nonce: Arc<str>,
        resources: Vec<Resource>,
        removed: Vec<ResourceName>,
        full: bool,
    ) -> Self {
        let mut hash = Xxh3::new();
        for resource in &resources {
            hash.update(resource.name.as_bytes());
            hash.update(&resource.version.to_le_bytes());
        }
        for name in &removed {
            hash.update(name.as_bytes());
            hash.update(&[0]);
        }
        Self { type_url, version: version(hash.digest()).into(), nonce, resources, removed, full }
    }

    /// The protobuf message, assembled from the resources' own bytes: a
    /// `DiscoveryResponse` or a `DeltaDiscoveryResponse`.
    pub fn encode(&self, variant: Variant) -> Bytes {
        self.assemble(variant, BytesMut::new()).freeze()
    }

    /// The message behind gRPC's prefix (no compression, length), in one
    /// allocation that is gone as soon as the connection has taken it.
    ///
    /// Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
    pub fn encode_frame(&self, variant: Variant) -> Bytes {
        let mut out = BytesMut::new();
        out.put_bytes(0, GRPC_PREFIX_BYTES);
        let mut out = self.assemble(variant, out);
        // Responses end far below 4 GiB: a resource is bounded, and so is their number.
        let length = u32::try_from(out.len() - GRPC_PREFIX_BYTES).unwrap_or(u32::MAX);
        out[1..GRPC_PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
        out.freeze()
    }

    fn assemble(&self, variant: Variant, mut out: BytesMut) -> BytesMut {
        // 64 bytes cover the tags and lengths around one resource.
        let per_resource = self.type_url.len() + 64;
        let resources: usize = self.resources.iter().map(|r| r.body.len() + r.name.len() + per_resource).sum();
        let removed: usize = self.removed.iter().map(|n| n.len() + 8).sum();
        out.reserve(resources + removed + 2 * per_resource);
        put_field(&mut out, 1, self.version.as_bytes());
        for resource in &self.resources {
            match variant {
                Variant::Sotw => {
                    put_length(&mut out, 2, any_len(&self.type_url, &resource.body));
                    put_any(&mut out, &self.type_url, &resource.body);
                }
                Variant::Delta => put_resource(&mut out, &self.type_url, resource),
            }
        }
        put_field(&mut out, 4, self.type_url.as_bytes());
        put_field(&mut out, 5, self.nonce.as_bytes());
        if variant == Variant::Delta {
            for name in &self.removed {
                put_field(&mut out, 6, name.as_bytes());
            }
        }
        out
    }
}

/// A flag for compression and a length of four bytes.
const GRPC_PREFIX_BYTES: usize = 5;

/// A content hash as a version string.
pub(super) fn version(hash: u64) -> String {
    format!("{hash:016x}")
}

/// The content hash in a version string that [`version`] made.
pub(super) fn parse_version(text: &str) -> Option<u64> {
    if text.len() == 16 { u64::from_str_radix(text, 16).ok() } else { None }
}

/// `envoy.service.discovery.v3.Resource`: version 1, resource 2, name 3.
fn put_resource(out: &mut BytesMut, type_url: &str, resource: &Resource) {
    let version = version(resource.version);
    let any = any_len(type_url, &resource.body);
    let len = field_len(version.len()) + field_len(any) + field_len(resource.name.len());
    put_length(out, 2, len);
    put_field(out, 1, version.as_bytes());
    put_length(out, 2, any);
    put_any(out, type_url, &resource.body);
    put_field(out, 3, resource.name.as_bytes());
}

/// `google.protobuf.Any`: type_url 1, value 2.
fn put_any(out: &mut BytesMut, type_url: &str, body: &[u8]) {
    put_field(out, 1, type_url.as_bytes());
    put_field(out, 2, body);
}

fn any_len(type_url: &str, body: &[u8]) -> usize {
    field_len(type_url.len()) + field_len(body.len())
}

/// Size of a length-delimited field whose number is below 16.
fn field_len(len: usize) -> usize {
    let bits = (usize::BITS - (len | 1).leading_zeros()) as usize;
    1 + bits.div_ceil(7) + len
}

fn put_field(out: &mut BytesMut, number: u8, bytes: &[u8]) {
    put_length(out, number, bytes.len());
    out.put_slice(bytes);
}

fn put_length(out: &mut BytesMut, number: u8, mut len: usize) {
    const LENGTH_DELIMITED: u8 = 2;
    out.put_u8(number << 3 | LENGTH_DELIMITED);
    while len >= 0x80 {
        out.put_u8((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.put_u8(len as u8);
}
