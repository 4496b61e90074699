//! Files into objects, of all kinds.

use mesh_model::Name;

use super::object::Object;
use crate::yaml::{self, Document, Node, Value};

/// Part of a file that is no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The file, as the user gave it.
    pub file: Name,
    /// Line in the file, counted from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

/// Lists of lists: nobody writes them, but a file may.
const LIST_LEVELS_MAX: usize = 3;

/// The objects of a file, with `namespace` where none is written, and what of it
/// is no object.
pub fn read(file: &Name, bytes: &[u8], namespace: &str) -> (Vec<Object>, Vec<Unreadable>) {
    let (mut objects, mut unreadable) = (Vec::new(), Vec::new());
    for document in yaml::parse(bytes) {
        match document {
            Document { root: Ok(root), .. } => {
                let line = root.line;
                if !take(&mut objects, root, file, namespace, 0) {
                    let message = "found a document without kind and name, expected a Kubernetes object".to_owned();
                    unreadable.push(Unreadable { file: file.clone(), line, message });
                }
            }
            Document { root: Err(error), .. } => {
                unreadable.push(Unreadable { file: file.clone(), line: error.line, message: error.to_string() });
            }
        }
    }
    (objects, unreadable)
}

/// The objects of one document, which may be a list of them.
pub fn read_node(root: Node, file: &Name, namespace: &str) -> Vec<Object> {
    let mut objects = Vec::new();
    take(&mut objects, root, file, namespace, 0);
    objects
}

fn take(objects: &mut Vec<Object>, root: Node, file: &Name, namespace: &str, level: usize) -> bool {
    let is_list = root.get("kind").and_then(Node::text).is_some_and(|kind| kind.ends_with("List"));
    if let Some(Value::List(items)) = root.get("items").map(|items| &items.value).filter(|_| is_list) {
        if level < LIST_LEVELS_MAX {
            for item in items.iter() {
                take(objects, item.clone(), file, namespace, level + 1);
            }
        }
        return true;
    }
    match Object::of_node(root, namespace, file) {
        Some(object) => {
            objects.push(object);
            true
        }
        None => false,
    }
}
