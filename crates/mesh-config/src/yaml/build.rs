//! Builds trees from the parser's events, within bounds.

use std::collections::HashMap;
use std::sync::Arc;

use mesh_model::Name;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

use super::split::Chunk;
use super::{DEPTH_MAX, Document, Error, Key, Map, NODES_MAX, Node, Problem, Value, scalar, surrogates};

/// The documents of one chunk: one, or several if only comments or empty
/// documents stand before it. Empty documents are left out.
pub(super) fn parse(chunk: Chunk<'_>) -> Vec<Document> {
    let documents = parse_text(chunk);
    let is_syntax = |d: &Document| matches!(&d.root, Err(error) if matches!(error.problem, Problem::Syntax(_)));
    if documents.iter().any(is_syntax)
        && let Some(text) = surrogates::joined(chunk.text)
    {
        return parse_text(Chunk { text: &text, ..chunk });
    }
    documents
}

fn parse_text(chunk: Chunk<'_>) -> Vec<Document> {
    let mut builder = Builder { first_line: chunk.line, ..Builder::default() };
    let mut documents = Vec::new();
    let mut parser = Parser::new_from_str(chunk.text);
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => builder.take(event, span),
            Err(error) => {
                let at = Span::empty(*error.marker());
                Err(builder.error(at, Problem::Syntax(error.info().to_owned())))
            }
        };
        if let Err(error) = step {
            let line = builder.document_line.unwrap_or(error.line);
            documents.push(Document { line, root: Err(error) });
            break;
        }
        if let Some(root) = builder.root.take().filter(|root| !root.is_null()) {
            documents.push(Document { line: root.line, root: Ok(root) });
        }
    }
    documents
}

#[derive(Default)]
struct Builder {
    first_line: u32,
    /// Line of the first node of the document that is being built.
    document_line: Option<u32>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, Extent)>,
    nodes: usize,
    root: Option<Node>,
}

/// How much of the bounds a complete node takes.
#[derive(Clone, Copy)]
struct Extent {
    nodes: usize,
    levels: usize,
}

/// A list or map that is not complete.
struct Open {
    anchor: usize,
    line: u32,
    column: u32,
    /// Node count when it began, to tell its own size.
    nodes_before: usize,
    /// Levels of its deepest member.
    levels: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<(Key, Node)>, lines: HashMap<Name, u32>, key: Option<Key>, merges: Vec<Node> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Error> {
        match event {
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.nodes = 0;
                self.document_line = None;
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                // A key is the text that it is written as: `on: x` has the key
                // `on`, not `true`.
                let value = match self.expects_key() {
                    true => Value::Text(text.into()),
                    false => value_of(&text, style, tag.as_deref()),
                };
                let node = Node { value, ..self.at(span) };
                let extent = Extent { nodes: 1, levels: 0 };
                if anchor != 0 {
                    self.anchors.insert(anchor, (node.clone(), extent));
                }
                self.nodes += 1;
                self.place(node, extent, span)
            }
            Event::Alias(id) => {
                let Some((node, extent)) = self.anchors.get(&id).cloned() else {
                    return Err(self.error(span, Problem::CyclicAlias));
                };
                self.nodes += extent.nodes;
                self.place(node, extent, span)
            }
            Event::SequenceStart(anchor, _) => self.begin(anchor, Content::List(Vec::new()), span),
            Event::MappingStart(anchor, _) => {
                let content =
                    Content::Map { entries: Vec::new(), lines: HashMap::new(), key: None, merges: Vec::new() };
                self.begin(anchor, content, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }

    fn at(&self, span: Span) -> Node {
        let line = (span.start.line() as u32).max(1) + self.first_line - 1;
        Node { value: Value::Null, line, column: span.start.col() as u32 + 1 }
    }

    fn error(&self, span: Span, problem: Problem) -> Error {
        let Node { line, column, .. } = self.at(span);
        Error { line, column, problem }
    }

    fn begin(&mut self, anchor: usize, content: Content, span: Span) -> Result<(), Error> {
        if self.open.len() >= DEPTH_MAX {
            return Err(self.error(span, Problem::TooDeep));
        }
        let Node { line, column, .. } = self.at(span);
        self.document_line.get_or_insert(line);
        self.open.push(Open { anchor, line, column, nodes_before: self.nodes, levels: 0, content });
        self.nodes += 1;
        Ok(())
    }

    fn end(&mut self, span: Span) -> Result<(), Error> {
        // The parser pairs starts and ends.
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.content {
            Content::List(items) => Value::List(Arc::new(items)),
            Content::Map { mut entries, mut lines, merges, .. } => {
                for (key, node) in merges.iter().flat_map(mergeable) {
                    if !lines.contains_key(&key.text) {
                        lines.insert(key.text.clone(), key.line);
                        entries.push((key.clone(), node.clone()));
                    }
                }
                Value::Map(Arc::new(Map { entries }))
            }
        };
        let extent = Extent { nodes: self.nodes - open.nodes_before, levels: open.levels + 1 };
        let node = Node { value, line: open.line, column: open.column };
        if open.anchor != 0 {
            self.anchors.insert(open.anchor, (node.clone(), extent));
        }
        self.place(node, extent, span)
    }

    /// Puts a node that is complete where it belongs.
    fn place(&mut self, node: Node, extent: Extent, span: Span) -> Result<(), Error> {
        if self.nodes > NODES_MAX {
            return Err(self.error(span, Problem::TooManyNodes));
        }
        // An alias brings its own levels below the place where it is used.
        if self.open.len() + extent.levels > DEPTH_MAX {
            return Err(self.error(span, Problem::TooDeep));
        }
        self.document_line.get_or_insert(node.line);
        let at = self.at(span);
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.levels = open.levels.max(extent.levels);
        match &mut open.content {
            Content::List(items) => {
                items.push(node);
                Ok(())
            }
            Content::Map { entries, lines, key, merges } => match key.take() {
                None => key_of(&node, &at).map(|text| *key = Some(text)),
                Some(of) if &*of.text == "<<" => merge(node).map(|node| merges.push(node)),
                Some(of) => match lines.insert(of.text.clone(), of.line) {
                    None => {
                        entries.push((of, node));
                        Ok(())
                    }
                    Some(first) => Err(Error {
                        line: of.line,
                        column: of.column,
                        problem: Problem::DuplicateKey { key: super::quote(&of.text), first },
                    }),
                },
            },
        }
    }
}

fn value_of(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Value {
    let is_text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && matches!(&*tag.suffix, "str" | "binary"));
    match style {
        ScalarStyle::Plain if !is_text => scalar::resolve(text),
        _ => Value::Text(text.into()),
    }
}

/// A key that an alias brings may be any scalar.
fn key_of(node: &Node, at: &Node) -> Result<Key, Error> {
    let text: Name = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string().into(),
        Value::Int(value) => value.to_string().into(),
        Value::Float { text, .. } => text.clone(),
        Value::List(_) | Value::Map(_) => {
            return Err(Error { line: at.line, column: at.column, problem: Problem::KeyNotText });
        }
    };
    Ok(Key { text, line: at.line, column: at.column })
}

fn merge(node: Node) -> Result<Node, Error> {
    let is_map = |node: &Node| matches!(node.value, Value::Map(_));
    let right = match &node.value {
        Value::Map(_) => true,
        Value::List(items) => items.iter().all(is_map),
        _ => false,
    };
    let Node { line, column, .. } = node;
    if right { Ok(node) } else { Err(Error { line, column, problem: Problem::NotMergeable(node.describe()) }) }
}

/// The entries of a merge key's value; of several maps the first wins.
fn mergeable(node: &Node) -> Vec<&(Key, Node)> {
    match &node.value {
        Value::Map(map) => map.entries.iter().collect(),
        Value::List(items) => items.iter().flat_map(mergeable).collect(),
        _ => Vec::new(),
    }
}
