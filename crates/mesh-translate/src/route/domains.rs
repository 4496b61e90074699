//! The names under which a host is called.

use std::collections::{BTreeMap, HashSet};

use mesh_model::{Hostname, Registry, Resolution};

use crate::scope;
use crate::scope::VisibleService;
use crate::xds;

/// What is known of all names of a scope.
#[derive(Debug, Default)]
pub(crate) struct Known<'a> {
    /// Full names of services: nobody gets another's as a short form.
    reserved: HashSet<&'a str>,
    /// Other names for services.
    aliases: BTreeMap<&'a Hostname, Vec<&'a VisibleService>>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(scope: &'a scope::Outbound) -> Self {
        let mut aliases: BTreeMap<&Hostname, Vec<&VisibleService>> = BTreeMap::new();
        let services = &scope.visible.services;
        for alias in services.iter().filter(|s| matches!(s.service.resolution, Resolution::Alias(_))) {
            if let Some(meant) = scope.visible.resolve(&alias.service.hostname) {
                aliases.entry(&meant.service.hostname).or_default().push(alias);
            }
        }
        Self { reserved: services.iter().map(|s| s.service.hostname.as_str()).collect(), aliases }
    }
}

/// Gives out domains, each once: a route table in which two virtual hosts share
/// one is refused whole.
pub(crate) struct Domains<'a> {
    scope: &'a scope::Outbound,
    known: &'a Known<'a>,
    given: HashSet<String>,
}

impl<'a> Domains<'a> {
    pub(crate) fn new(scope: &'a scope::Outbound, known: &'a Known<'a>) -> Self {
        Self { scope, known, given: HashSet::new() }
    }

    /// A host that is no service's is called by its name alone.
    pub(super) fn of_host(&mut self, host: &Hostname) -> Vec<String> {
        self.give(host, vec![host.to_string()])
    }

    /// A service is called by its full name, with a dot after it, by the short
    /// forms that resolve to it where the caller lives, by its addresses, and
    /// by its aliases. The endpoints of a headless service have names of their
    /// own below it.
    pub(crate) fn of_service(&mut self, visible: &VisibleService) -> Vec<String> {
        let service = &visible.service;
        let mut names = self.forms(&service.hostname);
        if service.resolution == Resolution::Passthrough && service.registry == Registry::Kubernetes {
            let below: Vec<String> = names.iter().map(|n| format!("*.{n}")).collect();
            names.extend(below);
        }
        for net in &service.addresses {
            if net.prefix_len() == net.max_prefix_len() && self.scope.families.include(net.addr()) {
                names.push(xds::bracketed(net.addr()));
            }
        }
        let mut given = self.give(&service.hostname, names);
        for alias in self.known.aliases.get(&service.hostname).into_iter().flatten() {
            let forms = self.forms(&alias.service.hostname);
            given.extend(self.give(&alias.service.hostname, forms));
        }
        given
    }

    fn forms(&self, host: &Hostname) -> Vec<String> {
        let full = host.as_str();
        let mut names = vec![full.to_owned()];
        if !host.is_wildcard() {
            names.extend(short_forms(full, &self.scope.namespace, &self.scope.mesh.domain));
            if full.contains('.') {
                names.push(format!("{full}."));
            }
        }
        names
    }

    fn give(&mut self, host: &Hostname, names: Vec<String>) -> Vec<String> {
        let own = host.as_str();
        let free = |n: &String| n == own || !self.known.reserved.contains(n.as_str());
        names.into_iter().filter(free).filter(|n| self.given.insert(n.clone())).collect()
    }
}

/// `svc` (in the caller's namespace only), `svc.ns` and `svc.ns.svc` for
/// `svc.ns.svc.<domain>`.
fn short_forms(full: &str, namespace: &str, domain: &str) -> Vec<String> {
    let stem = full.strip_suffix(domain).and_then(|s| s.strip_suffix(".svc."));
    let Some((name, of)) = stem.and_then(|s| s.rsplit_once('.')) else { return Vec::new() };
    let own = (of == namespace).then(|| name.to_owned());
    own.into_iter().chain([format!("{name}.{of}"), format!("{name}.{of}.svc")]).collect()
}

/// Every domain also with the port: gRPC libraries compare the whole target.
pub(super) fn with_ports(domains: &[String], port: u16) -> Vec<String> {
    let plain = domains.iter().filter(|d| !d.contains('*'));
    plain.flat_map(|d| [d.clone(), format!("{d}:{port}")]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_those_that_resolve_to_the_service_where_the_caller_lives() {
        let check =
            |full, expected: &[&str]| assert_eq!(short_forms(full, "shop", "cluster.local"), expected, "{full}");
        check("a.shop.svc.cluster.local", &["a", "a.shop", "a.shop.svc"]);
        check("a.web.svc.cluster.local", &["a.web", "a.web.svc"]);
        check("example.com", &[]);
        check("svc.cluster.local", &[]);
    }
}
