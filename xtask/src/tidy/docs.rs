//! ARCHITECTURE.md has a section for every crate, with its **Invariant:**.

use super::{Finding, Workspace};

const DOCUMENT: &str = "ARCHITECTURE.md";
const MARK: &str = "**Invariant:**";

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Ok(text) = std::fs::read_to_string(workspace.root.join(DOCUMENT)) else {
        return vec![format!("{DOCUMENT} is missing")];
    };
    let missing = workspace.packages().into_iter().filter(|name| !states_invariant(&text, name));
    missing.map(|name| format!("{DOCUMENT}: no section headed `{name}` with a line that opens {MARK}")).collect()
}

/// Whether a section whose heading names the crate, or a table row or
/// paragraph that opens with its name, carries an invariant.
pub(super) fn states_invariant(document: &str, name: &str) -> bool {
    let mut inside = false;
    for line in document.lines() {
        if line.starts_with('#') {
            inside = line.split(|c: char| !c.is_alphanumeric() && c != '-').any(|word| word == name);
        }
        if inside && line.contains(MARK) {
            return true;
        }
    }
    false
}
