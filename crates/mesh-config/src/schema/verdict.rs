//! One verdict on the documents of a file: what an API server, Istio's webhook
//! and our own readers have to say, each thing once.

use mesh_model::rules::MeshConfig;
use mesh_model::{Code, Diagnostic, Kind, Severity};

use crate::document::{Contents, Object};
use crate::reader::Fallback;
use crate::rules::{self, workload_entry};

/// All that is wrong with the documents of `contents`, each by itself, in the
/// order written.
///
/// A field that is not known is an error here, though a control plane ignores
/// it: the author meant something by it. Fields that are understood and not
/// applied are told as information.
pub fn verdict(contents: &Contents, mesh: &MeshConfig) -> Vec<Diagnostic> {
    let mut found = contents.diagnostics.clone();
    for object in &contents.objects {
        found.extend(of_object(object, mesh));
    }
    found.sort_by_key(|d| d.location.as_ref().map(|place| place.line));
    found
}

fn of_object(object: &Object, mesh: &MeshConfig) -> Vec<Diagnostic> {
    let mut found = super::check(object, Fallback::Ignored);
    let read = match object.kind() {
        Kind::WorkloadEntry => workload_entry::parse(object, Fallback::Ignored).diagnostics,
        kind if rules::is_rule(kind) => rules::parse(object, mesh, Fallback::Ignored).diagnostics,
        _ => Vec::new(),
    };
    for diagnostic in read {
        if !found.iter().any(|other| says_the_same(other, &diagnostic)) {
            found.push(diagnostic);
        }
    }
    for diagnostic in &mut found {
        // Nothing is in force here, so nothing follows.
        diagnostic.consequence.clear();
        match diagnostic.code {
            Code::UnknownField => diagnostic.severity = Severity::Error,
            Code::NotApplied => diagnostic.severity = Severity::Info,
            _ => {}
        }
    }
    found
}

/// Whether two findings are about one fault: one place, or one inside the other.
fn says_the_same(a: &Diagnostic, b: &Diagnostic) -> bool {
    let both_refuse = a.severity == Severity::Error && b.severity == Severity::Error;
    let near = a.field.starts_with(&b.field) || b.field.starts_with(&a.field);
    let same_field = a.field == b.field && (a.code == b.code || a.severity == b.severity);
    same_field || (both_refuse && (near || a.location == b.location))
}
