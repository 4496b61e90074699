//! Golden cases: `testdata/<case>/input.yaml` gives `expect.txt`, which
//! `UPDATE_GOLDEN=1` rewrites.
//!
//! `expect.txt` shows every finding, then every object that is read, with the
//! fields that say something.

use std::fmt::{Debug, Write};
use std::fs;
use std::path::Path;

use mesh_config::document::{self, Contents};
use mesh_config::reader::Fallback;
use mesh_config::rules::{self, mesh_config as settings, workload_entry};
use mesh_model::rules::{MeshConfig, Spec};
use mesh_model::{Diagnostic, Kind, Rule};

#[test]
fn every_case_reads_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut cases: Vec<_> = fs::read_dir(folder).expect("testdata is there").flatten().map(|e| e.path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let input = fs::read(case.join("input.yaml")).expect("input.yaml is there");
        let found = render(&document::read(&"input.yaml".into(), &input));
        let expected = case.join("expect.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&expected, &found).expect("expect.txt can be written");
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(found, wanted, "{} differs; UPDATE_GOLDEN=1 rewrites it", expected.display());
    }
}

fn render(contents: &Contents) -> String {
    let base = MeshConfig::default();
    let mut findings = contents.diagnostics.clone();
    let mut mesh = base.clone();
    let mut text = String::new();
    for object in contents.objects.iter().filter(|o| settings::is_mesh_config(o, "istio-system")) {
        let parsed = settings::parse(object, &base, Fallback::Ignored);
        findings.extend(parsed.diagnostics);
        if let Some(value) = parsed.value {
            show(&mut text, "MeshConfig, where it differs from the default", &difference(&value, &base));
            mesh = value;
        }
    }
    for object in &contents.objects {
        let title = object.meta.object.to_string();
        if object.kind() == Kind::WorkloadEntry {
            let parsed = workload_entry::parse(object, Fallback::Ignored);
            findings.extend(parsed.diagnostics);
            parsed.value.iter().for_each(|value| show(&mut text, &title, &spare(value)));
        } else if rules::is_rule(object.kind()) {
            let parsed = rules::parse(object, &mesh, Fallback::PreviousStays);
            findings.extend(parsed.diagnostics);
            parsed.value.iter().for_each(|value| show(&mut text, &title, &spec(value)));
        }
    }
    findings.extend(document::unknown_kinds([contents]));
    format!("{}{text}", findings.iter().map(finding).collect::<String>())
}

fn finding(d: &Diagnostic) -> String {
    format!("{} [{}] {d}\n", d.severity, d.code.as_str())
}

fn show(text: &mut String, title: &str, body: &str) {
    write!(text, "\n--- {title}\n{body}").expect("text takes all that is written");
}

fn spec(rule: &Rule) -> String {
    match &rule.spec {
        Spec::VirtualService(spec) => spare(spec),
        Spec::DestinationRule(spec) => spare(spec),
        Spec::EnvoyFilter(spec) => spare(spec),
        Spec::ServiceEntry(spec) => spare(spec),
        Spec::Sidecar(spec) => spare(spec),
        Spec::PeerAuthentication(spec) => spare(spec),
        Spec::Gateway(spec) => spare(spec),
        Spec::Telemetry(spec) => spare(spec),
        Spec::GatewayApi(spec) => spare(spec),
        Spec::NotApplied => "NotApplied\n".to_owned(),
    }
}

/// The debug text without metadata (the title and the location say it) and
/// without fields that say nothing.
fn spare(value: &impl Debug) -> String {
    let full = format!("{value:#?}");
    let mut lines: Vec<&str> = Vec::new();
    let mut skipping: Option<usize> = None;
    for line in full.lines() {
        let indent = line.len() - line.trim_start().len();
        if let Some(at) = skipping {
            skipping = (indent > at).then_some(at);
            continue;
        }
        let trimmed = line.trim();
        if trimmed == "meta: Meta {" {
            skipping = Some(indent);
            continue;
        }
        let silent =
            [": None,", ": Istio,", ": [],", ": \"\",", ": false,", ": {},"].iter().any(|end| trimmed.ends_with(end));
        if !silent {
            lines.push(line);
        }
    }
    compact(lines.into_iter().map(str::to_owned).collect())
}

/// Leaves out structs of which nothing is said and puts short values on one
/// line.
fn compact(mut lines: Vec<String>) -> String {
    while let Some(at) = (0..lines.len()).find(|at| opens(&lines, *at) && closes(&lines, at + 1)) {
        let closed = format!("{}{}", lines[at], lines[at + 1].trim());
        let is_field = closed.contains(": ") && !closed.trim_start().starts_with('"');
        lines.splice(at..=at + 1, if is_field { None } else { Some(closed) });
    }
    while let Some(at) = (0..lines.len()).find(|at| opens(&lines, *at) && closes(&lines, at + 2) && fits(&lines, *at)) {
        let joined = format!("{}{}{}", lines[at], lines[at + 1].trim().trim_end_matches(','), lines[at + 2].trim());
        lines.splice(at..=at + 2, [joined]);
    }
    lines.retain(|line| !line.ends_with(": Labels({}),"));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Characters of one line.
const LINE_MAX: usize = 100;

fn opens(lines: &[String], at: usize) -> bool {
    lines[at].ends_with(['{', '(', '['])
}

fn closes(lines: &[String], at: usize) -> bool {
    lines.get(at).is_some_and(|line| matches!(line.trim().trim_end_matches(','), "}" | ")" | "]"))
}

fn fits(lines: &[String], at: usize) -> bool {
    lines[at].len() + lines[at + 1].trim().len() < LINE_MAX
}

/// Lines of `value` that `base` does not have.
fn difference(value: &MeshConfig, base: &MeshConfig) -> String {
    let base = format!("{base:#?}");
    let base: Vec<&str> = base.lines().collect();
    compact(format!("{value:#?}").lines().filter(|line| !base.contains(line)).map(str::to_owned).collect())
}
