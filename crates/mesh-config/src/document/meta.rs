//! `metadata`.

use mesh_model::{Diagnostic, Kind, Meta, Name, ObjectRef, SourceLocation};

use super::is_namespaced;
use crate::reader::{Fallback, Fields, Log};
use crate::yaml::{Node, quote};

/// Reads what every object carries. `None` if it has no usable name; then, and
/// for smaller faults, `diagnostics` says why.
pub(super) fn read(file: &Name, kind: Kind, root: &Node, diagnostics: &mut Vec<Diagnostic>) -> Option<Meta> {
    let text = |node: Option<&Node>| node.and_then(Node::text).cloned().unwrap_or_else(|| "".into());
    let metadata = root.get("metadata");
    let name = text(metadata.and_then(|m| m.get("name")));
    let namespace = match text(metadata.and_then(|m| m.get("namespace"))) {
        _ if !is_namespaced(kind) => "".into(),
        namespace if namespace.is_empty() => DEFAULT_NAMESPACE.into(),
        namespace => namespace,
    };
    let object = ObjectRef { kind, namespace, name };
    let location = (!file.is_empty()).then(|| SourceLocation { file: file.clone(), line: root.line });
    let named = (!object.name.is_empty()).then(|| object.clone());
    let log = Log::new(named, file.clone(), Fallback::Ignored);
    let mut meta = Meta::new(kind, object.namespace.clone(), object.name.clone());
    meta.api_version = text(root.get("apiVersion"));
    meta.location = location;
    fill(&mut meta, root, &log);
    let failed = log.failed();
    diagnostics.extend(log.finish());
    (!failed).then_some(meta)
}

fn fill(meta: &mut Meta, root: &Node, log: &Log) -> Option<()> {
    let root = log.root(root, "").fields()?;
    let fields = root.required("metadata", "a map with at least a name")?.fields()?;
    read_name(meta, &fields);
    if let Some(labels) = fields.optional("labels").and_then(|v| v.labels()) {
        meta.labels = labels;
    }
    if let Some(annotations) = fields.optional("annotations").and_then(|v| v.labels()) {
        meta.annotations = annotations;
    }
    if let Some(created) = fields.optional("creationTimestamp") {
        match created.node().text().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
            Some(time) => meta.created = time.as_second(),
            None => created.invalid("a time such as 2026-01-31T12:00:00Z")?,
        }
    }
    if let Some(version) = fields.optional("resourceVersion").and_then(|v| v.text()) {
        meta.resource_version = version;
    }
    Some(())
}

fn read_name(meta: &Meta, fields: &Fields<'_>) {
    let expected = "a name of lower-case letters, digits, '-' and '.', at most 253 long";
    if let Some(name) = fields.required("name", expected)
        && !is_object_name(&meta.object.name)
    {
        name.invalid::<()>(expected);
    }
    if let Some(namespace) = fields.optional("namespace")
        && is_namespaced(meta.object.kind)
        && !is_object_name(&meta.object.namespace)
    {
        let found = namespace.node().text().map_or_else(|| namespace.node().describe(), |text| quote(text));
        namespace.error::<()>(format!("found {found}, expected a namespace's name"));
    }
}

/// Whether `text` names an object: a DNS subdomain.
fn is_object_name(text: &str) -> bool {
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            bytes.first().is_some_and(inner)
                && bytes.last().is_some_and(inner)
                && bytes.iter().all(|b| inner(b) || *b == b'-')
        })
}

const DEFAULT_NAMESPACE: &str = "default";
