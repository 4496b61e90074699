//! Merging one message into another by protobuf's rules, whatever their type.
//!
//! Fields that the patch sets win; messages are merged field by field; maps are
//! merged by key; lists are appended to, or replaced. Three kinds of message
//! are one value to their author and not a set of fields, so that a patch can
//! also set them to zero: durations, wrapped numbers and texts. A packed
//! message is merged with one of its own type and replaces any other.
//!
//! Source: istio `pkg/proto/merge/merge.go` and `MergeAnyWithAny`.

use mesh_proto::google::protobuf::Any;
use mesh_proto::{Message, Name, any, json};
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};

/// What becomes of lists that both sides have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lists {
    /// The patch's items follow.
    Append,
    /// The patch's items stand instead.
    Replace,
}

/// Merges `patch` into `target`; leaves it alone if the two have not the same
/// type.
pub(super) fn merge<M: Message + Name + Default>(target: &mut M, patch: &DynamicMessage, lists: Lists) {
    let descriptor = patch.descriptor();
    if descriptor.full_name() != M::full_name() {
        return;
    }
    let merged = DynamicMessage::decode(descriptor, target.encode_to_vec().as_slice()).ok().and_then(|mut dynamic| {
        merge_message(&mut dynamic, patch, lists);
        M::decode(dynamic.encode_to_vec().as_slice()).ok()
    });
    if let Some(merged) = merged {
        *target = merged;
    }
}

/// Merges a packed message into another: by type, or in its place.
pub(super) fn merge_any(target: &mut Any, patch: &Any) {
    if let Some(merged) = packed(&target.type_url, &target.value, &patch.type_url, &patch.value) {
        target.value = merged;
    } else {
        *target = patch.clone();
    }
}

fn merge_message(target: &mut DynamicMessage, patch: &DynamicMessage, lists: Lists) {
    for (field, value) in patch.fields() {
        match (target.has_field(&field), value) {
            (true, Value::List(new)) if lists == Lists::Append => {
                if let Value::List(old) = target.get_field_mut(&field) {
                    old.extend(new.iter().cloned());
                }
            }
            (true, Value::Map(new)) => {
                if let Value::Map(old) = target.get_field_mut(&field) {
                    old.extend(new.iter().map(|(k, v)| (k.clone(), v.clone())));
                }
            }
            (true, Value::Message(new)) => merge_field(target, &field, new, lists),
            _ => target.set_field(&field, value.clone()),
        }
    }
}

fn merge_field(target: &mut DynamicMessage, field: &FieldDescriptor, new: &DynamicMessage, lists: Lists) {
    let Value::Message(old) = target.get_field_mut(field) else { return };
    match message_name(field).as_str() {
        "google.protobuf.Any" => merge_dynamic_any(old, new),
        "envoy.config.core.v3.TransportSocket" if text(old, "name") != text(new, "name") => *old = new.clone(),
        name if SCALARS.contains(&name) => *old = new.clone(),
        _ => merge_message(old, new, lists),
    }
}

fn merge_dynamic_any(old: &mut DynamicMessage, new: &DynamicMessage) {
    match packed(&text(old, "type_url"), &bytes(old), &text(new, "type_url"), &bytes(new)) {
        Some(merged) => old.set_field_by_name("value", Value::Bytes(merged.into())),
        None => *old = new.clone(),
    }
}

/// The two merged, if they are of one type that is known. Lists inside are
/// always appended to, as in Istio.
fn packed(old_type: &str, old: &[u8], new_type: &str, new: &[u8]) -> Option<Vec<u8>> {
    let name = any::message_name(old_type);
    if name != any::message_name(new_type) {
        return None;
    }
    let descriptor = json::pool().get_message_by_name(name)?;
    let mut merged = DynamicMessage::decode(descriptor.clone(), old).ok()?;
    merge_message(&mut merged, &DynamicMessage::decode(descriptor, new).ok()?, Lists::Append);
    Some(merged.encode_to_vec())
}

fn message_name(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        _ => String::new(),
    }
}

fn text(message: &DynamicMessage, field: &str) -> String {
    message.get_field_by_name(field).and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}

fn bytes(message: &DynamicMessage) -> Vec<u8> {
    message.get_field_by_name("value").and_then(|v| v.as_bytes().map(|b| b.to_vec())).unwrap_or_default()
}

/// Messages that are one value.
const SCALARS: [&str; 10] = [
    "google.protobuf.Duration",
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.FloatValue",
    "google.protobuf.Int32Value",
    "google.protobuf.Int64Value",
    "google.protobuf.StringValue",
    "google.protobuf.UInt32Value",
    "google.protobuf.UInt64Value",
];
