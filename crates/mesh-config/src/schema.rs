//! Whether an object is what its kind allows: structure first, then the rules
//! that hold between its fields.
//!
//! ```text
//! Object ── structure: tables/ (types, bounds, words) ──► rules/<kind>.rs (what belongs together) ──► findings
//! ```
//!
//! This is what an API server with Istio's CRDs and Istio's admission webhook
//! would say together, in our words and with lines. A typed reader need not
//! repeat it; kinds that have no reader are checked by it alone.
//!
//! Invariant: rules run only on objects whose structure is right, so they may
//! take types for granted; both are pure and linear, but for groups that a table
//! bounds.
//!
//! Deliberately absent: what holds between objects (`analysis`).

pub mod at;
mod form;
pub(crate) mod rules;
mod shape;
mod structure;
mod tables;
#[cfg(test)]
mod tests;
mod verdict;

use mesh_model::{Diagnostic, Kind, Severity};

pub use at::At;
pub use verdict::verdict;

use crate::document::Object;
use crate::reader::{Fallback, Log};

/// Whether objects of `kind` have a table here: Istio's own kinds do.
pub fn knows(kind: Kind) -> bool {
    tables::of(kind).is_some()
}

/// All that is wrong with `object` by itself, in the order found; nothing if
/// its kind is not one of Istio's.
pub fn check(object: &Object, fallback: Fallback) -> Vec<Diagnostic> {
    let log = object.log(fallback);
    check_into(object, &log);
    log.finish()
}

/// As [`check`], into a log that the caller goes on with. `false` if the
/// structure is so wrong that the object cannot be read.
pub(crate) fn check_into(object: &Object, log: &Log) -> bool {
    let Some(spec) = tables::of(object.kind()) else { return true };
    structure::check(object, &spec, log);
    if log.failed() {
        return false;
    }
    rules::check(object, log);
    true
}

/// Whether `found` says that the object is refused.
pub fn is_refused(found: &[Diagnostic]) -> bool {
    found.iter().any(|d| d.severity == Severity::Error)
}
