//! Documents as Kubernetes objects: kind, version, metadata, and where they
//! stand.
//!
//! `List` documents (`List`, `ServiceList`, ...) are taken apart. Objects of
//! namespaced kinds without a namespace are in `default`, as with `kubectl`.
//!
//! Invariant: an [`Object`] has a kind that something here or in
//! `mesh-platform` reads, a version of it that is served, and a name. Documents
//! that lack one are diagnostics; kinds that nobody reads are counted.

mod kinds;
mod meta;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::{Code, Diagnostic, Kind, Meta, Name, Severity, SourceLocation};

pub use kinds::is_namespaced;

use crate::reader::{Fallback, Log};
use crate::yaml::{self, Document, Node, Value};

/// One Kubernetes object as written.
#[derive(Debug, Clone)]
pub struct Object {
    /// Kind, namespace, name, labels, annotations, and where it stands.
    pub meta: Arc<Meta>,
    /// The whole object.
    pub root: Node,
    /// Which document of the file it stands in, counted from 0.
    pub document: usize,
}

impl Object {
    /// What it is.
    pub fn kind(&self) -> Kind {
        self.meta.object.kind
    }

    /// The file that it stands in; empty if it came from elsewhere.
    pub fn file(&self) -> Name {
        self.meta.location.as_ref().map_or_else(|| "".into(), |l| l.file.clone())
    }

    /// A log for findings about it.
    pub fn log(&self, fallback: Fallback) -> Log {
        Log::new(Some(self.meta.object.clone()), self.file(), fallback)
    }
}

/// A kind that nothing reads: `Deployment (apps/v1)`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnknownKind {
    /// `kind` as written.
    pub kind: String,
    /// `apiVersion` as written.
    pub api_version: String,
}

/// What a file holds.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Objects of kinds that are read, in the order written.
    pub objects: Vec<Object>,
    /// Kinds that nothing reads: how many objects, and where the first is.
    pub unknown: BTreeMap<UnknownKind, (usize, SourceLocation)>,
    /// Documents that could not be read, by their index in the file.
    pub broken: Vec<usize>,
    /// How many documents the file has.
    pub documents: usize,
    /// What is wrong with documents as a whole.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a whole file, called `file` in diagnostics.
pub fn read(file: &Name, bytes: &[u8]) -> Contents {
    let mut contents = Contents::default();
    for (index, document) in yaml::parse(bytes).into_iter().enumerate() {
        contents.documents = index + 1;
        match document {
            Document { root: Ok(root), .. } => contents.take(file, index, root, 0),
            Document { line, root: Err(error) } => {
                contents.broken.push(index);
                contents.diagnostics.push(broken(file, line, &error));
            }
        }
    }
    contents
}

/// Reads one object that did not come from a file. `None` if it is of a kind
/// that nothing reads, or has no kind or name.
pub fn of_node(root: Node) -> Option<Object> {
    let mut contents = Contents::default();
    contents.take(&"".into(), 0, root, 0);
    contents.objects.pop()
}

/// Lists of lists: nobody writes them, but a file may.
const LIST_LEVELS_MAX: usize = 3;

impl Contents {
    fn take(&mut self, file: &Name, document: usize, root: Node, level: usize) {
        let text = |name| root.get(name).and_then(Node::text).map(|text| &**text).unwrap_or_default();
        let (kind, api_version) = (text("kind"), text("apiVersion"));
        if kind.is_empty() || api_version.is_empty() {
            self.diagnostics.push(not_an_object(file, &root, kind, api_version));
            return;
        }
        if let Some(Value::List(items)) = list_items(&root, kind).filter(|_| level < LIST_LEVELS_MAX) {
            for item in items.iter() {
                self.take(file, document, item_of(item, kind, api_version), level + 1);
            }
            return;
        }
        match kinds::find(api_version, kind) {
            kinds::Found::Served(kind) => match meta::read(file, kind, &root, &mut self.diagnostics) {
                Some(meta) => self.objects.push(Object { meta: Arc::new(meta), root, document }),
                None => self.broken.push(document),
            },
            kinds::Found::OtherVersion(kind, served) => {
                self.diagnostics.push(Diagnostic {
                    severity: Severity::Error,
                    code: Code::InvalidValue,
                    object: None,
                    location: Some(SourceLocation { file: file.clone(), line: root.line }),
                    field: "apiVersion".to_owned(),
                    message: format!("{kind}: found {}, expected {served}", yaml::quote(api_version)),
                    consequence: Fallback::Ignored.as_str().to_owned(),
                });
            }
            kinds::Found::Unknown => {
                let unknown = UnknownKind { kind: shorten(kind), api_version: shorten(api_version) };
                if self.unknown.len() < UNKNOWN_KINDS_MAX || self.unknown.contains_key(&unknown) {
                    let location = SourceLocation { file: file.clone(), line: root.line };
                    self.unknown.entry(unknown).or_insert((0, location)).0 += 1;
                }
            }
        }
    }
}

/// Kinds that are listed as unknown, per file.
const UNKNOWN_KINDS_MAX: usize = 1000;

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The items of a document that is a list: its kind is `List` or ends so, and it
/// has `items`.
fn list_items<'a>(root: &'a Node, kind: &str) -> Option<&'a Value> {
    let items = root.get("items").filter(|_| kind.ends_with("List"))?;
    matches!(items.value, Value::List(_)).then_some(&items.value)
}

/// An item of a `ServiceList` may leave out what the list says for all.
fn item_of(item: &Node, list_kind: &str, api_version: &str) -> Node {
    let Value::Map(map) = &item.value else { return item.clone() };
    let kind = list_kind.strip_suffix("List").unwrap_or_default();
    if kind.is_empty() || (map.get("kind").is_some() && map.get("apiVersion").is_some()) {
        return item.clone();
    }
    let implied = [("apiVersion", api_version), ("kind", kind)];
    let missing: Vec<_> = implied.into_iter().filter(|(name, _)| map.get(name).is_none()).collect();
    Node { value: Value::Map(Arc::new(map.with_texts(&missing, item.line))), ..item.clone() }
}

fn broken(file: &Name, document_line: u32, error: &yaml::Error) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: Code::Syntax,
        object: None,
        location: Some(SourceLocation { file: file.clone(), line: error.line }),
        field: String::new(),
        message: error.to_string(),
        consequence: format!("the document that begins on line {document_line} is ignored"),
    }
}

fn not_an_object(file: &Name, root: &Node, kind: &str, api_version: &str) -> Diagnostic {
    let found = match (kind, api_version) {
        ("", "") => format!("found {} without kind and apiVersion", root.describe()),
        ("", _) => "found apiVersion without kind".to_owned(),
        (kind, _) => format!("found kind {} without apiVersion", yaml::quote(kind)),
    };
    Diagnostic {
        // A file may lie there for another tool; half an object is a mistake.
        severity: if kind == api_version { Severity::Warning } else { Severity::Error },
        code: Code::Syntax,
        object: None,
        location: Some(SourceLocation { file: file.clone(), line: root.line }),
        field: String::new(),
        message: format!("{found}, expected a Kubernetes object"),
        consequence: "the document is ignored".to_owned(),
    }
}

/// One finding per kind that nothing reads, for the contents of all files.
pub fn unknown_kinds<'a>(all: impl IntoIterator<Item = &'a Contents>) -> Vec<Diagnostic> {
    let mut merged: BTreeMap<&UnknownKind, (usize, &SourceLocation)> = BTreeMap::new();
    for (unknown, (count, location)) in all.into_iter().flat_map(|contents| &contents.unknown) {
        let entry = merged.entry(unknown).or_insert((0, location));
        entry.0 += count;
        entry.1 = entry.1.min(location);
    }
    let diagnostic = |(unknown, (count, location)): (&UnknownKind, (usize, &SourceLocation))| Diagnostic {
        severity: Severity::Info,
        code: Code::UnknownKind,
        object: None,
        location: Some(location.clone()),
        field: String::new(),
        message: format!(
            "{} ({}) is not a kind that the mesh reads, found {count} of it",
            unknown.kind, unknown.api_version
        ),
        consequence: if count == 1 { "it is ignored".to_owned() } else { "they are ignored".to_owned() },
    };
    merged.into_iter().map(diagnostic).collect()
}
