//! What the schema says of objects, as findings.

use std::sync::Arc;

use mesh_model::{Kind, Meta, ObjectRef, Severity, SourceLocation};

use super::Shared;
use super::codes::{INEFFECTIVE_MATCH, SCHEMA_ERROR, SCHEMA_WARNING, UNREACHABLE_RULE};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{KindName, VIRTUAL_SERVICE};
use crate::document;
use crate::reader::Fallback;
use crate::schema;
use crate::schema::rules::unreachable::{self, Finding};

pub(super) fn run(mesh: &Mesh, kind: KindName, findings: &mut Findings) {
    for object in mesh.all(kind) {
        let Some(document) = document(object) else { continue };
        for diagnostic in schema::check(&document, Fallback::Ignored) {
            let line = diagnostic.location.as_ref().map_or(object.root.line, |place| place.line);
            let message = match &*diagnostic.field {
                "" => diagnostic.message,
                field => format!("{field}: {}", diagnostic.message),
            };
            match diagnostic.severity {
                Severity::Error => {
                    findings.push_line(&SCHEMA_ERROR, object, line, format!("Schema validation error: {message}"));
                }
                // What is never used has codes of its own.
                _ if kind == VIRTUAL_SERVICE && message.contains(" is never used: ") => {}
                _ => findings.push_line(&SCHEMA_WARNING, object, line, format!("Schema validation warning: {message}")),
            }
        }
        if kind == VIRTUAL_SERVICE {
            never_used(object, findings);
        }
    }
}

fn never_used(object: &Shared, findings: &mut Findings) {
    for finding in unreachable::find(&object.spec()) {
        match finding {
            Finding::Rule { at, rule, reason } => {
                findings.push_at(
                    &UNREACHABLE_RULE,
                    object,
                    &at,
                    format!("VirtualService rule {rule} not used ({reason})"),
                );
            }
            Finding::Match { at, rule, name, before } => {
                let message = format!(
                    "VirtualService rule {rule} match {name} is not used (rule {before} takes what it matches)"
                );
                findings.push_at(&INEFFECTIVE_MATCH, object, &at, message);
            }
        }
    }
}

/// The object as the schema takes it.
fn document(object: &Shared) -> Option<document::Object> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == &*object.kind && schema::knows(*kind))?;
    let mut meta = Meta::new(kind, object.namespace.clone(), object.name.clone());
    meta.object = ObjectRef { kind, namespace: object.namespace.clone(), name: object.name.clone() };
    let file = if object.file.is_empty() { "-".into() } else { object.file.clone() };
    meta.location = Some(SourceLocation { file, line: object.root.line });
    Some(document::Object { meta: Arc::new(meta), root: object.root.clone(), document: 0 })
}
