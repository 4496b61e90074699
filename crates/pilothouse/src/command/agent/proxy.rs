//! `pilothouse agent proxy`: makes the bootstrap, runs the proxy, and says
//! whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use mesh_agent::bootstrap::{Flags, Inputs, Role};
use mesh_agent::{Options, Program};

use super::machine;
use crate::failure::{Failure, Result, chain};
use crate::proxies::{self, Choice};
use crate::report;

/// Make a proxy's bootstrap, run the proxy, and serve its readiness
///
/// Reads the environment as Istio's agent does: POD_NAME, POD_NAMESPACE,
/// INSTANCE_IP, PROXY_CONFIG, ISTIO_META_* and ISTIO_METAJSON_*, and the pod's
/// labels and annotations in ./etc/istio/pod. SIGTERM drains.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the proxy is for
    #[arg(value_enum, default_value = "sidecar")]
    role: Purpose,

    #[command(flatten)]
    choice: Choice,

    /// DNS domain of the proxy; by default $(POD_NAMESPACE).svc.cluster.local
    #[arg(long)]
    domain: Option<String>,

    /// File with mesh settings
    #[arg(
        long = "meshConfig",
        visible_alias = "mesh-config",
        value_name = "FILE",
        default_value = "./etc/istio/config/mesh"
    )]
    mesh_config: PathBuf,

    /// Folder for the bootstrap file
    #[arg(long = "configPath", visible_alias = "config-path", value_name = "DIR", default_value = "./etc/istio/proxy")]
    config_path: PathBuf,

    /// `node.cluster`
    #[arg(long = "serviceCluster", visible_alias = "service-cluster", value_name = "NAME")]
    service_cluster: Option<String>,

    /// host:port of the control plane's xDS; by default PROXY_CONFIG's discoveryAddress
    #[arg(long = "discoveryAddress", visible_alias = "discovery-address", value_name = "ADDR")]
    discovery_address: Option<String>,

    /// Worker threads of the proxy; 0 for one on each CPU
    #[arg(long, value_name = "N")]
    concurrency: Option<u32>,

    /// The proxy's log level
    #[arg(long = "proxyLogLevel", visible_alias = "proxy-log-level", value_name = "LEVEL", default_value = "warning")]
    proxy_log_level: String,

    /// The proxy's log levels by component, such as misc:error,upstream:debug
    #[arg(long = "proxyComponentLogLevel", visible_alias = "proxy-component-log-level", value_name = "LEVELS")]
    proxy_component_log_level: Option<String>,

    /// The agent's own log: error, warn, info, debug, trace, or tracing directives
    #[arg(long = "logLevel", visible_alias = "log-level", value_name = "LEVEL", default_value = "info")]
    log_level: String,

    #[command(flatten)]
    ports: Ports,

    #[command(flatten)]
    without_effect: WithoutEffect,
}

/// Where the proxy and the agent listen for those who operate them.
#[derive(Debug, clap::Args)]
struct Ports {
    /// The proxy's admin interface, on loopback
    #[arg(long = "adminPort", visible_alias = "admin-port", value_name = "PORT")]
    admin: Option<u16>,

    /// The agent's status server
    #[arg(long = "statusPort", visible_alias = "status-port", value_name = "PORT")]
    status: Option<u16>,

    /// The proxy's health listener
    #[arg(long = "healthPort", visible_alias = "health-port", value_name = "PORT")]
    health: Option<u16>,

    /// The proxy's Prometheus listener
    #[arg(long = "prometheusPort", visible_alias = "prometheus-port", value_name = "PORT")]
    prometheus: Option<u16>,

    /// Address of the health and Prometheus listeners; unless it is every address, the status server is on loopback
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    bind: IpAddr,
}

/// Flags of Istio's agent that are accepted and have no effect here.
#[derive(Debug, clap::Args)]
struct WithoutEffect {
    #[arg(long = "stsPort", value_name = "PORT", hide = true)]
    sts_port: Option<u16>,
    #[arg(long = "tokenManagerPlugin", value_name = "NAME", hide = true)]
    token_manager_plugin: Option<String>,
    #[arg(long = "templateFile", value_name = "FILE", hide = true)]
    template_file: Option<PathBuf>,
    #[arg(long = "outlierLogPath", value_name = "FILE", hide = true)]
    outlier_log_path: Option<PathBuf>,
    #[arg(long = "profiling", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide = true)]
    profiling: Option<bool>,
}

/// What the proxy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Purpose {
    /// It stands beside a workload
    Sidecar,
    /// It is a gateway
    Router,
}

pub(super) async fn run(args: Args) -> Result {
    report::log(&args.log_level)?;
    for flag in args.without_effect.given() {
        tracing::warn!(flag, "The flag is accepted and has no effect.");
    }
    let options = options(args)?;
    let exit = mesh_agent::run(&options).await.map_err(|error| Failure::Other(chain(&error)))?;
    match exit.code() {
        0 => Ok(()),
        code => {
            Err(Failure::Other(format!("the proxy ended too often by itself, the last time with exit code {code}")))
        }
    }
}

fn options(args: Args) -> Result<Options> {
    let program = match args.choice.find()? {
        proxies::Proxy::Envoy(path) => Program::Envoy(path),
        proxies::Proxy::Native => {
            let executable = std::env::current_exe();
            let executable = executable.map_err(|error| Failure::other("cannot find this executable", &error))?;
            Program::Native { executable, prefix: vec!["proxy".to_owned()] }
        }
    };
    let inputs = Inputs {
        role: match args.role {
            Purpose::Sidecar => Role::Sidecar,
            Purpose::Router => Role::Router,
        },
        env: std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect(),
        mesh_config: machine::text(&args.mesh_config)?,
        labels: machine::text(Path::new(LABELS))?,
        annotations: machine::text(Path::new(ANNOTATIONS))?,
        addresses: machine::addresses()?,
        flags: Flags {
            domain: args.domain,
            service_cluster: args.service_cluster,
            concurrency: args.concurrency,
            discovery_address: args.discovery_address,
            delta: None,
            bind: Some(args.ports.bind),
            admin_port: args.ports.admin,
            status_port: args.ports.status,
            health_port: args.ports.health,
            prometheus_port: args.ports.prometheus,
        },
    };
    Ok(Options {
        config_dir: args.config_path,
        log_level: args.proxy_log_level,
        component_log_level: args.proxy_component_log_level,
        status_bind: args.ports.status_bind(),
        ..Options::new(program, inputs)
    })
}

impl Ports {
    /// The proxy's health listener asks the status server on loopback, so it
    /// must be reached there.
    fn status_bind(&self) -> IpAddr {
        match self.bind {
            IpAddr::V4(_) if !self.bind.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) if !self.bind.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            every => every,
        }
    }
}

impl WithoutEffect {
    fn given(&self) -> Vec<&'static str> {
        let given = [
            ("--stsPort", self.sts_port.is_some_and(|port| port != 0)),
            ("--tokenManagerPlugin", self.token_manager_plugin.is_some()),
            ("--templateFile", self.template_file.is_some()),
            ("--outlierLogPath", self.outlier_log_path.is_some()),
            ("--profiling", self.profiling.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(flag, _)| flag).collect()
    }
}

/// Where a pod's labels and annotations are mounted.
const LABELS: &str = "./etc/istio/pod/labels";
const ANNOTATIONS: &str = "./etc/istio/pod/annotations";
