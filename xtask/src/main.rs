//! The project's own tasks: `cargo xtask <task>`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod proto;

#[derive(Parser)]
#[command(name = "xtask", about = "The project's own tasks")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
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
