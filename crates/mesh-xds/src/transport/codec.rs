//! A gRPC codec that sends bytes as they are and decodes what arrives.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use mesh_proto::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Encoded bytes out, messages of type `D` in.
pub(crate) struct BytesOut<D>(PhantomData<fn() -> D>);

impl<D> BytesOut<D> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<D: Message + Default + 'static> Codec for BytesOut<D> {
    type Encode = Bytes;
    type Decode = D;
    type Encoder = AsIs;
    type Decoder = Typed<D>;

    fn encoder(&mut self) -> AsIs {
        AsIs
    }

    fn decoder(&mut self) -> Typed<D> {
        Typed::new()
    }
}

pub(crate) struct AsIs;

impl Encoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.len());
        buffer.put(item);
        Ok(())
    }
}

/// Reads messages of type `D`.
pub(crate) struct Typed<D>(PhantomData<fn() -> D>);

impl<D> Typed<D> {
    pub(crate) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<D: Message + Default> Decoder for Typed<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        let message = buffer.copy_to_bytes(buffer.remaining());
        D::decode(message).map(Some).map_err(|e| Status::invalid_argument(format!("the message does not decode: {e}")))
    }
}
