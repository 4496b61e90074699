//! `pilothouse discovery`: the control plane as a process, with the flags of
//! Istio's pilot-discovery.

use std::net::SocketAddr;
use std::path::PathBuf;

use mesh_pilot::{Options, Pilot};

use crate::failure::{Failure, Result};
use crate::{report, signals};

/// Run the control plane (the role of Istio's pilot-discovery)
///
/// Flags may be written as Istio writes them (--grpcAddr) or in kebab case
/// (--grpc-addr).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder or file of manifests; may be repeated
    #[arg(long = "configDir", visible_alias = "config-dir", value_name = "DIR", required = true)]
    config_dirs: Vec<PathBuf>,

    #[command(flatten)]
    addresses: Addresses,

    /// File with mesh settings; it goes before a ConfigMap `istio` in the folders
    #[arg(long = "meshConfig", visible_alias = "mesh-config", value_name = "FILE")]
    mesh_config: Option<PathBuf>,

    /// DNS domain of the platform's services
    #[arg(long, default_value = "cluster.local")]
    domain: String,

    /// What is logged on standard error: error, warn, info, debug, trace, or tracing directives
    #[arg(long = "logLevel", visible_alias = "log-level", value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

/// Where the control plane listens.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Addresses {
    /// Address of xDS, without TLS; :0 takes a free port
    #[arg(long = "grpcAddr", visible_alias = "grpc-addr", value_name = "ADDR", default_value = ":15010", value_parser = address)]
    grpc: SocketAddr,

    /// Address of metrics and debug pages; '' for none
    #[arg(long = "monitoringAddr", visible_alias = "monitoring-addr", value_name = "ADDR", default_value = ":15014")]
    monitoring: Listen,

    /// A second address of the same pages; '' for none
    #[arg(long = "httpAddr", visible_alias = "http-addr", value_name = "ADDR", default_value = ":8080")]
    http: Listen,

    /// A third address of the same pages, where the first versions of Istio had them (:9093)
    #[arg(long = "legacyMonitoringAddr", visible_alias = "legacy-monitoring-addr", value_name = "ADDR", value_parser = address)]
    legacy_monitoring: Option<SocketAddr>,
}

impl Addresses {
    /// Enters them into a control plane's options.
    pub(super) fn apply(&self, options: Options) -> Options {
        Options {
            grpc_address: self.grpc,
            monitoring_address: self.monitoring.0,
            http_address: self.http.0,
            legacy_monitoring_address: self.legacy_monitoring,
            ..options
        }
    }
}

/// An address to listen on, or none at all.
#[derive(Debug, Clone, Copy)]
struct Listen(Option<SocketAddr>);

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text.is_empty() { Ok(Self(None)) } else { address(text).map(|a| Self(Some(a))) }
    }
}

fn address(text: &str) -> std::result::Result<SocketAddr, String> {
    mesh_pilot::parse_address(text).map_err(|error| error.to_string())
}

pub(crate) fn run(args: Args) -> Result {
    report::log(&args.log_level)?;
    let options = args.addresses.apply(Options {
        config_dirs: args.config_dirs,
        mesh_config: args.mesh_config,
        domain: args.domain,
        ..Options::default()
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::other("cannot start", &error))?.block_on(serve(options))
}

async fn serve(options: Options) -> Result {
    let mut stop = signals::Stop::listen()?;
    let pilot = Pilot::start(options).await.map_err(|error| Failure::Other(crate::failure::chain(&error)))?;
    stop.wait().await;
    pilot.shutdown().await;
    Ok(())
}
