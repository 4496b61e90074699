//! Reads a located tree into typed values and keeps account of what was read.
//!
//! ```text
//! Node ── Log::root ──► Value ── fields ──► Fields ── optional(name) ──► Value ── port(), duration(), ... ──► T
//!                                             └─ finish(): what nobody asked for is reported
//! ```
//!
//! A decoder asks for every field by name and goes on after a bad one, so that
//! the author sees all that is wrong at once. Whether the object may be used is
//! asked of [`Log::failed`] at the end.
//!
//! Invariant: every field of a map that is finished was asked for, reported as
//! not applied, or reported as unknown. A value is never guessed: what cannot be
//! read yields `None` and an error.

mod fields;
mod scalars;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};

use mesh_model::{Code, Diagnostic, Name, ObjectRef, Severity, SourceLocation};

pub use fields::Fields;
pub(crate) use fields::{asks_for_nothing, closest};
pub use scalars::{is_domain, is_wildcard_domain, parse_duration};

use crate::yaml;

/// Diagnostics about one object. Beyond it they are counted, not kept.
pub const DIAGNOSTICS_MAX: usize = 100;

/// What happens to an object that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// There was no good version before.
    Ignored,
    /// The last good version goes on.
    PreviousStays,
}

impl Fallback {
    /// The consequence as a diagnostic says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fallback::Ignored => "the object is ignored",
            Fallback::PreviousStays => "the previous version stays in force",
        }
    }
}

/// What a part of an object that is not applied leads to.
const REST_APPLIES: &str = "it is ignored and the rest of the object applies";
/// The words for what is understood and not applied.
pub(crate) const NOT_APPLIED: &str = "accepted, not yet applied";

/// Collects what is wrong with one object.
#[derive(Debug)]
pub struct Log {
    object: Option<ObjectRef>,
    file: Name,
    fallback: Fallback,
    found: RefCell<Vec<Diagnostic>>,
    dropped: Cell<usize>,
    failed: Cell<bool>,
}

impl Log {
    /// A log for `object`, which stands in `file` (empty: in no file).
    pub fn new(object: Option<ObjectRef>, file: Name, fallback: Fallback) -> Self {
        Self { object, file, fallback, found: RefCell::default(), dropped: Cell::new(0), failed: Cell::new(false) }
    }

    /// The object whose tree `node` is, to be read; field paths begin with
    /// `path`.
    pub fn root<'a>(&'a self, node: &'a yaml::Node, path: &str) -> Value<'a> {
        Value { node, path: path.to_owned(), log: self }
    }

    /// Whether something is so wrong that the object cannot be used.
    pub fn failed(&self) -> bool {
        self.failed.get()
    }

    /// Adds a finding at `line`.
    pub fn push(&self, line: u32, severity: Severity, code: Code, field: &str, message: String, consequence: &str) {
        self.failed.set(self.failed.get() || severity == Severity::Error);
        let mut found = self.found.borrow_mut();
        if found.len() >= DIAGNOSTICS_MAX {
            self.dropped.set(self.dropped.get() + 1);
            return;
        }
        found.push(Diagnostic {
            severity,
            code,
            object: self.object.clone(),
            location: self.location(line),
            field: field.to_owned(),
            message,
            consequence: consequence.to_owned(),
        });
    }

    /// Adds an error at `line`: the object cannot be used.
    pub fn error(&self, line: u32, code: Code, field: &str, message: String) {
        self.push(line, Severity::Error, code, field, message, self.fallback.as_str());
    }

    /// Everything found, in the order found.
    pub fn finish(self) -> Vec<Diagnostic> {
        let location = self.location(1);
        let mut found = self.found.into_inner();
        if self.dropped.get() > 0 {
            let first = found.first().and_then(|d| d.location.clone()).or(location);
            found.push(Diagnostic {
                severity: if self.failed.get() { Severity::Error } else { Severity::Warning },
                code: Code::InvalidValue,
                object: self.object,
                location: first,
                field: String::new(),
                message: format!("{} further findings are not listed", self.dropped.get()),
                consequence: String::new(),
            });
        }
        found
    }

    fn location(&self, line: u32) -> Option<SourceLocation> {
        (!self.file.is_empty()).then(|| SourceLocation { file: self.file.clone(), line })
    }
}

/// A value in an object's tree, with its path.
#[derive(Debug, Clone)]
pub struct Value<'a> {
    node: &'a yaml::Node,
    path: String,
    log: &'a Log,
}

impl<'a> Value<'a> {
    /// The tree below.
    pub fn node(&self) -> &'a yaml::Node {
        self.node
    }

    /// Its path in the object, such as `spec.http[0].timeout`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reports that the value is not what was `expected`. Always `None`, to be
    /// returned.
    pub fn invalid<T>(&self, expected: &str) -> Option<T> {
        self.error(format!("found {}, expected {expected}", self.node.describe()))
    }

    /// Reports an error about the value in free words. Always `None`.
    pub fn error<T>(&self, message: String) -> Option<T> {
        self.log.error(self.node.line, Code::InvalidValue, &self.path, message);
        None
    }

    /// Reports something that leaves the object usable.
    pub fn warn(&self, code: Code, message: String, consequence: &str) {
        self.log.push(self.node.line, Severity::Warning, code, &self.path, message, consequence);
    }

    /// Reports something that is good to know.
    pub fn note(&self, code: Code, message: String, consequence: &str) {
        self.log.push(self.node.line, Severity::Info, code, &self.path, message, consequence);
    }

    /// Reports that the value is understood and not applied yet.
    pub fn not_applied(&self) {
        self.warn(Code::NotApplied, NOT_APPLIED.to_owned(), REST_APPLIES);
    }

    /// Its fields, if it is a map.
    pub fn fields(&self) -> Option<Fields<'a>> {
        match &self.node.value {
            yaml::Value::Map(map) => Some(Fields::new(map, self.node.line, self.path.clone(), self.log)),
            _ => self.invalid("a map"),
        }
    }

    /// Its items, if it is a list.
    pub fn items(&self) -> Option<Vec<Value<'a>>> {
        let yaml::Value::List(items) = &self.node.value else { return self.invalid("a list") };
        let item = |(index, node)| Value { node, path: format!("{}[{index}]", self.path), log: self.log };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// Its entries by key, if it is a map whose keys the author chooses.
    pub fn entries(&self) -> Option<Vec<(Name, Value<'a>)>> {
        let yaml::Value::Map(map) = &self.node.value else { return self.invalid("a map") };
        let entry = |(key, node): (&'a yaml::Key, &'a yaml::Node)| {
            let path = format!("{}[{}]", self.path, key.text);
            (key.text.clone(), Value { node, path, log: self.log })
        };
        Some(map.iter().map(entry).collect())
    }
}
