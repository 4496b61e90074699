//! What an endpoint says about its transport, and whether a transport socket
//! match means it.

use std::sync::Arc;

use mesh_proto::envoy::config::core::v3 as core;
use mesh_proto::google::protobuf as pb;

/// The fields under `envoy.transport_socket_match` in an endpoint's metadata,
/// or those that a match asks for; sorted by name. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Those of an endpoint.
    pub(crate) fn of_metadata(metadata: Option<&core::Metadata>) -> Self {
        Self::of_struct(metadata.and_then(|m| m.filter_metadata.get(FILTER)))
    }

    /// Those in `proto`. A value that is not a string is told from the string that looks like it.
    pub(crate) fn of_struct(proto: Option<&pb::Struct>) -> Self {
        let Some(proto) = proto.filter(|p| !p.fields.is_empty()) else { return Self::default() };
        let mut labels: Vec<(Box<str>, Box<str>)> = proto
            .fields
            .iter()
            .map(|(name, value)| {
                let text = match &value.kind {
                    Some(pb::value::Kind::StringValue(text)) => text.clone(),
                    other => format!("\0{other:?}"),
                };
                (name.as_str().into(), text.into())
            })
            .collect();
        labels.sort();
        Self(labels.into())
    }

    /// Whether an endpoint with the labels `of` has every label of `self`.
    pub fn select(&self, of: &Self) -> bool {
        self.0.iter().all(|wanted| of.0.contains(wanted))
    }
}

const FILTER: &str = "envoy.transport_socket_match";
