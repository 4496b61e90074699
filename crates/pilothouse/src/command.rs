//! The commands: one variant and one file each.
//!
//! To add one, write `command/<name>.rs` with its `Args` and its `run`, and
//! enter it in [`Command`] and [`run`]. The golden of the help text reminds.

mod agent;
mod analyze;
mod demo;
mod discovery;
mod explain;
mod proxy;
mod status;
mod up;
mod validate;
mod version;
mod wait;

use crate::failure::Result;

/// A service mesh: an Istio-compatible control plane, an agent, and a proxy
/// that speaks Envoy's xDS.
#[derive(Debug, clap::Parser)]
#[command(name = "pilothouse", version, about, max_term_width = 100, subcommand_required = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do. The help text of each is the doc comment of its `Args`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Discovery(discovery::Args),
    Agent(agent::Args),
    Proxy(proxy::Args),
    Explain(explain::Args),
    Validate(validate::Args),
    Analyze(analyze::Args),
    Status(status::Args),
    Wait(wait::Args),
    Version(version::Args),
}

/// Runs `command` to its end.
pub(crate) fn run(command: Command) -> Result {
    match command {
        Command::Demo(args) => demo::run(args),
        Command::Up(args) => up::run(args),
        Command::Discovery(args) => discovery::run(args),
        Command::Agent(args) => agent::run(args),
        Command::Proxy(args) => proxy::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Validate(args) => validate::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Status(args) => status::run(args),
        Command::Wait(args) => wait::run(args),
        Command::Version(args) => version::run(&args),
    }
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document on standard output.
    Json,
}

#[cfg(test)]
mod tests;
