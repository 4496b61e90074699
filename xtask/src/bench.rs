//! Side-by-side measurements: `cargo xtask bench data-plane | control-plane`.
//!
//! Both print a table with the ratios first, or with `-o json` one array of
//! rows. What was measured, and how to read it, stands in docs/benchmarks.md.
//!
//! Deliberately absent: pass marks. A number on a shared machine is read by a
//! person; what must never regress silently is a test elsewhere.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::{Outcome, shell};

mod affinity;
mod control_plane;
mod data_plane;
mod histogram;
mod process;
mod report;

/// What is measured.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// Our proxy and Envoy with the same configuration, in interleaved runs on one core
    DataPlane(Options),
    /// The control plane under simulated proxies: change to last acknowledgement, bytes, memory, cold start
    ControlPlane(Options),
}

/// Options that both measurements take.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// About a minute: one short round of each row
    #[arg(long)]
    quick: bool,
    /// How to print the rows
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Seconds of each measured run (data plane), or changes of each kind (control plane)
    #[arg(long)]
    seconds: Option<f64>,
    /// The Envoy to compare with; else $ENVOY, the one from `cargo xtask peers`, or one on PATH
    #[arg(long, value_name = "PATH")]
    envoy: Option<PathBuf>,
    /// Only rows whose name contains this
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// The pilothouse to measure; built from this workspace with --release where not given
    #[arg(long, value_name = "PATH")]
    pilothouse: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Measures, and prints the rows.
///
/// The load comes from this very program: one that was built without
/// optimisation starts itself again as a release build.
pub(crate) fn run(root: &Path, bench: &Bench) -> Outcome {
    if cfg!(debug_assertions) {
        let arguments = std::env::args_os().skip(1);
        let run = ["run", "--quiet", "--release", "--package", "xtask", "--"];
        return shell::run(shell::cargo(root).args(run).args(arguments));
    }
    match bench {
        Bench::DataPlane(options) => data_plane::run(root, options),
        Bench::ControlPlane(options) => control_plane::run(root, options),
    }
}

impl Options {
    /// The release binary under measurement.
    fn pilothouse(&self, root: &Path) -> Result<PathBuf, String> {
        if let Some(path) = &self.pilothouse {
            return Ok(path.clone());
        }
        shell::output(shell::cargo(root).args(["build", "--release", "--package", "pilothouse"]))?;
        Ok(shell::target_dir(root).join("release/pilothouse"))
    }

    fn wants(&self, row: &str) -> bool {
        self.row.as_ref().is_none_or(|part| row.contains(part.as_str()))
    }
}

/// Addresses of the loopback that are free now.
fn free_addresses(count: usize) -> Result<Vec<SocketAddr>, String> {
    let held: Result<Vec<_>, _> = (0..count).map(|_| std::net::TcpListener::bind("127.0.0.1:0")).collect();
    let held = held.map_err(|error| format!("no free port: {error}"))?;
    held.iter().map(|l| l.local_addr().map_err(|error| error.to_string())).collect()
}
