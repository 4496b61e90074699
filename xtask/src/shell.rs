//! Starts other programs for the tasks, and says which one failed.
//!
//! Invariant: a program that fails is an error that quotes its command line.
//! Deliberately absent: shells. Arguments are never pasted into a string.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;

/// Runs `command` with this process's own output, and fails where it fails.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = describe(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{line}` failed: {status}").into()),
        Err(error) => Err(format!("`{line}` could not be started: {error}").into()),
    }
}

/// Runs `command` quietly; its standard output where it succeeds, the tail of what it said where not.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let line = describe(command);
    match command.output() {
        Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr);
            let tail: Vec<&str> = said.lines().rev().take(3).collect();
            Err(format!("`{line}` failed: {}: {}", out.status, tail.into_iter().rev().collect::<Vec<_>>().join("; ")))
        }
        Err(error) => Err(format!("`{line}` could not be started: {error}")),
    }
}

/// `cargo` as this task was itself started with.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// What `cargo metadata` says about the workspace, without its dependencies' own.
pub(crate) fn metadata(root: &Path) -> Result<serde_json::Value, String> {
    let text = output(cargo(root).args(["metadata", "--format-version", "1", "--no-deps"]))?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

/// Where cargo builds: `$CARGO_TARGET_DIR`, or `target` beside the workspace.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// The files that git tracks or would track, as paths from the root.
pub(crate) fn tracked_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<PathBuf> =
        output(&mut git)?.lines().map(PathBuf::from).filter(|f| root.join(f).is_file()).collect();
    files.sort();
    files.dedup();
    Ok(files)
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    words.join(" ")
}
