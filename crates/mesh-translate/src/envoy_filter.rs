//! EnvoyFilters: patches of what a proxy is told, after it was built and before
//! it is sent.
//!
//! ```text
//! EnvoyFilter ── Compiled::new ──► typed patches ─┐
//! proxy (namespace, labels, version, metadata) ───┴─ Selection ──► Patches ──► clusters, listeners, routes
//! ```
//!
//! [`Patches`] are part of a scope by identity: a proxy that no EnvoyFilter is
//! about has none and pays nothing, and proxies with the same ones share every
//! byte.
//!
//! Order: by priority, then those of the root namespace, then the oldest first;
//! within an object as written. What a patch changes names its EnvoyFilter
//! among its origins.
//!
//! Invariant: a patch that cannot be applied leaves what it is about as it was.
//!
//! Deliberately absent: whether a proxy takes the result. What it refuses is
//! withdrawn by `mesh-pilot`.

use mesh_model::rules::envoy_filter::{ApplyTo, Context};
use mesh_model::{Code, Diagnostic, Severity};
use mesh_proto::envoy::config::core::v3::{Metadata, TransportSocket, TypedExtensionConfig, transport_socket};
use mesh_proto::origin;
use mesh_proto::resource::Resource;

mod cluster;
mod compile;
mod filters;
mod list;
mod listener;
mod merge;
mod route;
mod selection;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use compile::Patch;
pub(crate) use selection::{Selection, Subject};

/// The patches for one side of a proxy, in the order in which they apply.
#[derive(Debug, Default)]
pub(crate) struct Patches {
    patches: Vec<Arc<Patch>>,
    /// What is wrong with EnvoyFilters of the proxy's namespaces.
    diagnostics: Vec<Diagnostic>,
}

impl Patches {
    /// What is wrong with the EnvoyFilters themselves.
    pub(crate) fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// What filters fetch by ECDS: what patches add as such.
    pub(crate) fn extensions(&self) -> Vec<Resource> {
        let added = self.patches.iter().filter(|p| p.apply_to == ApplyTo::ExtensionConfig);
        let added = added.filter_map(|p| p.added::<TypedExtensionConfig>());
        added.map(|extension| Resource::new(extension.name.as_str(), &extension)).collect()
    }

    /// What is lost on a gRPC library, which has no proxy to patch.
    pub(crate) fn unused_by_grpc(&self) -> Vec<Diagnostic> {
        let mut first: Vec<&Patch> = Vec::new();
        for patch in &self.patches {
            if !first.iter().any(|p| Arc::ptr_eq(&p.rule, &patch.rule)) {
                first.push(patch);
            }
        }
        let message = "is about a gRPC client without a proxy, which cannot be patched".to_owned();
        let finding =
            |p: &Patch| p.finding(Severity::Info, Code::NotApplied, message.clone(), "it is not applied there");
        first.into_iter().map(finding).collect()
    }

    /// Patches of one kind of thing on one side of a proxy.
    fn of(&self, apply_to: ApplyTo, context: Context) -> impl Iterator<Item = &Patch> {
        let here = move |p: &&Arc<Patch>| p.apply_to == apply_to && (p.context == context || p.context == Context::Any);
        self.patches.iter().filter(here).map(|p| &**p)
    }
}

/// An addition that names no side is made once: where calls leave.
fn adds_in(patch: &Patch, context: Context) -> bool {
    patch.context != Context::Any || matches!(context, Context::SidecarOutbound | Context::Gateway)
}

fn add_origin(metadata: &mut Option<Metadata>, patch: &Patch) {
    let mut origins = origin::read(metadata.as_ref());
    if !origins.contains(&patch.origin) {
        origins.push(patch.origin.clone());
        origin::write(metadata.get_or_insert_default(), origins);
    }
}

fn merge_socket(socket: &mut TransportSocket, patch: &TransportSocket) {
    use transport_socket::ConfigType as C;
    match (&mut socket.config_type, &patch.config_type) {
        (Some(C::TypedConfig(old)), Some(C::TypedConfig(new))) => merge::merge_any(old, new),
        (old, Some(new)) => *old = Some(new.clone()),
        (_, None) => {}
    }
}
