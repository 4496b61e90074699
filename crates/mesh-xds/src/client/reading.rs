//! Reads a response of either variant into one shape.
//!
//! A state-of-the-world response does not say what its resources are called.
//! In every xDS resource type that has a name, it is field 1 of the message, so
//! it is read from there without knowing the type.

use std::collections::BTreeSet;

use mesh_proto::Message;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource};
use mesh_proto::google::protobuf::Any;
use mesh_proto::{any, types};

use crate::order;

/// A response, whichever the variant.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) type_url: String,
    pub(super) version: String,
    pub(super) nonce: String,
    /// Name, version (empty in state of the world), resource.
    pub(super) resources: Vec<(String, String, Any)>,
    pub(super) removed: Vec<String>,
    pub(super) full: bool,
    /// Position of the first resource that cannot be used, and why.
    pub(super) problem: Option<(usize, String)>,
}

impl Received {
    pub(super) fn sotw(reply: DiscoveryResponse) -> Self {
        let type_url = reply.type_url;
        let mut received = Self::new(type_url, reply.version_info, reply.nonce);
        received.full = !order::is_by_name(&received.type_url);
        for (index, resource) in reply.resources.into_iter().enumerate() {
            if any::is::<Resource>(&resource) {
                match Resource::decode(resource.value.as_slice()) {
                    Ok(wrapper) => received.push_wrapped(index, wrapper),
                    Err(error) => received.fail(index, format!("the wrapper does not decode: {error}")),
                }
            } else {
                let name = first_field(&resource.value).unwrap_or_default();
                received.push(index, name, String::new(), resource);
            }
        }
        received.finish()
    }

    pub(super) fn delta(reply: DeltaDiscoveryResponse) -> Self {
        let mut received = Self::new(reply.type_url, reply.system_version_info, reply.nonce);
        for (index, resource) in reply.resources.into_iter().enumerate() {
            received.push_wrapped(index, resource);
        }
        received.removed = reply.removed_resources;
        received.removed.extend(reply.removed_resource_names.into_iter().map(|name| name.name));
        received.finish()
    }

    fn new(type_url: String, version: String, nonce: String) -> Self {
        Self { type_url, version, nonce, resources: Vec::new(), removed: Vec::new(), full: false, problem: None }
    }

    fn push_wrapped(&mut self, index: usize, wrapper: Resource) {
        match wrapper.resource {
            Some(resource) => self.push(index, wrapper.name, wrapper.version, resource),
            None => self.fail(index, format!("{:?} has no content", wrapper.name)),
        }
    }

    fn push(&mut self, index: usize, name: String, version: String, resource: Any) {
        if any::message_name(&resource.type_url) != any::message_name(&self.type_url) {
            self.fail(index, format!("{name:?} is a {}, expected a {}", resource.type_url, self.type_url));
        } else if name.is_empty() && types::PUSH_ORDER.contains(&self.type_url.as_str()) {
            self.fail(index, "it has no name, or does not decode".to_owned());
        } else {
            self.resources.push((name, version, resource));
        }
    }

    fn fail(&mut self, index: usize, problem: String) {
        self.problem.get_or_insert((index, problem));
    }

    fn finish(mut self) -> Self {
        if self.problem.is_none() {
            let mut names = BTreeSet::new();
            let twice = self.resources.iter().position(|(name, ..)| !name.is_empty() && !names.insert(name));
            self.problem = twice.map(|index| (index, format!("{:?} is in it twice", self.resources[index].0)));
        }
        self
    }
}

/// Field 1 of an encoded message, if it is there and a string. Later fields are
/// not looked at once it is found; it usually comes first.
fn first_field(message: &[u8]) -> Option<String> {
    let mut rest = message;
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        match key & 7 {
            0 => drop(varint(&mut rest)?),
            1 => rest = rest.get(8..)?,
            5 => rest = rest.get(4..)?,
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                let bytes = rest.get(..len)?;
                if key >> 3 == 1 {
                    return String::from_utf8(bytes.to_vec()).ok();
                }
                rest = &rest[len..];
            }
            _ => return None,
        }
    }
    None
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
