//! What every source file must say, and what none may.

use super::{Finding, Workspace};

/// Words of work that is not done, and what to do instead. Written in two
/// halves, so that this file passes its own check.
const WORDS: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "do it, or open an issue"),
    (concat!("FIX", "ME"), "fix it, or open an issue"),
    (concat!("XX", "X "), "say what is meant"),
    (concat!("HA", "CK"), "say what is meant and why it must be so"),
    (concat!("todo", "!("), "write it, or leave the feature out and report it"),
    (concat!("unimplemented", "!("), "write it, or leave the feature out and report it"),
    (
        concat!("#[ig", "nore"),
        "a test that does not run proves nothing; say `skipped` at run time where a peer is absent",
    ),
    (concat!("#![allow(", "warnings"), "allow one lint, with its reason"),
];

/// Files in which words are looked for, by extension.
const WORD_FILES: &[&str] = &["rs", "toml", "md", "sh", "py", "js"];

/// Every module opens with `//!`: what it owns, how data passes, its invariant, what is absent.
pub(super) fn module_comments(workspace: &Workspace) -> Vec<Finding> {
    workspace
        .sources
        .iter()
        .filter(|(path, text)| !path.ends_with("tests.rs") && !opens_with_comment(text))
        .map(|(path, _)| {
            format!("{}: does not open with a `//!` comment that says what the module owns", path.display())
        })
        .collect()
}

fn opens_with_comment(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!"))
}

/// No words of unfinished work.
pub(super) fn words(workspace: &Workspace) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in &workspace.files {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let shown = path.to_string_lossy();
        if !WORD_FILES.contains(&extension) || shown.contains("testdata/") {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(workspace.root.join(path)) else { continue };
        for (index, line) in text.lines().enumerate() {
            if let Some((word, instead)) = WORDS.iter().find(|(word, _)| line.contains(word)) {
                findings.push(format!("{shown}:{}: `{}`: {instead}", index + 1, word.trim()));
            }
        }
    }
    findings
}
