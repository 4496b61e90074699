//! YAML and JSON as a tree whose every node knows where it stands.
//!
//! ```text
//! bytes ── split ──► one text per document ── saphyr-parser events ── build ──► Node tree, or the document's Error
//! ```
//!
//! Text is split where a line begins with `---` or `...` before anything is
//! parsed (YAML allows neither inside a document), so a broken document costs
//! nothing but itself.
//!
//! Invariant: a tree has at most [`NODES_MAX`] nodes with every alias counted as
//! often as it is used, and is at most [`DEPTH_MAX`] deep; its maps have no key
//! twice. So whatever walks a tree is bounded.
//!
//! Plain scalars mean what they mean to Kubernetes' own parser
//! (sigs.k8s.io/yaml), which reads YAML 1.1: `yes` and `on` are booleans.
//!
//! Deliberately absent: what the documents say (`document`), and custom tags,
//! which are ignored as Kubernetes ignores them.

mod build;
mod scalar;
mod split;
mod surrogates;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mesh_model::Name;

/// Bytes of one file.
pub const BYTES_MAX: usize = 64 << 20;
/// Nodes of one document, aliases expanded: some ten times what the largest
/// dumps of real clusters hold.
pub const NODES_MAX: usize = 2_000_000;
/// Levels of one document. Kubernetes' deepest schemas nest some 40.
pub const DEPTH_MAX: usize = 100;

/// One value of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Line in the file, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
}

/// What a node is, as JSON would have it.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing, `null` or `~`.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number; `text` is as written.
    Float {
        /// Its value.
        value: f64,
        /// As written.
        text: Name,
    },
    /// Text.
    Text(Name),
    /// A sequence.
    List(Arc<Vec<Node>>),
    /// A mapping.
    Map(Arc<Map>),
}

/// A mapping, in the order written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    entries: Vec<(Key, Node)>,
}

/// A mapping's key and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The key.
    pub text: Name,
    /// Line in the file, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
}

impl Map {
    /// The value of `key`. Linear: maps in manifests are short.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries.iter().find(|(k, _)| &*k.text == key).map(|(_, v)| v)
    }

    /// All entries, in the order written.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Node)> {
        self.entries.iter().map(|(k, v)| (k, v))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// This map with `texts` in front, which stand on `line`.
    pub(crate) fn with_texts(&self, texts: &[(&str, &str)], line: u32) -> Map {
        let entry = |(key, text): &(&str, &str)| {
            let key = Key { text: Name::from(*key), line, column: 1 };
            (key, Node { value: Value::Text(Name::from(*text)), line, column: 1 })
        };
        Map { entries: texts.iter().map(entry).chain(self.entries.iter().cloned()).collect() }
    }
}

impl Node {
    /// The value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(map) => map.get(key),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&Name> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.value == Value::Null
    }

    /// The tree as JSON. Numbers that JSON lacks (infinities) become null.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float { value, .. } => Json::from(*value),
            Value::Text(text) => Json::from(&**text),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(map) => Json::Object(map.iter().map(|(k, v)| (k.text.to_string(), v.to_json())).collect()),
        }
    }

    /// The tree with every value and key on `line`: that of an object which came
    /// from elsewhere and is known to stand there.
    pub fn on_line(&self, line: u32) -> Node {
        let value = match &self.value {
            Value::List(items) => Value::List(Arc::new(items.iter().map(|item| item.on_line(line)).collect())),
            Value::Map(map) => {
                let entry = |(key, node): &(Key, Node)| (Key { line, ..key.clone() }, node.on_line(line));
                Value::Map(Arc::new(Map { entries: map.entries.iter().map(entry).collect() }))
            }
            other => other.clone(),
        };
        Node { value, line, column: self.column }
    }

    /// What it is, in a few words for its author: `"abc"`, `12`, `a list`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float { text, .. } => text.to_string(),
            Value::Text(text) => quote(text),
            Value::List(items) if items.is_empty() => "an empty list".to_owned(),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// `text` in quotes, shortened where it is long.
pub fn quote(text: &str) -> String {
    let short: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    let rest = if short.len() < text.len() { "..." } else { "" };
    format!("{:?}{rest}", short)
}

/// As much of a value as helps to find it.
const QUOTE_CHARS_MAX: usize = 60;

/// One document of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its first line that is not blank, counted from 1.
    pub line: u32,
    /// Its tree, or what is wrong with it.
    pub root: Result<Node, Error>,
}

/// Why a document has no tree.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("column {column}: {problem}")]
pub struct Error {
    /// Line in the file, counted from 1.
    pub line: u32,
    /// Column, counted from 1.
    pub column: u32,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a document.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are not UTF-8.
    #[error("found bytes that are not UTF-8 text")]
    NotText,
    /// More bytes than are read.
    #[error("the file has {bytes} bytes, expected at most {BYTES_MAX}")]
    TooLarge {
        /// How many there are.
        bytes: usize,
    },
    /// What the YAML parser says.
    #[error("not YAML: {0}")]
    Syntax(String),
    /// Deeper than [`DEPTH_MAX`].
    #[error("found more than {DEPTH_MAX} levels of nesting")]
    TooDeep,
    /// More nodes than [`NODES_MAX`].
    #[error("found more than {NODES_MAX} values (aliases counted wherever they are used)")]
    TooManyNodes,
    /// A key twice in one map.
    #[error("key {key} stands twice in one map, first on line {first}; expected each key once")]
    DuplicateKey {
        /// The key, quoted.
        key: String,
        /// Line of the first one.
        first: u32,
    },
    /// A key that is a list or a map.
    #[error("found a list or a map as a key, expected text")]
    KeyNotText,
    /// An alias whose anchor is not complete yet.
    #[error("found an alias to a value that contains it")]
    CyclicAlias,
    /// A merge key whose value cannot be merged.
    #[error("found {0} as value of the merge key `<<`, expected a map or a list of maps")]
    NotMergeable(String),
}

/// All documents of a file, in order; documents without a value are left out.
/// A file that is no text at all is one broken document.
pub fn parse(bytes: &[u8]) -> Vec<Document> {
    let broken = |line, column, problem| vec![Document { line, root: Err(Error { line, column, problem }) }];
    if bytes.len() > BYTES_MAX {
        return broken(1, 1, Problem::TooLarge { bytes: bytes.len() });
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => split::documents(text.strip_prefix('\u{feff}').unwrap_or(text)).flat_map(build::parse).collect(),
        Err(error) => {
            let before = &bytes[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|b| **b == b'\n').count();
            let column = 1 + before.iter().rev().take_while(|b| **b != b'\n').count();
            broken(line as u32, column as u32, Problem::NotText)
        }
    }
}
