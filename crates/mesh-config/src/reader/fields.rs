//! The fields of one map, with account of which were asked for.

use std::cell::RefCell;

use mesh_model::{Code, Severity};

use super::{Log, NOT_APPLIED, REST_APPLIES, Value};
use crate::yaml::{self, Map, Node, quote};

/// The fields of one map. [`Fields::finish`] reports those that nobody asked
/// for.
#[derive(Debug)]
pub struct Fields<'a> {
    map: &'a Map,
    line: u32,
    path: String,
    log: &'a Log,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(map: &'a Map, line: u32, path: String, log: &'a Log) -> Self {
        Self { map, line, path, log, asked: RefCell::default() }
    }

    /// The field called `name`; `None` if it is absent or null.
    pub fn optional(&self, name: &'static str) -> Option<Value<'a>> {
        self.asked.borrow_mut().push(name);
        let node = self.map.get(name).filter(|node| !node.is_null())?;
        Some(self.value(name, node))
    }

    /// The field called `name`, whose absence is an error; `expected` says what
    /// should stand there.
    pub fn required(&self, name: &'static str, expected: &str) -> Option<Value<'a>> {
        let value = self.optional(name);
        if value.is_none() {
            self.missing(name, expected);
        }
        value
    }

    /// Reports that the field called `name` is absent.
    pub fn missing(&self, name: &str, expected: &str) {
        let message = format!("found nothing, expected {expected}");
        self.log.error(self.line, Code::MissingField, &self.path_of(name), message);
    }

    /// Reports an error about the map as a whole. Always `None`.
    pub fn error<T>(&self, message: String) -> Option<T> {
        self.log.error(self.line, Code::InvalidValue, &self.path, message);
        None
    }

    /// Reports something about the field called `name` that leaves the object
    /// usable.
    pub fn warn(&self, name: &str, code: Code, message: String, consequence: &str) {
        let line = self.map.get(name).map_or(self.line, |node| node.line);
        self.log.push(line, Severity::Warning, code, &self.path_of(name), message, consequence);
    }

    /// Fields that are understood and not applied yet: each that is there is
    /// reported, unless it asks for nothing (false, or an empty list or map).
    pub fn not_applied(&self, names: &[&'static str]) {
        self.not_applied_but(names, REST_APPLIES);
    }

    /// As [`Fields::not_applied`], with another consequence.
    pub fn not_applied_but(&self, names: &[&'static str], consequence: &str) {
        for value in names.iter().filter_map(|name| self.optional(name)) {
            if !asks_for_nothing(value.node()) {
                value.warn(Code::NotApplied, NOT_APPLIED.to_owned(), consequence);
            }
        }
    }

    /// Fields that need no action and no words, such as `status`.
    pub fn ignore(&self, names: &[&'static str]) {
        self.asked.borrow_mut().extend(names);
    }

    /// Names of fields that are there and were not asked for.
    pub fn unknown(&self) -> Vec<&'a str> {
        let asked = self.asked.borrow();
        let unknown = |(key, _): (&'a yaml::Key, _)| (!asked.contains(&&*key.text)).then_some(&*key.text);
        self.map.iter().filter_map(unknown).collect()
    }

    /// Reports fields that nobody asked for as unknown. As in Kubernetes, they
    /// are pruned and the rest applies.
    pub fn finish(&self) {
        self.finish_with(REST_APPLIES);
    }

    /// As [`Fields::finish`], with another consequence.
    pub fn finish_with(&self, consequence: &str) {
        let asked = self.asked.borrow();
        for (key, _) in self.map.iter().filter(|(key, _)| !asked.contains(&&*key.text)) {
            let meant = match closest(&key.text, &asked) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("expected one of {}", list(&asked)),
            };
            let message = format!("unknown field {}, {meant}", quote(&key.text));
            let path = self.path_of(&key.text);
            self.log.push(key.line, Severity::Warning, Code::UnknownField, &path, message, consequence);
        }
    }

    /// Reports that the object is understood, and as a whole not applied yet,
    /// because of `why`.
    pub fn object_not_applied(&self, why: &str) {
        let message = format!("{NOT_APPLIED}: {why}");
        let consequence = "traffic flows as if it did not exist";
        self.log.push(self.line, Severity::Warning, Code::NotApplied, &self.path, message, consequence);
    }

    /// Whether an error was found anywhere in the object so far.
    pub fn failed(&self) -> bool {
        self.log.failed()
    }

    /// Where the map begins.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The path of the map.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether a field called `name` is there, null or not. Does not count as
    /// asked for.
    pub fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some()
    }

    fn value(&self, name: &str, node: &'a Node) -> Value<'a> {
        Value { node, path: self.path_of(name), log: self.log }
    }

    fn path_of(&self, name: &str) -> String {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        if self.path.is_empty() { name } else { format!("{}.{name}", self.path) }
    }
}

/// Whether a value is as good as absent: false, or an empty list or map.
pub(crate) fn asks_for_nothing(node: &Node) -> bool {
    match &node.value {
        yaml::Value::Bool(value) => !value,
        yaml::Value::List(items) => items.is_empty(),
        yaml::Value::Map(map) => map.is_empty(),
        _ => false,
    }
}

/// As much of a field's name as a path shows.
const NAME_CHARS_MAX: usize = 80;

/// Not the whole list: enough to see what kind of thing belongs here.
fn list(names: &[&'static str]) -> String {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    let rest = if names.len() > NAMES_LISTED { ", ..." } else { "" };
    names.truncate(NAMES_LISTED);
    format!("{}{rest}", names.join(", "))
}

const NAMES_LISTED: usize = 12;

/// The name that `found` was probably meant to be: equal but for case, `-` and
/// `_`, or at most two letters away.
pub(crate) fn closest<'n>(found: &str, names: &[&'n str]) -> Option<&'n str> {
    if found.len() > NAME_CHARS_MAX {
        return None;
    }
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let wanted = plain(found);
    let distance = |name: &&str| edit_distance(&wanted, &plain(name));
    let best = names.iter().copied().min_by_key(distance)?;
    let allowed = if wanted.chars().count() < 5 { 1 } else { 2 };
    (distance(&best) <= allowed).then_some(best)
}

/// Levenshtein distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != *y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
