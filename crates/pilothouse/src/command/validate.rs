//! `pilothouse validate`: whether each object by itself is what its kind allows.

use std::path::PathBuf;

use mesh_config::{document, schema};
use mesh_model::rules::MeshConfig;
use mesh_model::{Diagnostic, Severity};
use serde_json::json;

use super::Output;
use crate::excerpt::Layout;
use crate::failure::{Failure, Result};
use crate::sources::{self, Lines, Source};
use crate::terminal;

/// Check manifests: structure, values, and what must hold between fields
///
/// Each object is checked by itself, as an API server with Istio's CRDs and webhook would. What
/// holds between objects, `pilothouse analyze` says. The exit code is 1 if an object is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files and folders; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "file")]
    paths: Vec<PathBuf>,

    /// As FILE; may be repeated
    #[arg(short = 'f', long = "filename", visible_alias = "file", value_name = "FILE", id = "file")]
    files: Vec<PathBuf>,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// # Errors
/// If a file cannot be read, or an object is refused.
pub(crate) fn run(args: &Args) -> Result {
    let paths: Vec<PathBuf> = args.paths.iter().chain(&args.files).cloned().collect();
    let sources = sources::read(&paths)?;
    let found: Vec<(&Source, Vec<Diagnostic>)> = sources.iter().map(|source| (source, findings(source))).collect();
    terminal::print(&match args.output {
        Output::Text => text(&found, &Layout::of_stdout(), &Lines::of(&sources)),
        Output::Json => json(&found),
    });
    let all = found.iter().flat_map(|(_, found)| found);
    match all.filter(|d| d.severity == Severity::Error).count() {
        0 => Ok(()),
        1 => Err(Failure::Other("1 error; see above".to_owned())),
        errors => Err(Failure::Other(format!("{errors} errors; see above"))),
    }
}

fn findings(source: &Source) -> Vec<Diagnostic> {
    schema::verdict(&document::read(&source.name, &source.bytes), &MeshConfig::default())
}

fn text(found: &[(&Source, Vec<Diagnostic>)], layout: &Layout, lines: &Lines) -> String {
    let mut text = String::new();
    for (source, found) in found {
        for diagnostic in found {
            let (level, style) = match diagnostic.severity {
                Severity::Error => ("Error", terminal::ERROR),
                Severity::Warning => ("Warning", terminal::WARNING),
                Severity::Info => ("Info", terminal::FAINT),
            };
            let line = diagnostic.location.as_ref().map_or(1, |place| place.line);
            let object = diagnostic.object.as_ref().map(|object| format!("{object} ")).unwrap_or_default();
            let head = format!("{level} ({object}{}:{line})", source.name);
            let field = if diagnostic.field.is_empty() { String::new() } else { format!("{}: ", diagnostic.field) };
            let message = format!("{field}{}", diagnostic.message);
            text.push_str(&layout.finding(style, &head, &message, lines, &source.name, line));
        }
        text.push_str(&summary(source, found));
    }
    text
}

fn summary(source: &Source, found: &[Diagnostic]) -> String {
    let count = |severity| found.iter().filter(|d| d.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let number = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    match (errors, warnings) {
        (0, 0) => format!("{}: valid\n", source.name),
        (0, warnings) => format!("{}: valid, with {}\n", source.name, number(warnings, "warning")),
        (errors, 0) => format!("{}: not valid, {}\n", source.name, number(errors, "error")),
        (errors, warnings) => {
            format!("{}: not valid, {} and {}\n", source.name, number(errors, "error"), number(warnings, "warning"))
        }
    }
}

fn json(found: &[(&Source, Vec<Diagnostic>)]) -> String {
    let row = |source: &Source, d: &Diagnostic| {
        json!({
            "level": d.severity.to_string(),
            "code": d.code.as_str(),
            "object": d.object.as_ref().map(ToString::to_string),
            "field": d.field,
            "file": &*source.name,
            "line": d.location.as_ref().map(|place| place.line),
            "message": d.message,
        })
    };
    let rows: Vec<_> = found.iter().flat_map(|(source, found)| found.iter().map(move |d| row(source, d))).collect();
    format!("{:#}\n", serde_json::Value::Array(rows))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    fn check(name: &str, found: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/validate").join(name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, found).unwrap();
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, wanted, "testdata/validate/{name} is not current; UPDATE_GOLDEN=1 rewrites it");
    }

    #[test]
    fn output_is_as_committed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/validate");
        let mut sources = sources::read(&[folder]).unwrap();
        for source in &mut sources {
            source.name = source.name.rsplit('/').next().unwrap().into();
        }
        let found: Vec<_> = sources.iter().map(|source| (source, findings(source))).collect();
        let lines = Lines::of(&sources);
        let plain = |text: String| anstream::adapter::strip_str(&text).to_string();
        check("expect.txt", &plain(text(&found, &Layout::new(None), &lines)));
        check("expect-40-columns.txt", &plain(text(&found, &Layout::new(Some(40)), &lines)));
        check("expect.json.txt", &json(&found));
    }
}
