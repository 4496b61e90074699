//! What is wrong between objects: references to nothing, rules that compete,
//! settings without effect.
//!
//! ```text
//! files ── objects ──► Mesh (by kind and name, with the mesh's settings) ── ANALYZERS ──► Findings ── filter ──► sorted
//! ```
//!
//! The analyzers and codes (`IST0101`) are Istio's, so that what a team knows,
//! suppresses and links to stays true; codes `PLT0001` and up are ours. An
//! analyzer sees the objects as written, kinds that the control plane leaves
//! alone (Deployments, webhooks) among them.
//!
//! Invariant: pure. The same objects, settings and time give the same findings,
//! in the same order; no analyzer sees what another found.
//!
//! Deliberately absent: reading files and printing (the command), and what one
//! object says by itself but for the schema's verdict (`schema`).
//!
//! Source: istio `pkg/config/analysis`, release 1.32.

pub mod codes;
mod finding;
mod hosts;
mod injected;
mod mesh;
mod object;
mod reading;
mod selector;
mod table;

mod alpha_annotations;
mod annotation;
mod annotations;
mod application_uid;
mod blocked_cidrs;
mod ca_certificates;
mod conditions;
mod conflicting_gateways;
mod conflicting_protocols;
mod crd_versions;
mod delegates;
mod deployment_services;
mod deprecated_fields;
mod destination_hosts;
mod destination_subsets;
mod envoy_patches;
mod external_control_plane;
mod gateway_certificates;
mod gateway_ports;
mod gateway_secrets;
mod gateway_selectors;
mod image_auto;
mod injection;
mod jwt_claims;
mod mesh_gateway_hosts;
mod mesh_networks;
mod multicluster_services;
mod policies;
mod port_names;
mod proxy_images;
mod schemas;
mod service_addresses;
mod shadowed;
mod sidecars;
mod subsets;
mod telemetries;
#[cfg(test)]
mod tests;
mod virtual_service_gateways;
mod webhooks;
mod winners;

use std::sync::Arc;

pub use codes::{Code, Level};
pub use finding::{Filter, Finding, Suppression, without_lower};
pub use mesh::{Mesh, Settings};
pub use object::{KindName, Object};
pub use reading::{Unreadable, read, read_node};
pub use table::{ANALYZERS, Analyzer};

use finding::Findings;

/// Runs `analyzers` over `mesh`. Findings are sorted: errors first, then by
/// code, object and text; each stands once.
pub fn analyze<'a>(mesh: &Mesh, analyzers: impl IntoIterator<Item = &'a Analyzer>) -> Vec<Finding> {
    let mut findings = Findings::default();
    for analyzer in analyzers {
        (analyzer.run)(mesh, &mut findings);
    }
    findings.sorted()
}

/// The analyzers called `names`; all if there is no name.
///
/// # Errors
/// The first name that no analyzer has.
pub fn named(names: &[String]) -> Result<Vec<&'static Analyzer>, String> {
    if names.is_empty() {
        return Ok(ANALYZERS.iter().collect());
    }
    let is = |analyzer: &Analyzer, name: &str| analyzer.name == name || analyzer.alias == name;
    if let Some(unknown) = names.iter().find(|name| !ANALYZERS.iter().any(|a| is(a, name))) {
        return Err(unknown.clone());
    }
    Ok(ANALYZERS.iter().filter(|a| names.iter().any(|name| is(a, name))).collect())
}

/// An object of a mesh, as analyzers pass it on.
type Shared = Arc<Object>;
