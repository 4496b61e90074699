//! `exportTo`: which namespaces see an object.

use mesh_model::{Name, Visibility};

use super::Scope;
use crate::reader::{Fields, Value};

/// Reads `exportTo`; `default` where it is absent or empty.
///
/// Source: `ValidateExportTo`, istio `pkg/config/validation/validation.go`.
pub(super) fn read(fields: &Fields<'_>, scope: &Scope<'_>, default: &Visibility) -> Visibility {
    let entries = fields.optional("exportTo").and_then(|value| entries(&value)).unwrap_or_default();
    Visibility::from_entries(entries.iter().map(|entry| &**entry), scope.meta.namespace(), default)
}

/// Reads a list such as MeshConfig's `defaultServiceExportTo`. `.` stays as it
/// is: it means the namespace of whichever object takes the default.
pub(super) fn read_default(value: &Value<'_>) -> Option<Visibility> {
    let entries = entries(value)?;
    Some(Visibility::from_entries(entries.iter().map(|entry| &**entry), &Name::from("."), &Visibility::Public))
}

fn entries(value: &Value<'_>) -> Option<Vec<Name>> {
    let items = value.items()?;
    let mut entries = Vec::with_capacity(items.len());
    for item in &items {
        let entry = item.text()?;
        if !matches!(&*entry, "*" | "." | "~") && !is_namespace(&entry) {
            item.invalid::<()>("a namespace, or one of *, ., ~");
        }
        entries.push(entry);
    }
    if entries.len() > 1 && entries.iter().any(|entry| matches!(&**entry, "*" | "~")) {
        value.error::<()>("found * or ~ beside other namespaces, expected it alone".to_owned());
    }
    Some(entries)
}

/// Whether `text` can be a namespace's name: a DNS label.
pub(super) fn is_namespace(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= 63
        && bytes.first().is_some_and(inner)
        && bytes.last().is_some_and(inner)
        && bytes.iter().all(|b| inner(b) || *b == b'-')
}
