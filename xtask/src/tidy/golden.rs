//! A translation case has three files: the mesh, the resources it is about,
//! and where requests go.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Workspace};

const CASES: &str = "crates/mesh-translate/testdata";
const FILES: [&str; 3] = ["mesh.yaml", "expect.yaml", "requests.yaml"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let mut cases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &workspace.files {
        let Ok(inner) = file.strip_prefix(CASES) else { continue };
        if let (Some(case), Some(name)) = (inner.parent(), inner.file_name()) {
            cases.entry(case.to_string_lossy().into_owned()).or_default().insert(name.to_string_lossy().into_owned());
        }
    }
    let mut findings = Vec::new();
    for (case, present) in &cases {
        for name in FILES.iter().filter(|name| !present.contains(**name)) {
            findings.push(format!("{CASES}/{case}: {name} is missing"));
        }
    }
    findings
}
