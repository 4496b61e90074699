//! Rewrites the expected files of golden tests from what the code does now.
//!
//! A golden test reads [`VARIABLE`]: where it is set, it writes what it got
//! over what it expected, and passes. Nothing else may write a golden file.

use std::path::Path;

use crate::{Outcome, shell};

/// Tells golden tests to rewrite rather than compare.
const VARIABLE: &str = "UPDATE_GOLDEN";

/// The packages that hold golden tests.
const PACKAGES: &[&str] = &["mesh-config", "mesh-translate", "mesh-agent", "pilothouse"];

/// Rewrites every golden file, then runs the same tests again as a comparison.
pub(crate) fn run(root: &Path) -> Outcome {
    let mut test = shell::cargo(root);
    test.arg("test");
    for package in PACKAGES {
        test.args(["--package", package]);
    }
    shell::run(test.env(VARIABLE, "1"))?;
    shell::run(test.env_remove(VARIABLE))?;
    println!("Golden files are current. Read `git diff` before committing.");
    Ok(())
}
