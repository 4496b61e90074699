//! Patches whose operation does nothing, or whose effect hangs on the order of
//! EnvoyFilters.

use super::Shared;
use super::codes::{ADD_PATCH, RELATIVE_PATCH, RELATIVE_PATCH_OF_VERSION, REMOVE_PATCH, REPLACE_PATCH};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::ENVOY_FILTER;
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    // Names that patches for one version of the proxy insert.
    let mut of_versions: Vec<String> = Vec::new();
    for filter in mesh.all(ENVOY_FILTER) {
        for at in filter.spec().get("configPatches").items() {
            if !at.get("patch").exists() {
                break;
            }
            let name = name(&at);
            check(filter, &at, &of_versions, &name, findings);
            if !at.path(&["match", "proxy", "proxyVersion"]).text().is_empty() {
                of_versions.push(name);
            }
        }
    }
}

/// What a patch is about: the name of its value, or of the filter matched.
fn name(at: &At<'_>) -> String {
    let value = at.path(&["patch", "value"]);
    match value.get("name").exists() {
        _ if !value.exists() => String::new(),
        true => value.get("name").text().to_owned(),
        false => at.path(&["match", "listener", "filterChain", "filter", "name"]).text().to_owned(),
    }
}

fn check(filter: &Shared, at: &At<'_>, of_versions: &[String], name: &str, findings: &mut Findings) {
    let (apply_to, patch) = (at.get("applyTo").text(), at.get("patch"));
    let operation = patch.get("operation");
    let routes = matches!(apply_to, "ROUTE_CONFIGURATION" | "HTTP_ROUTE");
    let replaceable = matches!(apply_to, "NETWORK_FILTER" | "HTTP_FILTER" | "VIRTUAL_HOST");
    let mut say = |code, message: String| findings.push_at(code, filter, &operation, message);
    match operation.text() {
        "ADD" if routes => say(&ADD_PATCH, format!("The operation ADD is ignored with applyTo {apply_to}")),
        "REMOVE" if routes => say(&REMOVE_PATCH, format!("The operation REMOVE is ignored with applyTo {apply_to}")),
        "REPLACE" if !replaceable => {
            let message = "The operation REPLACE works with applyTo HTTP_FILTER, NETWORK_FILTER and VIRTUAL_HOST only";
            say(&REPLACE_PATCH, message.to_owned());
        }
        "REMOVE" | "REPLACE" | "INSERT_BEFORE" | "INSERT_AFTER" => {
            if filter.spec().get("priority").int().unwrap_or(0) != 0 {
                return;
            }
            let relative = format!("The operation {} needs what another EnvoyFilter may add later", operation.text());
            let advice = "set a priority, or use INSERT_FIRST or ADD";
            match of_versions.iter().any(|other| other == name) {
                true => {
                    say(&RELATIVE_PATCH_OF_VERSION, format!("{relative} or only for another proxyVersion; {advice}"))
                }
                false => say(&RELATIVE_PATCH, format!("{relative}; {advice}")),
            }
        }
        _ => {}
    }
}
