//! `pilothouse demo`: what the mesh is for, on one machine.
//!
//! A control plane reads the manifests of `examples/grpc-balance/`; three
//! replicas of a gRPC server, a client, and a sidecar for each run here. The
//! client sends its calls over one HTTP/2 connection: first to the replica that
//! a Kubernetes Service would have picked for the connection, then to its own
//! sidecar.

mod balance;
mod client;
mod echo;
mod manifests;
mod stage;
mod table;

use indicatif::{ProgressBar, ProgressStyle};
use mesh_model::Severity;
use rand::seq::IndexedRandom;
use serde::Serialize;

use self::balance::{Balance, Run};
use self::manifests::{Plan, REPLICAS_MAX};
use self::stage::{Mesh, Servers};
use super::Output;
use super::explain::target::Target;
use crate::explanation::{self, Explanation};
use crate::failure::{Failure, Result};
use crate::proxies::Choice;
use crate::{report, signals, terminal};

/// Show what the mesh is for: gRPC calls over one connection, without it and with it
///
/// Starts a control plane, replicas of a gRPC server, a client and a sidecar
/// for each, all on loopback addresses and free ports, and ends them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Replicas of the server
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=REPLICAS_MAX as i64))]
    replicas: u8,

    /// Calls to send, without the mesh and again with it
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=REQUESTS_MAX))]
    requests: u64,

    #[command(flatten)]
    proxy: Choice,

    /// Load-balancing policy in the DestinationRule
    #[arg(long, value_enum, default_value_t)]
    lb: Policy,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// `loadBalancer.simple` of the DestinationRule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Policy {
    /// In turn
    #[default]
    RoundRobin,
    /// The one of two with fewer calls in flight
    LeastRequest,
    /// By chance
    Random,
}

impl Policy {
    fn as_str(self) -> &'static str {
        match self {
            Policy::RoundRobin => "ROUND_ROBIN",
            Policy::LeastRequest => "LEAST_REQUEST",
            Policy::Random => "RANDOM",
        }
    }
}

/// What the demo found; the JSON keys are the command's output.
#[derive(Debug, Serialize)]
struct Report {
    without_mesh: Balance,
    with_mesh: Balance,
    explain: Explanation,
}

pub(crate) fn run(args: Args) -> Result {
    report::log(report::QUIET)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::other("cannot start", &error))?;
    runtime.block_on(async {
        let mut stop = signals::Stop::listen()?;
        tokio::select! {
            outcome = show(&args) => outcome,
            () = stop.wait() => Err(Failure::Other("interrupted; everything the demo started has ended".to_owned())),
        }
    })
}

async fn show(args: &Args) -> Result {
    let proxy = args.proxy.find()?;
    let (servers, plan) = Servers::start(args.replicas, args.lb.as_str())?;
    let without = without_mesh(&servers, &plan, args.requests).await?;
    let mesh = Mesh::start(proxy.clone(), &plan).await?;
    for diagnostic in mesh.diagnostics().iter().filter(|d| d.severity > Severity::Info) {
        anstream::eprintln!("{}", terminal::paint(terminal::WARNING, &diagnostic.to_string()));
    }
    let with = with_mesh(&mesh, &plan, args.requests).await?;
    let explain = explain(&mesh, &plan).await?;
    let failed = failures(&[("without the mesh", &without), ("with the mesh", &with)]);
    let report = Report { without_mesh: without.balance, with_mesh: with.balance, explain };
    terminal::print(&match args.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default()),
        Output::Text => page(&report, &plan, &format!("{proxy}")),
    });
    mesh.stop().await;
    match failed {
        None => Ok(()),
        Some(why) => Err(Failure::Other(why)),
    }
}

/// All calls over one connection to one replica: kube-proxy chooses once, when
/// the connection is made.
async fn without_mesh(servers: &Servers, plan: &Plan, requests: u64) -> Result<Run> {
    let chosen = servers.addresses().choose(&mut rand::rng()).copied();
    let address = chosen.ok_or_else(|| Failure::Other("there is no replica".to_owned()))?;
    let bar = progress("without the mesh", requests);
    let calls = client::send(address, &authority(plan), requests, ticker(&bar)).await?;
    bar.finish_and_clear();
    Ok(Run::new(calls, &names(plan)))
}

/// All calls over one connection to the client's sidecar.
async fn with_mesh(mesh: &Mesh, plan: &Plan, requests: u64) -> Result<Run> {
    let bar = progress("with the mesh", requests);
    let calls = client::send(mesh.entrance(), &authority(plan), requests, ticker(&bar)).await?;
    bar.finish_and_clear();
    Ok(Run::new(calls, &names(plan)))
}

/// Why one of the calls went where it went.
async fn explain(mesh: &Mesh, plan: &Plan) -> Result<Explanation> {
    let url = format!("grpc://{}{}", authority(plan), echo::METHOD);
    let target = Target::parse(&url, None, &[]).map_err(|error| Failure::Other(error.to_string()))?;
    let subject = mesh.subject("frontend.default").await?;
    Ok(subject.explain(&target).0)
}

/// One sentence if any call failed.
fn failures(runs: &[(&str, &Run)]) -> Option<String> {
    let failed = runs.iter().filter(|(_, run)| run.failed > 0);
    let sentence = |(name, run): &(&str, &Run)| {
        let first = run.first_failure.as_deref().unwrap_or("no reason given");
        format!("{} calls {name} failed, the first with {first}", table::thousands(run.failed))
    };
    let sentences: Vec<String> = failed.map(sentence).collect();
    (!sentences.is_empty()).then(|| sentences.join("; "))
}

fn page(report: &Report, plan: &Plan, proxy: &str) -> String {
    let width = terminal::width();
    let calls: u64 = report.with_mesh.per_replica.iter().sum();
    let replicas = plan.replicas.len();
    let head = format!(
        "{} gRPC calls from frontend to backend over one HTTP/2 connection; {replicas} replicas, {}, sidecars: {proxy}",
        table::thousands(calls),
        plan.policy
    );
    let mut text = terminal::wrap("", &head, width).join("\n");
    text.push_str("\n\n");
    text.push_str(&table::render(&names(plan), &report.without_mesh, &report.with_mesh, width));
    text.push('\n');
    let tail = "The path of one call, as `pilothouse explain` shows it:";
    text.push_str(&terminal::wrap("", tail, width).join("\n"));
    text.push_str("\n\n");
    text.push_str(&explanation::text::render(&report.explain, width));
    text
}

fn authority(plan: &Plan) -> String {
    format!("backend.default.svc.cluster.local:{}", plan.port)
}

fn names(plan: &Plan) -> Vec<String> {
    plan.replicas.iter().map(|r| r.name.clone()).collect()
}

/// A bar on standard error, which draws nothing unless that is a terminal.
fn progress(what: &'static str, requests: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:16} {wide_bar} {human_pos}/{human_len}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(requests).with_style(style).with_message(what)
}

fn ticker(bar: &ProgressBar) -> impl Fn() + Send + Sync + 'static {
    let bar = bar.clone();
    move || bar.inc(1)
}

/// More calls than this show nothing new, and their latencies are all kept.
const REQUESTS_MAX: u64 = 10_000_000;
