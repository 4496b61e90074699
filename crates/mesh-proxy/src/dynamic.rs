//! Names that clients ask for, resolved when they do: a cache per worker and
//! name of cache, bounded in names and in lookups at once.
//!
//! A name is looked up once however many wait for it. While a name that was
//! known does not resolve, its last address goes on being used.
//!
//! **Invariant:** no address of this machine or its link comes out, unless the
//! proxy was started with leave for that.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{LocalBoxFuture, Shared};
use hickory_resolver::TokioResolver;
use mesh_engine::dynamic::{DnsCache, is_local};

use crate::xds::dns;

/// A name that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unresolved {
    /// Too many names, or too many lookups at once.
    #[error("DNS cache overflow")]
    Overflow,
    /// It did not resolve.
    #[error("DNS resolution failure")]
    Failed(Arc<str>),
    /// All its addresses are this machine's or its link's.
    #[error("DNS resolution failure")]
    Local,
}

impl Unresolved {
    /// `%RESPONSE_CODE_DETAILS%`
    pub(crate) fn details(&self) -> &'static str {
        match self {
            Self::Overflow => "dns_cache_overflow",
            Self::Failed(_) => "dns_resolution_failure",
            Self::Local => "dns_resolution_failure{local_address}",
        }
    }

    /// For `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Failed(why) => format!("dns_resolution_failure{{{why}}}"),
            other => other.details().to_owned(),
        }
    }
}

/// The caches of one worker.
pub(crate) struct Names {
    caches: RefCell<HashMap<Arc<str>, Rc<Cache>>>,
    local_allowed: bool,
}

/// One cache.
struct Cache {
    resolver: Option<Rc<TokioResolver>>,
    hosts: RefCell<HashMap<Box<str>, Known>>,
    pending: RefCell<HashMap<Box<str>, Lookup>>,
}

type Lookup = Shared<LocalBoxFuture<'static, Result<Found, Arc<str>>>>;

#[derive(Debug, Clone)]
struct Found {
    address: IpAddr,
    /// The record's own word.
    until: Instant,
}

/// A name that resolved.
struct Known {
    address: IpAddr,
    until: Instant,
    used: Instant,
}

impl Names {
    pub(crate) fn new(local_allowed: bool) -> Self {
        Self { caches: RefCell::default(), local_allowed }
    }

    /// The address of `host`, which may itself be one.
    pub(crate) async fn resolve(&self, config: &DnsCache, host: &str) -> Result<IpAddr, Unresolved> {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        let address = match host.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => self.cache(config).resolve(config, &host, self.local_allowed).await?,
        };
        match is_local(address) && !self.local_allowed {
            true => Err(Unresolved::Local),
            false => Ok(address),
        }
    }

    fn cache(&self, config: &DnsCache) -> Rc<Cache> {
        let mut caches = self.caches.borrow_mut();
        let make = || {
            let resolver = dns::resolver(config.family).map(Rc::new);
            Rc::new(Cache { resolver, hosts: RefCell::default(), pending: RefCell::default() })
        };
        caches.entry(config.name.clone()).or_insert_with(make).clone()
    }
}

impl Cache {
    async fn resolve(&self, config: &DnsCache, host: &str, local_allowed: bool) -> Result<IpAddr, Unresolved> {
        let now = Instant::now();
        let last = {
            let mut hosts = self.hosts.borrow_mut();
            let known = hosts.get_mut(host);
            if let Some(known) = known {
                known.used = now;
                if now < known.until {
                    return Ok(known.address);
                }
                Some(known.address)
            } else {
                None
            }
        };
        let lookup = self.lookup(config, host, last.is_some(), local_allowed)?;
        let result = lookup.await;
        self.pending.borrow_mut().remove(host);
        let now = Instant::now();
        let (address, until) = match (result, last) {
            (Ok(found), _) => {
                let wait = found.until.saturating_duration_since(now).clamp(config.refresh_min, config.refresh);
                (found.address, now + wait)
            }
            (Err(_), Some(address)) => (address, now + config.refresh_min),
            (Err(why), None) => return Err(Unresolved::Failed(why)),
        };
        self.hosts.borrow_mut().insert(host.into(), Known { address, until, used: now });
        Ok(address)
    }

    fn lookup(&self, config: &DnsCache, host: &str, is_known: bool, local_allowed: bool) -> Result<Lookup, Unresolved> {
        let mut pending = self.pending.borrow_mut();
        if let Some(lookup) = pending.get(host) {
            return Ok(lookup.clone());
        }
        let mut hosts = self.hosts.borrow_mut();
        if hosts.len() + pending.len() >= config.hosts_max && !is_known {
            hosts.retain(|_, known| known.used.elapsed() < config.host_ttl);
        }
        let full = hosts.len() + pending.len() >= config.hosts_max && !is_known;
        if full || pending.len() >= config.pending_max {
            return Err(Unresolved::Overflow);
        }
        let lookup = look_up(self.resolver.clone(), host.to_owned(), config.query_timeout, local_allowed);
        let lookup = lookup.boxed_local().shared();
        pending.insert(host.into(), lookup.clone());
        Ok(lookup)
    }
}

async fn look_up(
    resolver: Option<Rc<TokioResolver>>,
    host: String,
    timeout: Duration,
    local_allowed: bool,
) -> Result<Found, Arc<str>> {
    let looking = dns::lookup(resolver.as_deref(), &host);
    let (addresses, until) = match tokio::time::timeout(timeout, looking).await {
        Ok(found) => found.map_err(Arc::from)?,
        Err(_) => return Err("timed out".into()),
    };
    // One that may be used, if there is any; what is left over is refused by the caller.
    let usable = addresses.iter().find(|a| local_allowed || !is_local(**a)).or(addresses.first());
    match usable {
        Some(address) => Ok(Found { address: *address, until }),
        None => Err("no addresses".into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use mesh_engine::cluster::DnsFamily;

    use super::*;

    fn config(hosts_max: usize) -> DnsCache {
        DnsCache {
            name: "c".into(),
            family: DnsFamily::V4Only,
            refresh: Duration::from_secs(60),
            refresh_min: Duration::from_secs(5),
            host_ttl: Duration::from_secs(300),
            hosts_max,
            pending_max: 8,
            query_timeout: Duration::from_secs(2),
        }
    }

    fn resolve(names: &Names, config: &DnsCache, host: &str) -> Result<IpAddr, Unresolved> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(names.resolve(config, host))
    }

    #[test]
    fn addresses_of_this_machine_and_its_link_are_refused_unless_allowed() {
        let names = Names::new(false);
        for host in ["127.0.0.1", "[::1]", "169.254.169.254", "localhost", "LOCALHOST."] {
            assert_eq!(resolve(&names, &config(9), host), Err(Unresolved::Local), "{host}");
        }
        assert_eq!(resolve(&names, &config(9), "192.0.2.1"), Ok(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(resolve(&Names::new(true), &config(9), "localhost"), Ok(IpAddr::from([127, 0, 0, 1])));
    }

    #[test]
    fn a_full_cache_takes_no_new_names() {
        assert_eq!(resolve(&Names::new(true), &config(0), "localhost"), Err(Unresolved::Overflow));
    }
}
