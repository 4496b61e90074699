//! `pilothouse explain`: where a request goes, and which rule object caused
//! each step.
//!
//! The proxy's own engine decides, over the resources that the proxy has: those
//! that a running control plane gives it, or those that it would be given for a
//! folder of manifests.

mod offline;
mod online;
pub(super) mod subject;
pub(super) mod target;

use std::path::PathBuf;

use self::target::Target;
use super::Output;
use crate::explanation::Explanation;
use crate::failure::{Failure, Result};
use crate::{explanation, terminal};

pub(super) use online::subject as running_subject;

/// Say where a request goes, and which rule object caused each step
///
/// The proxy's own engine decides, over the resources that the proxy has.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who asks: NAME.NAMESPACE of a workload, its `app` label, or the front of its name
    #[arg(long, value_name = "WORKLOAD")]
    from: String,

    // Not a doc comment: its brackets would be links.
    #[arg(long, value_name = "URL", help = TO_HELP)]
    to: String,

    /// HTTP method; GET by default, POST for gRPC
    #[arg(short = 'X', long = "method", value_name = "METHOD")]
    method: Option<String>,

    /// A request header, 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,

    /// Folder or file of manifests to answer from, without a running mesh; may be repeated
    #[arg(short = 'f', long = "file", value_name = "DIR", conflicts_with = "pilot")]
    files: Vec<PathBuf>,

    /// Debug address of the running control plane to ask
    #[arg(long, value_name = "ADDR", default_value = "http://127.0.0.1:15014")]
    pilot: String,

    /// DNS domain of the platform's services
    #[arg(long, default_value = "cluster.local")]
    domain: String,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(crate) fn run(args: Args) -> Result {
    let target = Target::parse(&args.to, args.method.as_deref(), &args.headers);
    let target = target.map_err(|error| Failure::Usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other("cannot start", &error))?;
    let subject = runtime.block_on(async {
        if args.files.is_empty() {
            online::subject(&args.pilot, &args.from, &args.domain).await
        } else {
            offline::subject(&args.files, &args.from, &args.domain).await
        }
    })?;
    let (explanation, refused) = subject.explain(&target);
    let concerns = subject.concerns(&explanation).map(ToString::to_string);
    let refused = refused.into_iter().map(|text| format!("the proxy refuses {text}"));
    for text in concerns.chain(refused) {
        anstream::eprintln!("{}", terminal::paint(terminal::WARNING, &text));
    }
    print(&explanation, args.output)
}

fn print(explanation: &Explanation, output: Output) -> Result {
    terminal::print(&match output {
        Output::Text => explanation::text::render(explanation, terminal::width()),
        Output::Json => json(explanation)?,
    });
    Ok(())
}

fn json(explanation: &Explanation) -> Result<String> {
    let text =
        serde_json::to_string_pretty(explanation).map_err(|error| Failure::other("cannot write JSON", &error))?;
    Ok(text + "\n")
}

const TO_HELP: &str =
    "What is asked for: http://, https://, grpc:// or tcp:// HOST[:PORT][/PATH]; without a port 80, for https 443";
