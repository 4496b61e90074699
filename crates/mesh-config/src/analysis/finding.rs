//! What analyses find, and which of it is told.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use mesh_model::Name;

use super::codes::{Code, Level};
use super::{Object, Shared};
use crate::schema::At;

/// One finding.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What kind of finding it is.
    pub code: &'static Code,
    /// The object that it is about.
    pub object: Arc<Object>,
    /// Line in the object's file, counted from 1.
    pub line: u32,
    /// What was found.
    pub message: String,
}

impl Finding {
    /// `file:line`; empty if the object is in no file.
    pub fn reference(&self) -> String {
        match &*self.object.file {
            "" => String::new(),
            file if file.ends_with(".json") => file.to_owned(),
            file => format!("{file}:{}", self.line),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |f: &Self| {
            (f.code.level, f.code.id, f.object.kind.clone(), f.object.name.clone(), f.object.namespace.clone())
        };
        key(self)
            .cmp(&key(other))
            .then_with(|| self.line.cmp(&other.line))
            .then_with(|| self.message.cmp(&other.message))
    }

    fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.code, other.code)
            && self.line == other.line
            && self.message == other.message
            && self.object.origin() == other.object.origin()
            && self.object.file == other.object.file
    }
}

/// Findings of one run; beyond it nobody reads on.
const FINDINGS_MAX: usize = 50_000;

/// Collects findings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// Adds a finding about `object` as a whole.
    pub(super) fn push(&mut self, code: &'static Code, object: &Shared, message: String) {
        self.push_line(code, object, object.root.line, message);
    }

    /// Adds a finding about `object`, at `at` in it.
    pub(super) fn push_at(&mut self, code: &'static Code, object: &Shared, at: &At<'_>, message: String) {
        self.push_line(code, object, at.line(), message);
    }

    /// Adds a finding about `object`, at a line of its file.
    pub(super) fn push_line(&mut self, code: &'static Code, object: &Shared, line: u32, message: String) {
        if self.list.len() < FINDINGS_MAX {
            self.list.push(Finding { code, object: object.clone(), line, message });
        }
    }

    pub(super) fn sorted(self) -> Vec<Finding> {
        let mut list = self.list;
        list.sort_by(Finding::order);
        list.dedup_by(|a, b| a.is_same(b));
        list
    }
}

/// `IST0102=Namespace frod`: a code that is not told about objects of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The code.
    pub code: String,
    /// `Kind name.namespace` or `Kind namespace/name`; `*` stands for anything.
    pub object: String,
}

impl std::str::FromStr for Suppression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((code, object)) if !object.contains('=') && !code.is_empty() => {
                Ok(Self { code: code.to_owned(), object: object.to_owned() })
            }
            _ => Err(format!("found {text:?}, expected CODE=OBJECT such as \"IST0102=Namespace shop\"")),
        }
    }
}

impl Suppression {
    fn covers(&self, finding: &Finding) -> bool {
        let object = &finding.object;
        let dotted = match &*object.namespace {
            "" => format!("{} {}", object.kind, object.name),
            namespace => format!("{} {}.{namespace}", object.kind, object.name),
        };
        self.code == finding.code.id && (glob(&self.object, &object.origin()) || glob(&self.object, &dotted))
    }
}

/// Whether `text` is what `pattern` says, in which `*` stands for anything.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

/// Objects carry codes that are not to be told about them, separated by commas.
const SUPPRESS: &str = "galley.istio.io/analyze-suppress";

/// Which findings are told.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only objects of these namespaces, and of none; empty: all.
    pub namespaces: BTreeSet<Name>,
    /// What is not told.
    pub suppressions: Vec<Suppression>,
}

impl Filter {
    /// What is left of `findings`.
    pub fn apply(&self, findings: Vec<Finding>) -> Vec<Finding> {
        findings.into_iter().filter(|finding| self.keeps(finding)).collect()
    }

    fn keeps(&self, finding: &Finding) -> bool {
        let object = &finding.object;
        let namespace = if *object.kind == *"Namespace" { &object.name } else { &object.namespace };
        let in_scope = self.namespaces.is_empty() || namespace.is_empty() || self.namespaces.contains(namespace);
        let hushed = object.annotations.get(SUPPRESS).unwrap_or_default();
        let hushed = hushed.split(',').map(str::trim).any(|code| code == "*" || code == finding.code.id);
        let suppressed = self.suppressions.iter().any(|suppression| suppression.covers(finding));
        // What is only assumed to be there is nobody's to repair.
        let assumed = object.file.is_empty() && &*object.name == "istio-ingressgateway-default";
        in_scope && !hushed && !suppressed && !assumed
    }
}

/// The findings of `level` and above.
pub fn without_lower(findings: &[Finding], level: Level) -> Vec<Finding> {
    findings.iter().filter(|finding| finding.code.level <= level).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text) in [("a", "a"), ("*", ""), ("Pod *.shop", "Pod a.shop"), ("a*b*c", "aXbbYc"), ("a*", "a")] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("Pod *.shop", "Pod a.other"), ("a*a", "a"), ("*b*", "a")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
