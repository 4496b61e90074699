//! `pilothouse version`

use super::Output;
use crate::failure::Result;
use crate::terminal;

/// Print the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: &Args) -> Result {
    let version = env!("CARGO_PKG_VERSION");
    terminal::print(&match args.output {
        Output::Text => format!("pilothouse {version}\n"),
        Output::Json => format!("{}\n", serde_json::json!({ "version": version })),
    });
    Ok(())
}
