//! Compares a document with its kind's table.

use std::collections::HashMap;

use mesh_model::{Code, Severity};

use super::shape::{ANY, Field, Is, Shape};
use super::tables::Spec;
use crate::document::Object;
use crate::reader::{Log, closest, parse_duration};
use crate::yaml::{Map, Node, Value, quote};

/// Reports all that differs between `object` and the table of its kind.
pub(super) fn check(object: &Object, spec: &Spec, log: &Log) {
    let Value::Map(root) = &object.root.value else { return };
    for (key, node) in root.iter() {
        match &*key.text {
            "apiVersion" | "kind" | "metadata" | "status" => {}
            "spec" => Walk { log }.value(node, &Is::Map1(spec.shape), false, "spec", key.line),
            name => unknown(log, key.line, name, "", &["apiVersion", "kind", "metadata", "spec", "status"]),
        }
    }
    if root.get("spec").is_none() && spec.required {
        log.error(object.root.line, Code::MissingField, "spec", "found nothing, expected a map".to_owned());
    }
}

struct Walk<'a> {
    log: &'a Log,
}

impl Walk<'_> {
    /// `line` is the line of the key, where `node` has none of its own.
    fn value(&self, node: &Node, is: &Is, nullable: bool, path: &str, line: u32) {
        let wrong = |expected: &str| {
            let at = if node.is_null() { line } else { node.line };
            let found = if node.is_null() { "null".to_owned() } else { node.describe() };
            self.log.error(at, Code::InvalidValue, path, format!("found {found}, expected {expected}"));
        };
        if node.is_null() && nullable {
            return;
        }
        match is {
            Is::Bool => {
                if !matches!(node.value, Value::Bool(_)) {
                    wrong("true or false");
                }
            }
            Is::Int(min, max) => self.int(node, *min, *max, &wrong),
            Is::Number(min, max) => number(node, *min, *max, &wrong),
            Is::Text(min, max) => text(node, *min, *max, &wrong),
            Is::Form(form) => match node.text() {
                Some(text) if form.holds(text) => {}
                _ => wrong(form.expected()),
            },
            Is::Word(words) => word(node, words, &wrong),
            Is::Duration(min) => duration(node, *min, &wrong),
            Is::List(item, min, max) => self.list(node, item, *min, *max, path, &wrong),
            Is::Keyed(item, max, key) => {
                self.list(node, item, 0, *max, path, &wrong);
                self.distinct(node, key, path);
            }
            Is::Map(item, min, max) => self.map(node, item, *min, *max, path, &wrong),
            Is::Map1(shape) => match &node.value {
                Value::Map(map) => self.fields(map, shape, path, node.line),
                _ => wrong("a map"),
            },
            Is::Free => {
                if !matches!(node.value, Value::Map(_)) {
                    wrong("a map");
                }
            }
        }
    }

    fn fields(&self, map: &Map, shape: &Shape, path: &str, line: u32) {
        for (key, node) in map.iter() {
            let Some(field) = shape.fields.iter().find(|field| field.name == &*key.text) else {
                let names: Vec<&str> = shape.fields.iter().map(|field| field.name).collect();
                unknown(self.log, key.line, &key.text, path, &names);
                continue;
            };
            let inner = format!("{path}.{}", field.name);
            self.value(node, &field.is, field.nullable, &inner, key.line);
            self.deprecated(field, node, &inner, key.line);
        }
        for field in shape.fields.iter().filter(|field| field.required && map.get(field.name).is_none()) {
            let path = format!("{path}.{}", field.name);
            let message = format!("found nothing, expected {}", describe(&field.is));
            self.log.error(line, Code::MissingField, &path, message);
        }
        for group in shape.at_most_one {
            let there: Vec<&str> = group.iter().copied().filter(|name| map.get(name).is_some()).collect();
            if there.len() > 1 {
                let message = format!("found {}, expected only one of {}", there.join(" and "), group.join(", "));
                self.log.error(line, Code::InvalidValue, path, message);
            }
        }
    }

    fn deprecated(&self, field: &Field, node: &Node, path: &str, line: u32) {
        if let Some(instead) = field.deprecated.filter(|_| !node.is_null()) {
            let message = format!("found a deprecated field, expected {instead} instead");
            self.log.push(line, Severity::Warning, Code::Deprecated, path, message, "it still applies");
        }
    }

    fn int(&self, node: &Node, min: i64, max: i64, wrong: &dyn Fn(&str)) {
        let found = match &node.value {
            Value::Int(value) => Some(*value),
            Value::Float { value, .. } if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            _ => None,
        };
        if !found.is_some_and(|value| (min..=max).contains(&value)) {
            match max {
                i64::MAX => wrong(&format!("a whole number of at least {min}")),
                max => wrong(&format!("a whole number from {min} to {max}")),
            }
        }
    }

    fn list(&self, node: &Node, item: &Is, min: usize, max: usize, path: &str, wrong: &dyn Fn(&str)) {
        let Value::List(items) = &node.value else { return wrong("a list") };
        if items.len() < min || items.len() > max {
            return wrong(&format!("a list of {} items", between(min, max)));
        }
        for (index, node) in items.iter().enumerate() {
            self.value(node, item, false, &format!("{path}[{index}]"), node.line);
        }
    }

    fn map(&self, node: &Node, item: &Is, min: usize, max: usize, path: &str, wrong: &dyn Fn(&str)) {
        let Value::Map(map) = &node.value else { return wrong("a map") };
        if map.len() < min || map.len() > max {
            return wrong(&format!("a map of {} entries", between(min, max)));
        }
        for (key, node) in map.iter() {
            self.value(node, item, false, &format!("{path}[{}]", key.text), key.line);
        }
    }

    /// Items of a list that is a map in disguise: no key stands twice.
    fn distinct(&self, node: &Node, key: &str, path: &str) {
        let Value::List(items) = &node.value else { return };
        let mut first: HashMap<String, usize> = HashMap::new();
        for (index, item) in items.iter().enumerate() {
            let Some(value) = item.get(key) else { continue };
            if let Some(before) = first.insert(value.describe(), index) {
                let message = format!(
                    "found {} a second time, expected another {key} than that of item {before}",
                    value.describe()
                );
                self.log.error(value.line, Code::InvalidValue, &format!("{path}[{index}].{key}"), message);
            }
        }
    }
}

fn number(node: &Node, min: f64, max: f64, wrong: &dyn Fn(&str)) {
    let found = match &node.value {
        Value::Int(value) => Some(*value as f64),
        Value::Float { value, .. } => Some(*value),
        _ => None,
    };
    if !found.is_some_and(|value| value >= min && value <= max) {
        match (min, max) {
            (f64::MIN, f64::MAX) => wrong("a number"),
            (min, f64::MAX) => wrong(&format!("a number of at least {min}")),
            (min, max) => wrong(&format!("a number from {min} to {max}")),
        }
    }
}

fn text(node: &Node, min: usize, max: usize, wrong: &dyn Fn(&str)) {
    match &node.value {
        Value::Text(text) if text.len() < min => wrong("text of at least one character"),
        Value::Text(text) if text.len() > max => wrong(&format!("text of at most {max} bytes")),
        Value::Text(_) => {}
        // `[2001:db8::]` without quotes: Kubernetes' parser sees an address.
        Value::Map(map) if map.len() == 1 && map.iter().all(|(k, v)| v.is_null() && k.text.ends_with(':')) => {}
        Value::Bool(_) | Value::Int(_) | Value::Float { .. } => wrong("text (put the value in quotes)"),
        _ => wrong("text"),
    }
}

fn word(node: &Node, words: &[&str], wrong: &dyn Fn(&str)) {
    let found = node.text().map_or("", |text| text);
    if node.text().is_some() && words.contains(&found) {
        return;
    }
    let all = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(", ");
    match closest(found, words).filter(|_| !found.is_empty()) {
        Some(name) => wrong(&format!("one of {all}; did you mean {name}?")),
        None => wrong(&format!("one of {all}")),
    }
}

fn duration(node: &Node, min_ms: u64, wrong: &dyn Fn(&str)) {
    let found = node.text().and_then(|text| parse_duration(text));
    if found.is_none_or(|value| value.as_nanos() < u128::from(min_ms) * 1_000_000) {
        match min_ms {
            0 => wrong("a duration such as 1.5s, 250ms or 1h30m"),
            min => wrong(&format!("a duration of at least {min}ms, such as 1.5s, 250ms or 1h30m")),
        }
    }
}

fn between(min: usize, max: usize) -> String {
    match (min, max) {
        (min, ANY) => format!("at least {min}"),
        (0, max) => format!("at most {max}"),
        (min, max) => format!("{min} to {max}"),
    }
}

/// What is missing, in a word or two.
fn describe(is: &Is) -> &'static str {
    match is {
        Is::Bool => "true or false",
        Is::Int(..) | Is::Number(..) => "a number",
        Is::Text(..) => "text",
        Is::Form(form) => form.expected(),
        Is::Word(_) => "a word",
        Is::Duration(_) => "a duration",
        Is::List(..) | Is::Keyed(..) => "a list",
        Is::Map(..) | Is::Map1(_) | Is::Free => "a map",
    }
}

fn unknown(log: &Log, line: u32, name: &str, path: &str, names: &[&str]) {
    let meant = match closest(name, names) {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let mut listed = names.to_vec();
            listed.sort_unstable();
            let rest = if listed.len() > NAMES_LISTED { ", ..." } else { "" };
            listed.truncate(NAMES_LISTED);
            format!("expected one of {}{rest}", listed.join(", "))
        }
    };
    let short: String = name.chars().take(NAME_CHARS_MAX).collect();
    let path = if path.is_empty() { short } else { format!("{path}.{short}") };
    let message = format!("unknown field {}, {meant}", quote(name));
    let consequence = "it is ignored and the rest of the object applies";
    log.push(line, Severity::Warning, Code::UnknownField, &path, message, consequence);
}

/// As many names as show what kind of thing belongs here.
const NAMES_LISTED: usize = 12;
/// As much of a field's name as a path shows.
const NAME_CHARS_MAX: usize = 80;
