//! `workloadSelector`: which workloads an object is about.

use mesh_model::Labels;

use crate::reader::Fields;

/// Reads `workloadSelector`, whose labels stand in the field `labels` or
/// `matchLabels`. `None` if there is no selector; an empty one selects all.
pub(super) fn read(fields: &Fields<'_>, labels_field: &'static str) -> Option<Labels> {
    read_named(fields, "workloadSelector", labels_field)
}

/// As [`read`], for a kind whose selector is called `name`.
pub(super) fn read_named(fields: &Fields<'_>, name: &'static str, labels_field: &'static str) -> Option<Labels> {
    let selector = fields.optional(name)?.fields()?;
    let labels = selector.optional(labels_field);
    if let Some(labels) = &labels {
        for (key, value) in labels.entries()? {
            if key.is_empty() || key.contains('*') {
                labels.error::<()>(format!("found key {key:?}, expected a label's name without wildcard"));
            }
            if value.node().text().is_some_and(|text| text.contains('*')) {
                value.invalid::<()>("a label's value: a wildcard is not supported in a selector");
            }
        }
    }
    let labels = labels.and_then(|labels| labels.labels()).unwrap_or_default();
    if let Some(name) = selector.unknown().first() {
        // Fewer conditions would select more workloads than the author meant.
        selector.error::<()>(format!("found {name}, expected {labels_field}: without it the selector takes too much"));
    }
    Some(labels)
}
