//! Checks what rustc and clippy do not: the shape of the house.
//!
//! Every check is a row of [`CHECKS`]: a name, and a function from the
//! [`Workspace`] to findings. A finding says the place, what was found and what
//! was expected; all of them are printed, not only the first.
//!
//! Sizes are ratcheted: what was too long when the rule came is listed in
//! `xtask/ratchet.txt` with its length, may shrink, and may not grow.

use std::path::{Path, PathBuf};

use crate::{Outcome, shell};

mod docs;
mod edges;
mod features;
mod golden;
mod purity;
mod sizes;
mod text;

/// Options of `cargo xtask tidy`.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Write the lengths found now into xtask/ratchet.txt; read the diff: only smaller numbers are welcome
    #[arg(long)]
    update_ratchet: bool,
}

/// One thing that is not as the house wants it, as a line for a person.
type Finding = String;

/// What the checks look at: read once, changed by none.
struct Workspace {
    root: PathBuf,
    metadata: serde_json::Value,
    /// Tracked Rust files, from the root, with their text.
    sources: Vec<(PathBuf, String)>,
    /// All tracked files, from the root.
    files: Vec<PathBuf>,
}

type Check = fn(&Workspace) -> Vec<Finding>;

/// Every check, in the order in which its findings are printed.
const CHECKS: &[(&str, Check)] = &[
    ("dependency edges", edges::check),
    ("pure crates", purity::check),
    ("sizes", sizes::check),
    ("module comments", text::module_comments),
    ("words", text::words),
    ("documents", docs::check),
    ("features", features::check),
    ("golden cases", golden::check),
];

/// Runs every check and prints every finding.
pub(crate) fn run(root: &Path, args: &Args) -> Outcome {
    let workspace = Workspace::read(root)?;
    if args.update_ratchet {
        return sizes::update(&workspace);
    }
    let mut found = 0;
    for (name, check) in CHECKS {
        for finding in check(&workspace) {
            println!("tidy: {name}: {finding}");
            found += 1;
        }
    }
    match found {
        0 => Ok(()),
        n => Err(format!("tidy: {n} findings").into()),
    }
}

impl Workspace {
    fn read(root: &Path) -> Result<Self, String> {
        let files = shell::tracked_files(root)?;
        let mut sources = Vec::new();
        for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")) {
            let text =
                std::fs::read_to_string(root.join(file)).map_err(|error| format!("{}: {error}", file.display()))?;
            sources.push((file.clone(), text));
        }
        Ok(Self { root: root.to_owned(), metadata: shell::metadata(root)?, sources, files })
    }

    /// The names of the workspace's packages, sorted.
    fn packages(&self) -> Vec<&str> {
        let list = self.metadata["packages"].as_array();
        let mut names: Vec<&str> = list.into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests;
