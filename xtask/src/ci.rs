//! Everything a change must pass, in the order in which it fails fastest.
//!
//! The steps are one table: what stands here is what continuous integration
//! runs, on a laptop as on a server.

use std::path::Path;
use std::time::Instant;

use crate::{Outcome, peers, proto, shell, tidy};

/// Options of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Do not install missing peers; tests that need one then say they were skipped
    #[arg(long)]
    no_peers: bool,
}

/// Runs every step; stops at the first that fails.
pub(crate) fn run(root: &Path, args: &Args) -> Outcome {
    step("fmt", || shell::run(shell::cargo(root).args(["fmt", "--all", "--check"])))?;
    step("tidy", || tidy::run(root, &tidy::Args::default()))?;
    step("proto", || proto::run(root, true))?;
    step("clippy", || {
        let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
        shell::run(shell::cargo(root).args(clippy))
    })?;
    step("doc", || {
        let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"];
        shell::run(
            shell::cargo(root)
                .args(doc)
                .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links"),
        )
    })?;
    if !args.no_peers {
        step("peers", || peers::run(root))?;
    }
    step("test", || shell::run(shell::cargo(root).args(["test", "--workspace"])))?;
    println!("\nAll of it passes.");
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Outcome) -> Outcome {
    println!("== {name}");
    let begun = Instant::now();
    let outcome = work();
    println!("== {name}: {} in {:.0} s", if outcome.is_ok() { "ok" } else { "FAILED" }, begun.elapsed().as_secs_f64());
    outcome.map_err(|error| format!("{name}: {error}").into())
}
