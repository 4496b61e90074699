//! What a folder of manifests means, without a server: the same parser, world
//! and translation that a running control plane uses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_model::{Diagnostic, MeshSnapshot, ObjectRef, SourceLocation, WorkloadKey};
use mesh_proto::resource::ResourceSet;

/// A folder, read once.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The mesh that it describes.
    pub snapshot: Arc<MeshSnapshot>,
    /// Everything that is wrong with it, sorted.
    pub diagnostics: Vec<Diagnostic>,
    /// Where each object stands.
    pub locations: BTreeMap<ObjectRef, SourceLocation>,
}

/// What a proxy gets.
#[derive(Debug, Clone)]
pub struct ProxyView {
    /// Its node id.
    pub node_id: String,
    /// Resources by type URL.
    pub resources: BTreeMap<Arc<str>, Arc<ResourceSet>>,
    /// What translation found wrong.
    pub diagnostics: Vec<Diagnostic>,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Folders or files.
    pub config_dirs: Vec<PathBuf>,
    /// As [`crate::Options::mesh_config`].
    pub mesh_config: Option<PathBuf>,
    /// As [`crate::Options::domain`].
    pub domain: String,
}

/// A workload that the mesh does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no Pod or WorkloadEntry {}/{} is known; known are {known}", .workload.namespace, .workload.name)]
pub struct UnknownWorkload {
    /// The one asked for.
    pub workload: WorkloadKey,
    /// Those that are known, shortened.
    pub known: String,
}

/// Reads the folders once. What cannot be read is in the diagnostics.
pub async fn load(options: &LoadOptions) -> Loaded {
    let _ = options;
    Loaded { snapshot: Arc::default(), diagnostics: Vec::new(), locations: BTreeMap::new() }
}

/// Everything that the sidecar of `workload` gets, whether or not there is one.
///
/// # Errors
/// [`UnknownWorkload`], with the names that are known.
pub fn view(snapshot: &Arc<MeshSnapshot>, workload: &WorkloadKey) -> Result<ProxyView, UnknownWorkload> {
    let known: Vec<String> = snapshot.workloads.iter().map(|w| w.meta.object.to_string()).collect();
    Err(UnknownWorkload { workload: workload.clone(), known: known.join(", ") })
}
