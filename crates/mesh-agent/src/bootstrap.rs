//! What the proxy starts with: Envoy's v3 bootstrap, from flags, environment,
//! `PROXY_CONFIG`, mesh config and the pod's labels.
//!
//! [`settle`] reads the inputs into [`Settings`] and notes on what it could not
//! honour; [`render()`] writes the bootstrap. Both are functions of their
//! arguments alone.
//!
//! Which input wins, weakest first: built-in default, `defaultConfig` of the
//! mesh config, `PROXY_CONFIG`, the annotation `proxy.istio.io/config`, flags.
//!
//! Invariant: what [`render()`] writes is accepted by Envoy and by our own proxy;
//! no TLS occurs in it.

mod node;
mod proxy_config;
mod render;
mod stats;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::{Map, Value};

pub use proxy_config::ProxyConfigError;
pub use render::render;

/// Everything that a bootstrap depends on.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// What the proxy is for.
    pub role: Role,
    /// The agent's environment.
    pub env: BTreeMap<String, String>,
    /// Text of the mesh config file, if there is one.
    pub mesh_config: Option<String>,
    /// Text of the pod's labels file (`key="value"` lines), if there is one.
    pub labels: Option<String>,
    /// Text of the pod's annotations file, likewise.
    pub annotations: Option<String>,
    /// Addresses of this machine or pod, the primary one first. `INSTANCE_IP`
    /// goes before them.
    pub addresses: Vec<IpAddr>,
    /// What the command line says.
    pub flags: Flags,
}

/// The command line's word; `None` leaves it to the other inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// DNS domain of the proxy; `<namespace>.svc.cluster.local` otherwise.
    pub domain: Option<String>,
    /// `node.cluster`.
    pub service_cluster: Option<String>,
    /// Worker threads; 0 is one for each CPU.
    pub concurrency: Option<u32>,
    /// `host:port` of the control plane's xDS.
    pub discovery_address: Option<String>,
    /// State of the world (`false`) or delta (`true`).
    pub delta: Option<bool>,
    /// Address on which health and Prometheus listeners are bound.
    pub bind: Option<IpAddr>,
    /// The proxy's admin interface, on loopback.
    pub admin_port: Option<u16>,
    /// The agent's own status server.
    pub status_port: Option<u16>,
    /// The proxy's health listener.
    pub health_port: Option<u16>,
    /// The proxy's Prometheus listener.
    pub prometheus_port: Option<u16>,
}

/// What a proxy is for; the first part of its node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// Beside a workload.
    #[default]
    Sidecar,
    /// A gateway.
    Router,
}

/// What all the inputs come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// `type~ip~pod.namespace~domain`
    pub node_id: String,
    /// `node.cluster`
    pub cluster: String,
    /// Region, zone, subzone; empty where unknown.
    pub locality: [String; 3],
    /// `node.metadata`
    pub metadata: Map<String, Value>,
    /// `host:port` of the control plane's xDS, spoken to in plaintext.
    pub discovery_address: String,
    /// Delta or state of the world.
    pub delta: bool,
    /// Worker threads; 0 is one for each CPU.
    pub concurrency: Option<u32>,
    /// Time that a draining listener gives its connections (`--drain-time-s`).
    pub drain: Duration,
    /// Time between SIGTERM and the proxy's end.
    pub termination_drain: Duration,
    /// On SIGTERM, end as soon as no connection is left.
    pub exit_on_zero_active_connections: bool,
    /// Time before that is looked at first.
    pub minimum_drain: Duration,
    /// `host:port` of a Zipkin collector.
    pub zipkin: Option<String>,
    /// Statistics to keep besides those the agent needs; all if empty.
    pub stats: StatsMatcher,
    /// Further statistics tags.
    pub extra_stat_tags: Vec<String>,
    /// `v4` or `v6`, after the primary address.
    pub ip_version: &'static str,
    /// Address on which health and Prometheus listeners are bound.
    pub bind: IpAddr,
    /// The proxy's admin interface, on loopback.
    pub admin_port: u16,
    /// The agent's own status server.
    pub status_port: u16,
    /// The proxy's health listener.
    pub health_port: u16,
    /// The proxy's Prometheus listener.
    pub prometheus_port: u16,
    /// The application's own metrics, if it asks to have them merged.
    pub scrape: Option<Scrape>,
    /// The proxy's binary, if `PROXY_CONFIG` names one.
    pub binary_path: Option<String>,
}

/// `proxyStatsMatcher`
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatsMatcher {
    /// Names that begin so.
    pub prefixes: Vec<String>,
    /// Names that end so.
    pub suffixes: Vec<String>,
    /// Names that match as a whole.
    pub regexps: Vec<String>,
}

/// Where the application shows its metrics, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrape {
    /// Port.
    pub port: u16,
    /// Path.
    pub path: String,
}

/// Inputs from which no proxy can be started.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A configuration document is not one.
    #[error(transparent)]
    ProxyConfig(#[from] ProxyConfigError),
    /// No address for the node id.
    #[error("no address is known for this proxy: set INSTANCE_IP, or give the machine an address")]
    NoAddress,
    /// An environment variable of the wrong form.
    #[error("environment variable {name}: found {found:?}, expected {expected}; the proxy does not start")]
    Environment {
        /// The variable.
        name: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
}

/// Ports and times that hold where no input says otherwise. Istio's, except
/// that the control plane is spoken to in plaintext.
const DISCOVERY_ADDRESS: &str = "istiod.istio-system.svc:15010";
const ADMIN_PORT: u16 = 15000;
const STATUS_PORT: u16 = 15020;
const HEALTH_PORT: u16 = 15021;
const PROMETHEUS_PORT: u16 = 15090;
const DRAIN: Duration = Duration::from_secs(45);
const TERMINATION_DRAIN: Duration = Duration::from_secs(5);
/// Ports that can never be an application's: the mesh's own.
const OWN_PORTS: [u16; 9] = [15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053, 15090];

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sidecar => "sidecar",
            Self::Router => "router",
        }
    }
}

/// Reads the inputs. The notes name what was given but has no effect, one
/// sentence each.
///
/// # Errors
/// [`SettingsError`]: the proxy must not be started, since it would not do what
/// was asked.
pub fn settle(inputs: &Inputs) -> Result<(Settings, Vec<String>), SettingsError> {
    let mut notes = Vec::new();
    let labels = node::properties(inputs.labels.as_deref());
    let annotations = node::properties(inputs.annotations.as_deref());
    let config = proxy_config::merged(inputs, &annotations, &mut notes)?;
    let env = Env { process: &inputs.env, config: &config.proxy_metadata };
    let node = node::node(inputs, &env, &config, labels, annotations, &mut notes)?;
    let flags = &inputs.flags;
    let discovery_address = flags.discovery_address.clone().or(config.discovery_address.clone());
    let discovery_address = discovery_address.unwrap_or_else(|| DISCOVERY_ADDRESS.to_owned());
    if discovery_address.ends_with(":15012") {
        notes.push(format!(
            "discoveryAddress {discovery_address} is a TLS port by custom; TLS is not yet applied and plaintext will be spoken; 15010 is the plaintext port"
        ));
    }
    let settings = Settings {
        node_id: node.id,
        cluster: node.cluster,
        locality: node.locality,
        metadata: node.metadata,
        discovery_address,
        delta: flags.delta.or(env.flag("ISTIO_DELTA_XDS")?).unwrap_or(true),
        concurrency: flags.concurrency.or(config.concurrency),
        drain: config.drain.unwrap_or(DRAIN),
        termination_drain: env
            .seconds("TERMINATION_DRAIN_DURATION_SECONDS")?
            .or(config.termination_drain)
            .unwrap_or(TERMINATION_DRAIN),
        exit_on_zero_active_connections: env.flag("EXIT_ON_ZERO_ACTIVE_CONNECTIONS")?.unwrap_or(false),
        minimum_drain: env.duration("MINIMUM_DRAIN_DURATION")?.unwrap_or(TERMINATION_DRAIN),
        zipkin: config.zipkin,
        stats: config.stats,
        extra_stat_tags: config.extra_stat_tags,
        ip_version: if node.address.is_ipv6() { "v6" } else { "v4" },
        bind: flags.bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        admin_port: flags.admin_port.or(config.admin_port).unwrap_or(ADMIN_PORT),
        status_port: flags.status_port.or(config.status_port).unwrap_or(STATUS_PORT),
        health_port: flags.health_port.or(env.port("ENVOY_STATUS_PORT")?).unwrap_or(HEALTH_PORT),
        prometheus_port: flags.prometheus_port.or(env.port("ENVOY_PROMETHEUS_PORT")?).unwrap_or(PROMETHEUS_PORT),
        scrape: scrape(&env, &mut notes)?,
        binary_path: config.binary_path,
    };
    if inputs.env.contains_key("ISTIO_KUBE_APP_PROBERS") {
        notes.push("ISTIO_KUBE_APP_PROBERS: rewritten application probes are not yet served".to_owned());
    }
    Ok((settings, notes))
}

/// `ISTIO_PROMETHEUS_ANNOTATIONS`: `{"scrape":"true","path":"/metrics","port":"8080"}`.
fn scrape(env: &Env<'_>, notes: &mut Vec<String>) -> Result<Option<Scrape>, SettingsError> {
    const NAME: &str = "ISTIO_PROMETHEUS_ANNOTATIONS";
    let Some(text) = env.text(NAME) else { return Ok(None) };
    let wrong = || SettingsError::Environment {
        name: NAME.to_owned(),
        found: text.to_owned(),
        expected: "a JSON object with scrape, path and port as strings",
    };
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|_| wrong())?;
    let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    if field("scrape") != "true" {
        return Ok(None);
    }
    let port = if field("port").is_empty() { 80 } else { field("port").parse().map_err(|_| wrong())? };
    if OWN_PORTS.contains(&port) {
        notes.push(format!("{NAME}: port {port} is the mesh's own; the application's metrics are not merged"));
        return Ok(None);
    }
    let path = if field("path").is_empty() { "/metrics" } else { field("path") };
    Ok(Some(Scrape { port, path: path.to_owned() }))
}

/// The environment; `proxyMetadata` of the proxy config adds to it.
struct Env<'a> {
    process: &'a BTreeMap<String, String>,
    config: &'a BTreeMap<String, String>,
}

impl<'a> Env<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.process.get(name).or_else(|| self.config.get(name));
        value.map(String::as_str).filter(|text| !text.is_empty())
    }

    fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.config.iter().chain(self.process).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn parsed<T>(
        &self,
        name: &str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, SettingsError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = || SettingsError::Environment { name: name.to_owned(), found: text.to_owned(), expected };
        parse(text).map(Some).ok_or_else(wrong)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, SettingsError> {
        self.parsed(name, "true or false", |text| match text {
            "true" | "1" | "TRUE" | "True" | "t" => Some(true),
            "false" | "0" | "FALSE" | "False" | "f" => Some(false),
            _ => None,
        })
    }

    fn port(&self, name: &str) -> Result<Option<u16>, SettingsError> {
        self.parsed(name, "a port from 1 to 65535", |text| text.parse().ok().filter(|port| *port > 0))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, SettingsError> {
        self.parsed(name, "whole seconds", |text| text.parse().ok().map(Duration::from_secs))
    }

    fn duration(&self, name: &str) -> Result<Option<Duration>, SettingsError> {
        self.parsed(name, "a duration such as 5s or 1m30s", proxy_config::duration)
    }
}
