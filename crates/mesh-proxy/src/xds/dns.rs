//! Resolves the names of DNS clusters, again and again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use mesh_engine::cluster::{Discovery, Dns, DnsFamily};
use mesh_engine::{ClusterConfig, LoadAssignment};
use rand::Rng;
use tokio::sync::mpsc::Sender;
use tokio::task::AbortHandle;

/// What a name lookup led to: the cluster and its endpoints, or a failure.
pub(crate) type Resolved = (String, Option<LoadAssignment>);

/// The running resolutions, by cluster.
pub(crate) struct Resolution {
    found: Sender<Resolved>,
    tasks: HashMap<String, AbortHandle>,
}

impl Resolution {
    pub(crate) fn new(found: Sender<Resolved>) -> Self {
        Self { found, tasks: HashMap::new() }
    }

    /// Begins with `config`, or ends with the cluster.
    pub(crate) fn change(&mut self, cluster: String, config: Option<ClusterConfig>) {
        if let Some(old) = self.tasks.remove(&cluster) {
            old.abort();
        }
        if let Some(config) = config {
            let task = tokio::task::spawn_local(resolve(config, self.found.clone()));
            self.tasks.insert(cluster, task.abort_handle());
        }
    }
}

async fn resolve(config: ClusterConfig, found: Sender<Resolved>) {
    let (dns, first_only) = match &config.discovery {
        Discovery::StrictDns(dns) => (dns.clone(), false),
        Discovery::LogicalDns(dns) => (dns.clone(), true),
        _ => return,
    };
    let resolver = resolver(dns.family);
    let mut last: HashMap<String, Vec<IpAddr>> = HashMap::new();
    let mut failures = 0u32;
    loop {
        let mut good = true;
        let mut expires: Option<Instant> = None;
        for name in config.load_assignment.names() {
            match lookup(resolver.as_ref(), &name).await {
                Ok((mut addresses, until)) => {
                    if first_only {
                        addresses.truncate(1);
                    }
                    expires = Some(expires.map_or(until, |e| e.min(until)));
                    last.insert(name.to_string(), addresses);
                }
                // What was known of the name stays.
                Err(error) => {
                    tracing::warn!(cluster = %config.name, %name, %error, "A cluster's host name did not resolve.");
                    good = false;
                }
            }
        }
        let known = !last.is_empty() || good;
        let assignment = config.load_assignment.resolve(|name| last.get(name).cloned().unwrap_or_default());
        if found.send((config.name.to_string(), known.then_some(assignment))).await.is_err() {
            return;
        }
        failures = if good { 0 } else { failures + 1 };
        tokio::time::sleep(pause(&dns, failures, expires)).await;
    }
}

fn pause(dns: &Dns, failures: u32, expires: Option<Instant>) -> Duration {
    if failures > 0
        && let Some((base, longest)) = dns.failure_refresh
    {
        return base.saturating_mul(1 << (failures - 1).min(16)).min(longest).max(PAUSE_MIN);
    }
    let mut pause = dns.refresh;
    if dns.respect_ttl
        && let Some(until) = expires
    {
        pause = until.saturating_duration_since(Instant::now());
    }
    let jitter = dns.jitter.min(pause);
    pause.saturating_sub(jitter.mul_f64(rand::rng().random::<f64>())).max(PAUSE_MIN)
}

/// The system's resolver; `None` if it cannot be had.
pub(crate) fn resolver(family: DnsFamily) -> Option<TokioResolver> {
    let mut builder = match TokioResolver::builder_tokio() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::warn!(%error, "The system's DNS configuration cannot be read; host names do not resolve.");
            return None;
        }
    };
    builder.options_mut().ip_strategy = match family {
        DnsFamily::Auto => LookupIpStrategy::Ipv6thenIpv4,
        DnsFamily::V4Only => LookupIpStrategy::Ipv4Only,
        DnsFamily::V6Only => LookupIpStrategy::Ipv6Only,
        DnsFamily::V4Preferred => LookupIpStrategy::Ipv4thenIpv6,
        DnsFamily::All => LookupIpStrategy::Ipv4AndIpv6,
    };
    builder.build().ok()
}

/// The addresses of a name, and until when that holds.
pub(crate) async fn lookup(resolver: Option<&TokioResolver>, name: &str) -> Result<(Vec<IpAddr>, Instant), String> {
    if let Ok(address) = name.parse() {
        return Ok((vec![address], Instant::now() + Duration::from_secs(3600)));
    }
    let resolver = resolver.ok_or("no resolver")?;
    let found = tokio::time::timeout(LOOKUP_MAX, resolver.lookup_ip(name)).await.map_err(|_| "timed out")?;
    let found = found.map_err(|e| e.to_string())?;
    let mut addresses: Vec<IpAddr> = found.iter().collect();
    // A server rotates its answers; an unchanged set must look unchanged.
    addresses.sort_unstable();
    addresses.dedup();
    Ok((addresses, found.valid_until()))
}

/// A server that does not answer must not hold up the other names for ever.
const LOOKUP_MAX: Duration = Duration::from_secs(10);
/// Envoy's least refresh rate is 1 ms; that would only load the server.
const PAUSE_MIN: Duration = Duration::from_millis(100);
