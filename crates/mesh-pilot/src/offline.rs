//! What a folder of manifests means, without a server: the same adapter, world
//! and translation that a running control plane uses.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mesh_model::{Diagnostic, MeshSnapshot, ObjectRef, SourceLocation, WorkloadKey, World};

use crate::objects;
use crate::rule_status::{self, RuleStatus};
pub use crate::view::{JsonError, ProxyView, WorkloadError, locations_from_json};

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

impl Loaded {
    /// What became of each rule. Where it is in effect is not known: nothing
    /// runs.
    pub fn rule_statuses(&self) -> Vec<RuleStatus> {
        rule_status::of(&self.snapshot, &self.diagnostics, None)
    }
}

impl LoadOptions {
    /// Reads `config_dirs` with the domain `cluster.local`.
    pub fn new(config_dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { config_dirs: config_dirs.into_iter().collect(), mesh_config: None, domain: "cluster.local".to_owned() }
    }
}

/// Reads the folders once. What cannot be read is in the diagnostics.
pub async fn load(options: &LoadOptions) -> Loaded {
    let options = options.clone();
    let loaded = tokio::task::spawn_blocking(move || load_blocking(&options)).await;
    loaded.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime is going down, and with it whoever asks.
        Err(_) => Loaded { snapshot: Arc::default(), diagnostics: Vec::new(), locations: BTreeMap::new() },
    })
}

/// Everything that the sidecar of `workload` gets, whether or not there is one.
///
/// # Errors
/// See [`WorkloadError`].
pub fn view(snapshot: &Arc<MeshSnapshot>, workload: &WorkloadKey) -> Result<ProxyView, WorkloadError> {
    ProxyView::of_workload(snapshot, workload)
}

fn load_blocking(options: &LoadOptions) -> Loaded {
    let known = mesh_platform::files::read_once(crate::platform::files(
        &options.config_dirs,
        options.mesh_config.as_deref(),
        &options.domain,
    ));
    let mut world = World::new();
    for change in known.changes_since(&mesh_platform::Known::default()) {
        world.apply(change);
    }
    let mut diagnostics = known.diagnostics.clone();
    let (snapshot, between) = world.snapshot();
    diagnostics.extend(between.iter().cloned());
    diagnostics.sort();
    diagnostics.dedup();
    let locations = objects::locations(&snapshot);
    Loaded { snapshot, diagnostics, locations }
}
