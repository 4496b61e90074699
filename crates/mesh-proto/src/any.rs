//! Packing messages into `google.protobuf.Any` and out of it.

use bytes::Bytes;
use prost::{DecodeError, Message, Name};

use crate::google::protobuf::Any;

/// A packed message that could not be read as the type that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The `Any` holds another type.
    #[error("found a {found}, expected a {expected}")]
    OtherType {
        /// Type URL in the `Any`.
        found: String,
        /// Full name of the message that was asked for.
        expected: String,
    },
    /// The bytes are not a message of the type that the `Any` names.
    #[error("the bytes are not a {expected}")]
    Malformed {
        /// Full name of the message that was asked for.
        expected: String,
        /// What the decoder found.
        source: DecodeError,
    },
}

/// Packs `message` under `type.googleapis.com/<full name>`.
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: type_url::<M>(), value: message.encode_to_vec() }
}

/// Reads an `Any` as an `M`.
///
/// # Errors
/// [`UnpackError::OtherType`] if it holds something else,
/// [`UnpackError::Malformed`] if its bytes do not decode.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, UnpackError> {
    if !is::<M>(any) {
        return Err(UnpackError::OtherType { found: any.type_url.clone(), expected: M::full_name() });
    }
    M::decode(any.value.as_slice()).map_err(|source| UnpackError::Malformed { expected: M::full_name(), source })
}

/// Whether `any` holds an `M`. Only what follows the last `/` of the type URL
/// counts, as protobuf prescribes.
pub fn is<M: Name>(any: &Any) -> bool {
    message_name(&any.type_url) == M::full_name()
}

/// `type.googleapis.com/<full name of M>`
pub fn type_url<M: Name>() -> String {
    format!("type.googleapis.com/{}", M::full_name())
}

/// The message name in a type URL: what follows the last `/`.
pub fn message_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// Encodes `message` once, to be shared from then on.
pub fn encode<M: Message>(message: &M) -> Bytes {
    Bytes::from(message.encode_to_vec())
}
