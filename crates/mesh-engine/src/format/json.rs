//! JSON logs: an object whose values are templates.
//!
//! A value that is one operator alone keeps its type (numbers stay numbers,
//! what is not known is `null`); text around it makes it a string.

use std::fmt::Write;

use mesh_proto::google::protobuf::value::Kind;
use mesh_proto::google::protobuf::{Struct, Value};

use super::{Facts, Part, Template};
use crate::error::{At, ConfigError};

/// A compiled JSON format.
#[derive(Debug, Clone)]
pub struct JsonTemplate {
    root: Node,
    omit_empty: bool,
}

#[derive(Debug, Clone)]
enum Node {
    Object(Box<[(Box<str>, Node)]>),
    List(Box<[Node]>),
    Template(Template),
    Literal(Box<str>),
}

impl JsonTemplate {
    /// Reads a format. Keys are sorted, as protobuf maps have no order.
    pub(crate) fn parse(at: &At<'_>, format: &Struct, omit_empty: bool) -> Result<Self, ConfigError> {
        Ok(Self { root: object(at, format)?, omit_empty })
    }

    /// Writes the object for `facts` at the end of `out`, without a newline.
    pub fn write(&self, facts: &Facts<'_>, out: &mut String) {
        let mut scratch = String::new();
        if !write_node(&self.root, facts, self.omit_empty, out, &mut scratch) {
            out.push_str("{}");
        }
    }
}

fn object(at: &At<'_>, format: &Struct) -> Result<Node, ConfigError> {
    let mut fields: Vec<(&String, &Value)> = format.fields.iter().collect();
    fields.sort_by_key(|(key, _)| *key);
    let mut nodes = Vec::with_capacity(fields.len());
    for (key, value) in fields {
        nodes.push((quoted(key).into(), node(&at.field(key), value)?));
    }
    Ok(Node::Object(nodes.into()))
}

fn node(at: &At<'_>, value: &Value) -> Result<Node, ConfigError> {
    Ok(match &value.kind {
        Some(Kind::StringValue(text)) => Node::Template(Template::parse(at, text)?),
        Some(Kind::StructValue(inner)) => object(at, inner)?,
        Some(Kind::ListValue(list)) => {
            let nodes: Result<Vec<Node>, ConfigError> = list.values.iter().map(|v| node(at, v)).collect();
            Node::List(nodes?.into())
        }
        Some(Kind::NumberValue(number)) => Node::Literal(serde_json::Value::from(*number).to_string().into()),
        Some(Kind::BoolValue(flag)) => Node::Literal(flag.to_string().into()),
        Some(Kind::NullValue(_)) | None => Node::Literal("null".into()),
    })
}

/// Writes a node; `false` if there was nothing to write and nothing is wanted then.
fn write_node(node: &Node, facts: &Facts<'_>, omit: bool, out: &mut String, scratch: &mut String) -> bool {
    match node {
        Node::Literal(text) => out.push_str(text),
        Node::Template(template) => return write_value(template, facts, omit, out, scratch),
        Node::List(items) => {
            out.push('[');
            let mut first = true;
            for item in items {
                separated(&mut first, out, |out| write_node(item, facts, omit, out, scratch));
            }
            out.push(']');
        }
        Node::Object(fields) => {
            let (from, mut first) = (out.len(), true);
            out.push('{');
            for (key, value) in fields {
                separated(&mut first, out, |out| {
                    out.push_str(key);
                    out.push(':');
                    write_node(value, facts, omit, out, scratch)
                });
            }
            out.push('}');
            if omit && first {
                out.truncate(from);
                return false;
            }
        }
    }
    true
}

/// Writes one more element, with a comma before it unless it is the first; takes it all back if there was nothing.
fn separated(first: &mut bool, out: &mut String, write: impl FnOnce(&mut String) -> bool) {
    let from = out.len();
    if !*first {
        out.push(',');
    }
    if write(out) {
        *first = false;
    } else {
        out.truncate(from);
    }
}

fn write_value(template: &Template, facts: &Facts<'_>, omit: bool, out: &mut String, scratch: &mut String) -> bool {
    scratch.clear();
    if let [Part::Operator(operator, length)] = &*template.parts {
        if operator.is_number() {
            return match operator.number(facts) {
                Some(number) => write!(out, "{number}").is_ok(),
                None => null(omit, out),
            };
        }
        if operator.write(facts, scratch).is_none() {
            return null(omit, out);
        }
        if let Some((end, _)) = length.and_then(|l| scratch.char_indices().nth(l)) {
            scratch.truncate(end);
        }
    } else {
        template.write_or(facts, scratch, if omit { "" } else { "-" });
    }
    quote(scratch, out);
    true
}

fn null(omit: bool, out: &mut String) -> bool {
    if !omit {
        out.push_str("null");
    }
    !omit
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    quote(text, &mut out);
    out
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if (c as u32) < 0x20 => write!(out, "\\u{:04x}", c as u32),
            c => out.write_char(c),
        };
    }
    out.push('"');
}
