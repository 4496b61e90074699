//! Which rule objects shaped a resource, written into xDS `metadata` under our
//! own key. Envoy ignores it; `explain` and the dashboard read it.
//!
//! Only the object is named, not its file and line: a line number would make
//! the resource's bytes, and so its version, change whenever a comment above
//! the object is edited, and a proxy would drain listeners for it. Whoever
//! shows an origin to a person looks the place up by the object.

use std::collections::HashMap;
use std::fmt;

use crate::envoy::config::core::v3::Metadata;
use crate::google::protobuf::value::Kind;
use crate::google::protobuf::{ListValue, Struct, Value};

/// Key in `Metadata.filter_metadata`.
pub const METADATA_KEY: &str = "pilothouse";

/// A rule or platform object, as `Kind/namespace/name` on the wire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// `VirtualService`, `Service`, ...
    pub kind: String,
    /// Namespace; empty for objects that have none.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Origin {
    /// Parses `Kind/namespace/name`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '/');
        let (kind, namespace, name) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// Enters `origins` into `metadata`, in the given order, without repeats.
/// Nothing is written if there are none.
pub fn write(metadata: &mut Metadata, origins: impl IntoIterator<Item = Origin>) {
    let mut texts: Vec<String> = Vec::new();
    for origin in origins {
        let text = origin.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        return;
    }
    let values = texts.into_iter().map(|t| Value { kind: Some(Kind::StringValue(t)) }).collect();
    let list = Value { kind: Some(Kind::ListValue(ListValue { values })) };
    let fields = HashMap::from([("rules".to_owned(), list)]);
    metadata.filter_metadata.insert(METADATA_KEY.to_owned(), Struct { fields });
}

/// The origins in `metadata`, in order; none if it carries none.
pub fn read(metadata: Option<&Metadata>) -> Vec<Origin> {
    let list = metadata
        .and_then(|m| m.filter_metadata.get(METADATA_KEY))
        .and_then(|s| s.fields.get("rules"))
        .and_then(|v| v.kind.as_ref());
    let Some(Kind::ListValue(list)) = list else { return Vec::new() };
    list.values
        .iter()
        .filter_map(|v| match &v.kind {
            Some(Kind::StringValue(text)) => Origin::parse(text),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_in_order_without_repeats() {
        let rule = |name: &str| Origin { kind: "VirtualService".into(), namespace: "shop".into(), name: name.into() };
        let mut metadata = Metadata::default();
        write(&mut metadata, [rule("b"), rule("a"), rule("b")]);
        assert_eq!(read(Some(&metadata)), [rule("b"), rule("a")]);
    }
}
