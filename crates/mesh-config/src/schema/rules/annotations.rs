//! Annotations that Istio's kinds may and may not carry.

use mesh_model::Kind;

use super::Report;
use crate::schema::At;

const DRY_RUN: &str = "istio.io/dry-run";
/// Written by the control plane where it makes rules of other objects.
const INTERNAL: [&str; 3] =
    ["internal.istio.io/parents", "internal.istio.io/parent-namespace", "internal.istio.io/webhook-always-reject"];

pub(super) fn check(root: &At<'_>, kind: Kind, report: &Report<'_>) {
    let annotations = root.path(&["metadata", "annotations"]);
    for (name, value) in annotations.entries() {
        if INTERNAL.contains(&name) {
            report.error(&value, "found an annotation that only a control plane may write, expected none");
        }
        if name == DRY_RUN {
            dry_run(root, kind, &value, report);
        }
    }
}

fn dry_run(root: &At<'_>, kind: Kind, value: &At<'_>, report: &Report<'_>) {
    if kind != Kind::AuthorizationPolicy {
        return report.error(value, format!("found {DRY_RUN} on a {kind}, expected it on an AuthorizationPolicy only"));
    }
    let action = root.path(&["spec", "action"]);
    if !matches!(action.text(), "" | "ALLOW" | "DENY") {
        report.error(value, format!("found {DRY_RUN} with action {}, expected ALLOW or DENY", action.text()));
    } else if !matches!(
        value.text(),
        "1" | "t" | "T" | "TRUE" | "true" | "True" | "0" | "f" | "F" | "FALSE" | "false" | "False"
    ) {
        report.invalid(value, "true or false in quotes");
    }
}
