//! One byte string per message: maps are encoded sorted by key.
//!
//! `prost` keeps protobuf maps in hash maps and writes their entries in
//! whatever order these give, which differs from process to process and from
//! map to map. A content hash over such bytes would call equal messages
//! different. [`encode`] puts the entries of every map in order, also inside
//! nested messages and known `Any`s.
//!
//! Invariant: equal messages give equal bytes, and the bytes decode to the
//! message. Bytes of a type that is not in the descriptor set are kept as they
//! are.

use prost::encoding::{WireType, decode_key, decode_varint, encode_varint, encoded_len_varint};
use prost::{Message, Name};
use prost_reflect::{Kind, MessageDescriptor};

use crate::{any, json};

/// `message`, encoded with every map sorted by key.
pub fn encode<M: Message + Name>(message: &M) -> Vec<u8> {
    let bytes = message.encode_to_vec();
    match json::pool().get_message_by_name(&M::full_name()) {
        Some(descriptor) => sorted(&descriptor, &bytes, 0).unwrap_or(bytes),
        None => bytes,
    }
}

/// How deep messages may nest; `prost` itself decodes no deeper.
const DEPTH_MAX: u32 = 100;

/// `None` if the bytes are no message of this type.
fn sorted(descriptor: &MessageDescriptor, bytes: &[u8], depth: u32) -> Option<Vec<u8>> {
    if depth > DEPTH_MAX {
        return None;
    }
    if descriptor.full_name() == "google.protobuf.Any" {
        return sorted_any(bytes, depth);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut entries: Vec<(u32, Vec<u8>)> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (field, number, payload) = next_field(&mut rest)?;
        if entries.last().is_some_and(|(n, _)| *n != number) {
            write_entries(&mut entries, &mut out);
        }
        let Some((known, payload)) = payload.and_then(|p| Some((descriptor.get_field(number)?, p))) else {
            out.extend_from_slice(field);
            continue;
        };
        match known.kind() {
            Kind::Message(inner) if known.is_map() => entries.push((number, sorted(&inner, payload, depth + 1)?)),
            Kind::Message(inner) => write_message(number, &sorted(&inner, payload, depth + 1)?, &mut out),
            _ => out.extend_from_slice(field),
        }
    }
    write_entries(&mut entries, &mut out);
    Some(out)
}

/// What is packed is sorted as well, if its type is known.
fn sorted_any(bytes: &[u8], depth: u32) -> Option<Vec<u8>> {
    let packed = crate::google::protobuf::Any::decode(bytes).ok()?;
    let descriptor = json::pool().get_message_by_name(any::message_name(&packed.type_url));
    let value = match descriptor {
        Some(descriptor) => sorted(&descriptor, &packed.value, depth + 1).unwrap_or(packed.value),
        None => packed.value,
    };
    Some(crate::google::protobuf::Any { type_url: packed.type_url, value }.encode_to_vec())
}

/// A field's bytes with its key, its number, and what it holds if that is
/// length-delimited.
type Field<'a> = (&'a [u8], u32, Option<&'a [u8]>);

/// Takes one field off `rest`.
fn next_field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *rest;
    let (number, wire_type) = decode_key(rest).ok()?;
    let payload = match wire_type {
        WireType::Varint => {
            decode_varint(rest).ok()?;
            None
        }
        WireType::SixtyFourBit => {
            *rest = rest.get(8..)?;
            None
        }
        WireType::ThirtyTwoBit => {
            *rest = rest.get(4..)?;
            None
        }
        WireType::LengthDelimited => {
            let len = usize::try_from(decode_varint(rest).ok()?).ok()?;
            let payload = rest.get(..len)?;
            *rest = &rest[len..];
            Some(payload)
        }
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    Some((&start[..start.len() - rest.len()], number, payload))
}

/// An entry begins with its key's field, so that sorting entries by their
/// bytes groups equal keys; the order among keys only has to be the same
/// everywhere.
fn write_entries(entries: &mut Vec<(u32, Vec<u8>)>, out: &mut Vec<u8>) {
    entries.sort();
    for (number, entry) in entries.drain(..) {
        write_message(number, &entry, out);
    }
}

fn write_message(number: u32, payload: &[u8], out: &mut Vec<u8>) {
    const LENGTH_DELIMITED: u64 = 2;
    let len = payload.len() as u64;
    out.reserve(payload.len() + encoded_len_varint(len) + 5);
    encode_varint(u64::from(number) << 3 | LENGTH_DELIMITED, out);
    encode_varint(len, out);
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::envoy::config::core::v3::Metadata;
    use crate::google::protobuf::value::Kind as ValueKind;
    use crate::google::protobuf::{Struct, Value};

    fn cluster() -> Cluster {
        let value = |text: &str| Value { kind: Some(ValueKind::StringValue(text.to_owned())) };
        let fields = || Struct { fields: ["a", "b", "c", "d", "e"].map(|k| (k.to_owned(), value(k))).into() };
        let filter_metadata = ["pilothouse", "istio", "x", "y"].map(|k| (k.to_owned(), fields())).into();
        let packed = any::pack(&fields());
        Cluster {
            name: "c".to_owned(),
            metadata: Some(Metadata { filter_metadata, ..Default::default() }),
            typed_extension_protocol_options: ["q", "p", "o"].map(|k| (k.to_owned(), packed.clone())).into(),
            lb_policy: 3,
            ..Default::default()
        }
    }

    #[test]
    fn equal_messages_give_equal_bytes_whatever_the_hash_maps_order() {
        let first = encode(&cluster());
        for _ in 0..20 {
            assert_eq!(encode(&cluster()), first);
        }
        assert_eq!(Cluster::decode(first.as_slice()).expect("it decodes").metadata, cluster().metadata);
    }

    #[test]
    fn a_message_without_maps_is_encoded_as_prost_does() {
        let cluster = Cluster { name: "c".to_owned(), lb_policy: 1, ..Default::default() };
        assert_eq!(encode(&cluster), cluster.encode_to_vec());
    }
}
