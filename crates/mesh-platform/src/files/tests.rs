#![allow(clippy::unwrap_used)]

use mesh_model::Severity;

use super::*;

/// Istio's own data, where it lies beside the project.
fn istio(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/istio").join(path);
    if !path.exists() {
        println!("skipped: {} is absent", path.display());
        return None;
    }
    Some(path)
}

#[test]
fn istios_samples_load_without_an_error() {
    let Some(samples) = istio("samples") else { return };
    let (changes, diagnostics) = load_once(&[samples]);
    let errors: Vec<String> =
        diagnostics.iter().filter(|d| d.severity == Severity::Error).map(|d| d.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    assert!(changes.iter().any(|c| matches!(c, Change::Service(s) if &**s.meta.name() == "reviews")));
    assert!(changes.iter().any(|c| matches!(c, Change::Rule(r) if &**r.meta.name() == "reviews")));
}
