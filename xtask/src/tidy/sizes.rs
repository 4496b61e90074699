//! Files aim under 400 lines and are split past 600; functions fit a screen.
//!
//! What is longer stands in `xtask/ratchet.txt` as `lines kind name`. Invariant:
//! an entry may shrink and go, never grow, and none is added by hand.

use std::collections::BTreeMap;
use std::path::Path;

use syn::spanned::Spanned;
use syn::visit::Visit;

use super::{Finding, Workspace};
use crate::Outcome;

/// Past this a file holds several things.
const FILE_LINES_MAX: usize = 600;
/// Past this a function does not fit a screen. Attributes and doc comments do not count.
const FUNCTION_LINES_MAX: usize = 60;

const RATCHET: &str = "xtask/ratchet.txt";

/// `file path` or `function path::name`, to its length in lines.
type Lengths = BTreeMap<String, usize>;

pub(super) fn check(workspace: &Workspace) -> Vec<Finding> {
    let allowed = match ratchet(&workspace.root) {
        Ok(allowed) => allowed,
        Err(why) => return vec![why],
    };
    let (found, mut findings) = measure(workspace);
    for (what, lines) in &found {
        match allowed.get(what) {
            None => findings.push(format!("{what} has {lines} lines, at most {}", limit(what))),
            Some(was) if lines > was => findings.push(format!("{what} grew from {was} to {lines} lines; split it")),
            Some(_) => {}
        }
    }
    findings
}

/// Writes what is too long now into the ratchet file.
pub(super) fn update(workspace: &Workspace) -> Outcome {
    let (found, unreadable) = measure(workspace);
    if let Some(first) = unreadable.first() {
        return Err(first.clone().into());
    }
    let mut text =
        String::from("# lines, kind, name. Rewritten by `cargo xtask tidy --update-ratchet`; may only shrink.\n");
    for (what, lines) in &found {
        text.push_str(&format!("{lines} {what}\n"));
    }
    std::fs::write(workspace.root.join(RATCHET), text)?;
    println!("{RATCHET}: {} entries", found.len());
    Ok(())
}

fn limit(what: &str) -> usize {
    if what.starts_with("file ") { FILE_LINES_MAX } else { FUNCTION_LINES_MAX }
}

fn ratchet(root: &Path) -> Result<Lengths, String> {
    let text = std::fs::read_to_string(root.join(RATCHET)).map_err(|error| format!("{RATCHET}: {error}"))?;
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| parse(line).ok_or_else(|| format!("{RATCHET}: `{line}` is not `lines kind name`"))).collect()
}

fn parse(line: &str) -> Option<(String, usize)> {
    let (lines, what) = line.split_once(' ')?;
    Some((what.to_owned(), lines.parse().ok()?))
}

/// What is past its limit, and what could not be read as Rust.
fn measure(workspace: &Workspace) -> (Lengths, Vec<Finding>) {
    let mut found = Lengths::new();
    let mut findings = Vec::new();
    for (path, text) in &workspace.sources {
        let path = path.to_string_lossy();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            found.insert(format!("file {path}"), lines);
        }
        match long_functions(text) {
            Ok(functions) => {
                for (name, lines) in functions {
                    let longest = found.entry(format!("function {path}::{name}")).or_default();
                    *longest = lines.max(*longest);
                }
            }
            Err(error) => findings.push(format!("{path}: not Rust that can be read: {error}")),
        }
    }
    (found, findings)
}

/// The functions of one file that do not fit a screen, as `Type::name`, with their lengths.
pub(super) fn long_functions(text: &str) -> syn::Result<Vec<(String, usize)>> {
    let mut visitor = Functions::default();
    visitor.visit_file(&syn::parse_file(text)?);
    visitor.found.retain(|(_, lines)| *lines > FUNCTION_LINES_MAX);
    Ok(visitor.found)
}

#[derive(Default)]
struct Functions {
    within: Vec<String>,
    found: Vec<(String, usize)>,
}

impl Functions {
    fn note(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.span().end().line + 1 - signature.span().start().line;
        let mut path = self.within.clone();
        path.push(signature.ident.to_string());
        self.found.push((path.join("::"), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.note(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let name = match &*item.self_ty {
            syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
            _ => None,
        };
        self.within.push(name.unwrap_or_else(|| "impl".to_owned()));
        syn::visit::visit_item_impl(self, item);
        self.within.pop();
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within.push(item.ident.to_string());
        syn::visit::visit_item_mod(self, item);
        self.within.pop();
    }
}
