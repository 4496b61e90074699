//! `docs/features.md` claims nothing without a proof: a row that says `yes`
//! links to a test or a case that is there.

use std::path::Path;

use super::{Finding, Workspace};

const DOCUMENT: &str = "docs/features.md";
const STATES: [&str; 5] = ["yes", "reported", "refused", "-", "untested"];

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let Ok(text) = std::fs::read_to_string(workspace.root.join(DOCUMENT)) else {
        return vec![format!("{DOCUMENT} is missing")];
    };
    let source = |path: &Path| workspace.sources.iter().find(|(p, _)| p == path).map(|(_, text)| text.as_str());
    let proves = |link: &Link<'_>| {
        let path = Path::new(link.target.trim_start_matches("../"));
        match source(path) {
            Some(text) => text.contains(&format!("fn {}(", link.text.trim_matches('`'))),
            None => workspace.files.iter().any(|f| f.starts_with(path)),
        }
    };
    rows(&text).flat_map(|(line, row)| wrong(line, &row, &proves)).collect()
}

/// A table row about a field: the field, three states, the proofs.
pub(super) struct Row<'a> {
    field: &'a str,
    states: [&'a str; 3],
    proofs: &'a str,
}

/// `[text](target)`
pub(super) struct Link<'a> {
    pub(super) text: &'a str,
    pub(super) target: &'a str,
}

/// The rows about fields, with their line numbers.
pub(super) fn rows(text: &str) -> impl Iterator<Item = (usize, Row<'_>)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [field, native, envoy, grpc, proofs] = cells[..] else { return None };
        field.starts_with('`').then_some((index + 1, Row { field, states: [native, envoy, grpc], proofs }))
    })
}

/// What is wrong with a row.
pub(super) fn wrong(line: usize, row: &Row<'_>, proves: &dyn Fn(&Link<'_>) -> bool) -> Vec<Finding> {
    let place = format!("{DOCUMENT}:{line}: {}", row.field);
    let unknown = row.states.iter().filter(|s| !STATES.contains(s));
    let mut findings: Vec<Finding> =
        unknown.map(|state| format!("{place}: found {state:?}, expected one of {}", STATES.join(", "))).collect();
    let links = links(row.proofs);
    if links.is_empty() && row.states.iter().any(|s| matches!(*s, "yes" | "reported" | "refused")) {
        findings.push(format!("{place}: it claims something and links to no test or case"));
    }
    let broken = links.iter().filter(|l| !proves(l));
    findings.extend(broken.map(|l| format!("{place}: {} has no test or case {}", l.target, l.text)));
    findings
}

fn links(text: &str) -> Vec<Link<'_>> {
    let link = |part: &'_ str| -> Option<(usize, usize, usize)> {
        let middle = part.find("](")?;
        let end = part[middle..].find(')')? + middle;
        Some((part.find('[')?, middle, end))
    };
    let mut links = Vec::new();
    let mut rest = text;
    while let Some((start, middle, end)) = link(rest) {
        if start < middle {
            links.push(Link { text: &rest[start + 1..middle], target: &rest[middle + 2..end] });
        }
        rest = &rest[end + 1..];
    }
    links
}
