//! The project's own tasks: `cargo xtask <task>`.
//!
//! Each task is one module with one `run`. A task prints what it does, and
//! fails with one message that says what to do next.
//!
//! Deliberately absent: anything a shipped binary needs. Nothing depends on
//! this crate.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod ci;
mod golden;
mod peers;
mod proto;
mod shell;
mod tidy;

/// What a task ends with: nothing, or one message for the person who ran it.
type Outcome = Result<(), Box<dyn Error>>;

#[derive(Parser)]
#[command(name = "xtask", about = "The project's own tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Everything a change must pass: fmt, clippy, tidy, proto, doc, test
    Ci(ci::Args),
    /// Measure side by side with Envoy, or under simulated proxies
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Check what rustc and clippy do not: dependency edges, sizes, words, golden cases
    Tidy(tidy::Args),
    /// Rewrite the expected files of the golden tests; read the diff before committing it
    Golden,
    /// Install the real peers that whole-mesh tests talk to: Envoy, and gRPC's own xDS clients
    Peers,
    /// Rewrite the committed protobuf descriptor set from the .proto files of envoy-types
    Proto {
        /// Only say whether the committed set is current
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let root = workspace_root();
    let result = match Args::parse().task {
        Task::Ci(args) => ci::run(&root, &args),
        Task::Bench(bench) => bench::run(&root, &bench),
        Task::Tidy(args) => tidy::run(&root, &args),
        Task::Golden => golden::run(&root),
        Task::Peers => peers::run(&root),
        Task::Proto { check } => proto::run(&root, check),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}
