//! A subject from a folder of manifests, with nothing running.

use std::path::PathBuf;

use mesh_pilot::offline::{self, LoadOptions};

use super::subject::{self, Candidate, Subject};
use crate::explanation::convert;
use crate::failure::{Failure, Result};

/// What the sidecar of the workload `from` would have for `files`.
///
/// # Errors
/// If the workload is not there, or a path cannot be read. What is wrong in the
/// files is in the subject's diagnostics, and the rest is answered from.
pub(super) async fn subject(files: &[PathBuf], from: &str, domain: &str) -> Result<Subject> {
    for path in files {
        std::fs::metadata(path).map_err(|error| Failure::Data(format!("-f {}: {error}", path.display())))?;
    }
    let options = LoadOptions { config_dirs: files.to_vec(), mesh_config: None, domain: domain.to_owned() };
    let loaded = offline::load(&options).await;
    let snapshot = &loaded.snapshot;
    let workloads: Vec<_> = snapshot.workloads.iter().collect();
    let candidates: Vec<Candidate> = workloads
        .iter()
        .map(|w| Candidate {
            namespace: w.meta.namespace().to_string(),
            name: w.meta.name().to_string(),
            app: w.meta.labels.get("app").map(str::to_owned),
        })
        .collect();
    let workload = workloads[subject::choose(from, &candidates).map_err(Failure::Data)?];
    let view = offline::view(snapshot, &workload.key()).map_err(|error| Failure::Data(error.to_string()))?;
    let locations = loaded.locations.iter().map(|(object, place)| (convert::key(object), place.clone())).collect();
    let subject = Subject::of_view(&view, domain, subject::hosts(snapshot), locations);
    let subject = subject.ok_or_else(|| Failure::Data(format!("{} has no sidecar", workload.meta.object)))?;
    let diagnostics = loaded.diagnostics.iter().chain(&view.diagnostics).cloned().collect();
    Ok(Subject { diagnostics, ..subject })
}
