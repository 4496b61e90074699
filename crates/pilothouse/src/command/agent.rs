//! `pilothouse agent`: what runs beside a proxy, with the commands and flags of
//! Istio's pilot-agent.

mod machine;
mod proxy;

use std::time::Duration;

use mesh_agent::{request, wait};

use crate::failure::{Failure, Result, chain};
use crate::{report, terminal};

/// Run beside a proxy, or ask about one (the role of Istio's pilot-agent)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Proxy(Box<proxy::Args>),
    Wait(Wait),
    Request(Request),
}

/// Wait until the proxy beside is ready
#[derive(Debug, clap::Args)]
struct Wait {
    /// How long to wait at most
    #[arg(long = "timeoutSeconds", visible_alias = "timeout-seconds", value_name = "N", default_value_t = 60)]
    timeout_s: u64,

    /// How long one question may take
    #[arg(
        long = "requestTimeoutMillis",
        visible_alias = "request-timeout-millis",
        value_name = "N",
        default_value_t = 500
    )]
    request_timeout_ms: u64,

    /// How long to pause between questions
    #[arg(long = "periodMillis", visible_alias = "period-millis", value_name = "N", default_value_t = 500)]
    period_ms: u64,

    /// What to ask; a 200 means ready
    #[arg(long, default_value = "http://localhost:15021/healthz/ready")]
    url: String,
}

/// Ask the admin interface of the proxy beside, such as `request GET config_dump`
#[derive(Debug, clap::Args)]
struct Request {
    /// HTTP method
    method: http::Method,

    /// Path, with or without a slash in front
    path: String,

    /// Port on this machine: 15000 is the proxy's, 15020 the agent's, 15021 the proxy's health
    #[arg(long = "debug-port", visible_alias = "debugPort", value_name = "PORT", default_value_t = 15000)]
    port: u16,
}

pub(crate) fn run(args: Args) -> Result {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other("cannot start", &error))?;
    runtime.block_on(async {
        match args.command {
            Command::Proxy(args) => proxy::run(*args).await,
            Command::Wait(args) => until_ready(args).await,
            Command::Request(args) => ask(args).await,
        }
    })
}

async fn until_ready(args: Wait) -> Result {
    report::log("info")?;
    let options = wait::Options {
        url: args.url,
        timeout: Duration::from_secs(args.timeout_s),
        request_timeout: Duration::from_millis(args.request_timeout_ms),
        period: Duration::from_millis(args.period_ms),
    };
    wait::wait(&options).await.map_err(|error| match error {
        wait::WaitError::Url { .. } => Failure::Usage(error.to_string()),
        other => Failure::Other(chain(&other)),
    })
}

async fn ask(args: Request) -> Result {
    let options = request::Options { method: args.method, path: args.path, port: args.port };
    let answer = request::request(&options).await;
    let (status, body) = answer.map_err(|error| Failure::Other(chain(&error)))?;
    if !status.is_success() {
        return Err(Failure::Other(format!("port {} answers with {status}: {}", args.port, body.trim())));
    }
    terminal::print(&body);
    Ok(())
}
