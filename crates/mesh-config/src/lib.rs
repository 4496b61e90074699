//! How a mesh is written: Kubernetes objects and Istio's rules in YAML or JSON,
//! read into `mesh-model`'s types or into located diagnostics.
//!
//! ```text
//! bytes ── yaml ──► Document trees ── document ──► Objects ── rules ──► Rule (typed) + Diagnostics
//!                                                     └──── reader: typed access, unknown fields ────┘
//! ```
//!
//! Invariant: no input panics or takes unbounded time or memory, and nothing an
//! author wrote is dropped without a diagnostic that says so: a field is applied,
//! or reported as unknown, or reported as accepted and not yet applied.
//!
//! Deliberately absent: files and watching (`mesh-platform`), and what holds
//! between objects (`mesh-model`'s world, `mesh-translate`).

pub mod analysis;
pub mod base64;
pub mod document;
pub mod reader;
pub mod rules;
pub mod schema;
pub mod yaml;
