//! Protobuf JSON and YAML for every message in the descriptor set, nested
//! `Any`s included.
//!
//! Output follows Envoy's admin interface: field names as in the `.proto`
//! files, default values left out, 64-bit integers as strings.

use std::io::Read;
use std::sync::OnceLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde::de::DeserializeSeed;
use serde_json::{Value, json};

use crate::any;

/// A document that is not the message it should be.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// YAML that does not parse, or a field that does not exist or has the
    /// wrong type. The text says where and what.
    #[error("{0}")]
    Document(String),
    /// The message name is not in the descriptor set.
    #[error("no message type {0} is known here")]
    UnknownType(String),
}

/// `message` as JSON.
pub fn to_json<M: Message + Name>(message: &M) -> Value {
    bytes_to_json(&M::full_name(), &message.encode_to_vec())
}

/// An encoded `name` as JSON with `@type` in front, as it stands inside an
/// `Any`. What cannot be expanded (a type that is not known here, bytes that do
/// not decode) is given as `{"@type", "value": base64}` instead, so that one
/// odd resource never hides the others.
pub fn any_to_json(type_url: &str, bytes: &[u8]) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("@type".to_owned(), Value::from(format!("type.googleapis.com/{}", any::message_name(type_url))));
    match expand(any::message_name(type_url), bytes) {
        Some(Value::Object(fields)) => object.extend(fields),
        Some(other) => {
            object.insert("value".to_owned(), other);
        }
        None => {
            object.insert("value".to_owned(), Value::from(base64(bytes)));
        }
    }
    Value::Object(object)
}

/// An encoded `name` as JSON, or `{"value": base64}` if it cannot be expanded.
pub fn bytes_to_json(name: &str, bytes: &[u8]) -> Value {
    expand(name, bytes).unwrap_or_else(|| json!({ "value": base64(bytes) }))
}

/// Reads one YAML (or JSON) document as an `M`. Field names may be snake_case
/// or camelCase; unknown fields are errors.
///
/// # Errors
/// [`ParseError::Document`] with line and column where they are known.
pub fn from_yaml<M: Message + Name + Default>(text: &str) -> Result<M, ParseError> {
    let bytes = yaml_to_bytes(&M::full_name(), text)?;
    M::decode(bytes.as_slice()).map_err(|e| ParseError::Document(e.to_string()))
}

/// Reads one YAML (or JSON) document as the message called `name`, encoded.
///
/// # Errors
/// As [`from_yaml`], and [`ParseError::UnknownType`].
pub fn yaml_to_bytes(name: &str, text: &str) -> Result<Vec<u8>, ParseError> {
    let descriptor = pool().get_message_by_name(name).ok_or_else(|| ParseError::UnknownType(name.to_owned()))?;
    let message = serde_saphyr::with_deserializer_from_str(text, |de| descriptor.deserialize(de))
        .map_err(|e| ParseError::Document(e.to_string()))?;
    Ok(message.encode_to_vec())
}

/// Reads a JSON value as an `M`.
///
/// # Errors
/// [`ParseError::Document`] naming the field.
pub fn from_json<M: Message + Name + Default>(value: &Value) -> Result<M, ParseError> {
    let name = M::full_name();
    let descriptor = pool().get_message_by_name(&name).ok_or(ParseError::UnknownType(name))?;
    let message = descriptor.deserialize(value).map_err(|e| ParseError::Document(e.to_string()))?;
    M::decode(message.encode_to_vec().as_slice()).map_err(|e| ParseError::Document(e.to_string()))
}

/// The descriptors of everything in the committed set, decoded on first use
/// (about 40 ms, some megabytes; kept for the life of the process).
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(DESCRIPTORS)
            .read_to_end(&mut bytes)
            .expect("the committed descriptor set is a gzip file");
        DescriptorPool::decode(bytes.as_slice()).expect("the committed descriptor set is complete")
    })
}

fn expand(name: &str, bytes: &[u8]) -> Option<Value> {
    let descriptor = pool().get_message_by_name(name)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    let options =
        SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(true).skip_default_fields(true);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            out.push(if i <= chunk.len() { char::from(ALPHABET[(group >> (18 - 6 * i) & 63) as usize]) } else { '=' });
        }
    }
    out
}

static DESCRIPTORS: &[u8] = include_bytes!("../descriptors.bin.gz");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envoy::config::bootstrap::v3::Bootstrap;
    use crate::envoy::config::cluster::v3::Cluster;

    #[test]
    fn yaml_with_a_nested_any_becomes_a_typed_message_and_the_same_json_again() {
        let yaml = "name: c\nconnect_timeout: 1.5s\ntyped_extension_protocol_options:\n  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n    explicit_http_config: {http2_protocol_options: {}}\n";
        let cluster: Cluster = from_yaml(yaml).expect("a valid cluster");
        let json = to_json(&cluster);
        assert_eq!(json["connect_timeout"], "1.500s");
        let options =
            &json["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
        assert!(options["explicit_http_config"]["http2_protocol_options"].is_object());
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let error = from_yaml::<Bootstrap>("node:\n  id: a\n  clusterr: b\n").expect_err("clusterr is no field");
        let text = error.to_string();
        assert!(text.contains("clusterr") && text.contains("line 2"), "{text}");
    }

    #[test]
    fn a_type_that_is_not_known_is_shown_as_bytes() {
        let json = any_to_json("type.googleapis.com/no.Such", b"ab\xff");
        assert_eq!(json, json!({"@type": "type.googleapis.com/no.Such", "value": "YWL/"}));
    }
}
