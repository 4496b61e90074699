//! Server and client machine, joined back to back, and what their tests share.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use mesh_proto::resource::{Resource, ResourceSet};

use crate::Snapshot;

/// A resource with its name in field 1, as all have, and `content` in field 15.
pub(crate) fn named(name: &str, content: u8) -> Resource {
    assert!(name.len() < 0x80 && content < 0x80, "one-byte varints");
    let mut body = vec![0x0a, name.len() as u8];
    body.extend(name.as_bytes());
    body.extend([15 << 3, content]);
    Resource::from_bytes(name, Bytes::from(body))
}

/// Type URL, and name and content of its resources.
pub(crate) type Sets<'a> = &'a [(&'a str, &'a [(&'a str, u8)])];

pub(crate) fn snapshot(sets: Sets<'_>) -> Snapshot {
    Snapshot::new(sets.iter().map(|(type_url, resources)| {
        let resources = resources.iter().map(|(name, content)| named(name, *content));
        (*type_url, Arc::new(ResourceSet::new(resources)))
    }))
}
