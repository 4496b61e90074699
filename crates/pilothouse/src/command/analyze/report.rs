//! Findings as text, JSON and YAML.

use std::fmt::Write;

use mesh_config::analysis::{Analyzer, Finding, Level};

use crate::excerpt::Layout;
use crate::sources::Lines;
use crate::terminal;

/// `Error [IST0101] (VirtualService shop/a f.yaml:3) ...`, each with its line.
pub(super) fn log(found: &[Finding], layout: &Layout, lines: &Lines) -> String {
    let mut text = String::new();
    for finding in found {
        let style = match finding.code.level {
            Level::Error => terminal::ERROR,
            Level::Warning => terminal::WARNING,
            Level::Info => terminal::FAINT,
        };
        let reference = finding.reference();
        let place = if reference.is_empty() { String::new() } else { format!(" {reference}") };
        let head = format!("{} [{}] ({}{place})", finding.code.level, finding.code.id, finding.object.origin());
        text.push_str(&layout.finding(style, &head, &finding.message, lines, &finding.object.file, finding.line));
    }
    text
}

/// The fields of one finding, in the order in which istioctl prints them.
fn fields(finding: &Finding) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("code", finding.code.id.to_owned()),
        ("documentationUrl", documentation(finding.code.id)),
        ("level", finding.code.level.to_string()),
        ("message", finding.message.clone()),
        ("origin", finding.object.origin()),
    ];
    fields.extend(Some(("reference", finding.reference())).filter(|(_, reference)| !reference.is_empty()));
    fields
}

fn documentation(code: &str) -> String {
    match code.starts_with("IST") {
        true => format!("https://istio.io/latest/docs/reference/config/analysis/{}/", code.to_lowercase()),
        false => format!("docs/analysis.md#{}", code.to_lowercase()),
    }
}

/// The array that istioctl prints.
pub(super) fn json(found: &[Finding]) -> String {
    let rows: Vec<serde_json::Value> = found
        .iter()
        .map(|finding| {
            fields(finding)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect::<serde_json::Map<_, _>>()
                .into()
        })
        .collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}

/// The same as a YAML list; texts are quoted as JSON has them, which is YAML.
pub(super) fn yaml(found: &[Finding]) -> String {
    if found.is_empty() {
        return "[]\n".to_owned();
    }
    let mut text = String::new();
    for finding in found {
        for (index, (name, value)) in fields(finding).into_iter().enumerate() {
            let lead = if index == 0 { "- " } else { "  " };
            let value = serde_json::Value::String(value);
            writeln!(text, "{lead}{name}: {value}").expect("text takes all that is written");
        }
    }
    text
}

/// The analyzers with what they look for.
pub(super) fn list(analyzers: &[&'static Analyzer]) -> String {
    analyzers.iter().map(|analyzer| format!("* {}:\n    {}\n", analyzer.name, analyzer.summary)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use mesh_config::analysis::{self, Filter, Mesh, Settings};

    use super::*;
    use crate::sources;

    fn check(name: &str, found: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/analyze").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, found).unwrap();
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, wanted, "testdata/analyze/{name} is not current; UPDATE_GOLDEN=1 rewrites it");
    }

    #[test]
    fn output_is_as_committed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/analyze");
        let mut sources = sources::read(&[folder]).unwrap();
        let mut objects = Vec::new();
        for source in &mut sources {
            source.name = source.name.rsplit('/').next().unwrap().into();
            objects.extend(analysis::read(&source.name, &source.bytes, "default").0);
        }
        let mesh = Mesh::new(objects, Settings::default());
        let found = Filter::default().apply(analysis::analyze(&mesh, analysis::ANALYZERS));
        let lines = Lines::of(&sources);
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        check("expect.txt", &plain(log(&found, &Layout::new(None), &lines)));
        check("expect-40-columns.txt", &plain(log(&found, &Layout::new(Some(40)), &lines)));
        check("expect.json.txt", &json(&found));
        check("expect.yaml.txt", &yaml(&found));
        check("analyzers.txt", &list(&analysis::ANALYZERS.iter().collect::<Vec<_>>()));
    }
}
