//! Where the control plane fetches key sets from.

use super::codes::JWKS_UNRESTRICTED;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{DEPLOYMENT, REQUEST_AUTHENTICATION};

const VARIABLE: &str = "BLOCKED_CIDRS_IN_JWKS_URIS";
/// As many names as a line takes.
const NAMES_SHOWN: usize = 5;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    let names: Vec<String> = mesh.all(REQUEST_AUTHENTICATION).iter().map(|r| r.full_name()).collect();
    if names.is_empty() {
        return;
    }
    for istiod in mesh.all(DEPLOYMENT).iter().filter(|d| d.labels.get("app") == Some("istiod")) {
        let containers = istiod.at(&["spec", "template", "spec", "containers"]).items();
        let restricts = containers
            .iter()
            .flat_map(|c| c.get("env").items())
            .any(|variable| variable.get("name").text() == VARIABLE && !variable.get("value").text().is_empty());
        if !restricts {
            let rest = names.len().saturating_sub(NAMES_SHOWN);
            let more = if rest > 0 { format!(", and {rest} more") } else { String::new() };
            let shown = names[..names.len().min(NAMES_SHOWN)].join(", ");
            let message = format!(
                "{VARIABLE} is not set, so key sets of {} RequestAuthentications ({shown}{more}) may be fetched from any network",
                names.len()
            );
            findings.push(&JWKS_UNRESTRICTED, istiod, message);
        }
    }
}
