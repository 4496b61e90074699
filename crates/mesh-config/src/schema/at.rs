//! A place in a document that may be empty: what rules and analyses walk with.
//!
//! Asking an absent value for a field gives an absent value, so a chain of
//! questions needs no checks between its links. Each place knows its path and
//! its line; an absent one has the line of the nearest value that exists.
//!
//! Deliberately absent: complaints. What is of the wrong type reads as absent;
//! the schema has complained already.

use crate::yaml::{Node, Value};

/// A place in a document.
#[derive(Debug, Clone)]
pub struct At<'a> {
    node: Option<&'a Node>,
    line: u32,
    path: String,
}

impl<'a> At<'a> {
    /// The root of a document.
    pub fn root(node: &'a Node) -> Self {
        Self { node: Some(node), line: node.line, path: String::new() }
    }

    /// The value of the field `name`. Null counts as absent.
    pub fn get(&self, name: &str) -> At<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        self.child(self.node.and_then(|node| node.get(name)), path)
    }

    /// The value behind several fields: `at.path(&["spec", "tls"])`.
    pub fn path(&self, names: &[&str]) -> At<'a> {
        names.iter().fold(self.clone(), |at, name| at.get(name))
    }

    /// The items of a list; none if it is not one.
    pub fn items(&self) -> Vec<At<'a>> {
        let Some(Value::List(items)) = self.node.map(|node| &node.value) else { return Vec::new() };
        items.iter().enumerate().map(|(i, node)| self.child(Some(node), format!("{}[{i}]", self.path))).collect()
    }

    /// The entries of a map in the order written; none if it is not one.
    pub fn entries(&self) -> Vec<(&'a str, At<'a>)> {
        let Some(Value::Map(map)) = self.node.map(|node| &node.value) else { return Vec::new() };
        let entry = |(key, node): (&'a crate::yaml::Key, &'a Node)| {
            let at = self.child(Some(node), format!("{}[{}]", self.path, key.text));
            (&*key.text, At { line: if node.is_null() { key.line } else { at.line }, ..at })
        };
        map.iter().map(entry).collect()
    }

    /// Whether there is a value other than null.
    pub fn exists(&self) -> bool {
        self.node.is_some()
    }

    /// How many items or entries there are.
    pub fn len(&self) -> usize {
        match self.node.map(|node| &node.value) {
            Some(Value::List(items)) => items.len(),
            Some(Value::Map(map)) => map.len(),
            _ => 0,
        }
    }

    /// Whether there is no item and no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The text; empty if there is none.
    pub fn text(&self) -> &'a str {
        self.node.and_then(Node::text).map_or("", |text| text)
    }

    /// The texts of a list's items; what is no text is left out.
    pub fn texts(&self) -> Vec<&'a str> {
        let Some(Value::List(items)) = self.node.map(|node| &node.value) else { return Vec::new() };
        items.iter().filter_map(Node::text).map(|text| &**text).collect()
    }

    /// The text pairs of a map.
    pub fn pairs(&self) -> Vec<(&'a str, &'a str)> {
        let Some(Value::Map(map)) = self.node.map(|node| &node.value) else { return Vec::new() };
        map.iter().filter_map(|(key, node)| Some((&*key.text, &**node.text()?))).collect()
    }

    /// The whole number, also one that is written as text or with `.0`.
    pub fn int(&self) -> Option<i64> {
        match &self.node?.value {
            Value::Int(value) => Some(*value),
            Value::Float { value, .. } if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The number.
    pub fn number(&self) -> Option<f64> {
        match &self.node?.value {
            Value::Int(value) => Some(*value as f64),
            Value::Float { value, .. } => Some(*value),
            _ => None,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        matches!(self.node, Some(Node { value: Value::Bool(true), .. }))
    }

    /// The value itself.
    pub fn node(&self) -> Option<&'a Node> {
        self.node
    }

    /// Its line in the file, counted from 1.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Its path in the document, such as `spec.http[0].timeout`.
    pub fn field(&self) -> &str {
        &self.path
    }

    fn child(&self, node: Option<&'a Node>, path: String) -> At<'a> {
        let node = node.filter(|node| !node.is_null());
        At { node, line: node.map_or(self.line, |node| node.line), path }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_absent_value_has_a_path_and_the_line_of_what_is_around_it() {
        let root = crate::yaml::parse(b"a:\n  b:\n  - x\n  - ~\n").remove(0).root.unwrap();
        let at = At::root(&root);
        let absent = at.path(&["a", "c", "d"]);
        assert_eq!((absent.exists(), absent.field(), absent.line()), (false, "a.c.d", 2));
        let items = at.path(&["a", "b"]).items();
        assert_eq!((items[0].text(), items[1].exists(), items[1].field()), ("x", false, "a.b[1]"));
    }
}
