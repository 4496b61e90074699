//! `pilothouse proxy`: the data plane as a process, with Envoy's flags.

use mesh_proxy::Options;

use crate::failure::{Failure, Result};

/// Run the data-plane proxy, with Envoy's bootstrap format and flags
///
/// The bootstrap file has Envoy's format, and the flags are Envoy's. Those that
/// matter here:
///
///   -c, --config-path FILE           bootstrap, YAML or JSON
///       --config-yaml TEXT           bootstrap text, merged over the file
///       --concurrency N              worker threads; by default one for each CPU
///       --drain-time-s SECONDS       how long connections drain (600)
///       --drain-strategy STRATEGY    gradual or immediate
///   -l, --log-level LEVEL            trace, debug, info, warning, error, critical or off
///       --mode MODE                  serve, or validate: check the bootstrap and exit
///       --service-node, --service-cluster, --service-zone
///                                    override the bootstrap's node
///       --allow-unknown-static-fields
///                                    report unknown bootstrap fields instead of refusing them
///       --file-flush-interval-msec MS
///                                    how often access logs reach the disk (10000)
///
/// Flags of Envoy that have no meaning here, such as --disable-hot-restart and
/// --base-id, are accepted.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Args {
    /// Envoy's flags
    #[arg(value_name = "FLAGS", trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

pub(crate) fn run(args: Args) -> Result {
    let options = Options::parse(args.flags).map_err(|error| Failure::Usage(error.to_string()))?;
    mesh_proxy::run(options).map_err(|error| Failure::Other(crate::failure::chain(&error)))
}
