//! Which VirtualService speaks for which host.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::rules::VirtualService;
use mesh_model::rules::virtual_service::Semantics;
use mesh_model::{Code, Diagnostic, Hostname, Resolution, Severity};

use super::domains::Known;
use super::http_ports;
use crate::scope;
use crate::scope::VisibleService;

/// VirtualServices by host, for one scope.
#[derive(Debug, Default)]
pub(crate) struct Assigned<'a> {
    /// For services: the rule with the most specific host, the oldest of
    /// several.
    pub(super) by_service: BTreeMap<Hostname, &'a VirtualService>,
    /// Hosts that are no service's, in the order in which they are looked at.
    pub(super) extra: Vec<Extra<'a>>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) names: Known<'a>,
}

/// A host that only a VirtualService names.
#[derive(Debug)]
pub(super) struct Extra<'a> {
    pub(super) host: Hostname,
    pub(super) rule: &'a VirtualService,
    /// Where its virtual host stands: on the HTTP ports of the services that
    /// the same rule speaks for, else on 80.
    pub(super) ports: BTreeSet<u16>,
}

/// Decides for every visible service and every host of a VirtualService.
///
/// Source: `separateVSHostsAndServices` and its callers, istio
/// `pilot/pkg/networking/core/route/route.go`.
pub(crate) fn assign(scope: &scope::Outbound) -> Assigned<'_> {
    let mut assigned = Assigned { names: Known::new(scope), ..Assigned::default() };
    let mut owners: BTreeMap<&Hostname, &VirtualService> = BTreeMap::new();
    let mut wildcards: Vec<(&Hostname, &VirtualService)> = Vec::new();
    for rule in in_order(scope) {
        for host in rule.hosts.iter().filter(|host| speaks_for(scope, rule, host)) {
            match owners.get(host) {
                Some(owner) if !std::ptr::eq(*owner, rule) => assigned.diagnostics.push(lost(rule, host, owner)),
                Some(_) => {}
                None => {
                    owners.insert(host, rule);
                    if host.is_wildcard() && rule.semantics != Semantics::GatewayApi {
                        wildcards.push((host, rule));
                    }
                }
            }
        }
    }
    wildcards.sort_by(|a, b| a.0.specificity().cmp(&b.0.specificity()));
    let mut ports: BTreeMap<*const VirtualService, BTreeSet<u16>> = BTreeMap::new();
    let mut used: BTreeSet<&Hostname> = BTreeSet::new();
    for visible in scope.visible.services.iter().filter(|s| !is_alias(s)) {
        let name = &visible.service.hostname;
        let exact = owners.get_key_value(name).map(|(host, rule)| (*host, *rule));
        let found = exact.or_else(|| wildcards.iter().find(|(host, _)| host.covers(name)).copied());
        if let Some((host, rule)) = found {
            used.insert(host);
            ports.entry(std::ptr::from_ref(rule)).or_default().extend(http_ports(visible));
            assigned.by_service.insert(name.clone(), rule);
        }
    }
    let mut extra: Vec<(&Hostname, &VirtualService)> = owners.into_iter().filter(|(h, _)| !used.contains(h)).collect();
    extra.sort_by(|a, b| a.0.specificity().cmp(&b.0.specificity()));
    assigned.extra = extra
        .into_iter()
        .map(|(host, rule)| {
            let ports = ports.get(&std::ptr::from_ref(rule)).filter(|p| !p.is_empty());
            Extra { host: host.clone(), rule, ports: ports.cloned().unwrap_or_else(|| BTreeSet::from([80])) }
        })
        .collect();
    assigned
}

/// Rules with HTTP routes, oldest first; before them, those of the Gateway API
/// that the client's own namespace has for what it calls.
fn in_order(scope: &scope::Outbound) -> impl Iterator<Item = &VirtualService> {
    let own = |rule: &&VirtualService| is_gateway_api(rule) && *rule.meta.namespace() == scope.namespace;
    let rules = || scope.visible.virtual_services.iter().map(|v| &**v).filter(|v| !v.http.is_empty());
    rules().filter(own).chain(rules().filter(move |rule| !own(rule)))
}

fn is_gateway_api(rule: &VirtualService) -> bool {
    rule.semantics == Semantics::GatewayApi
}

/// A route of the Gateway API holds for clients of its own namespace, and for all
/// if it lies in the service's.
fn speaks_for(scope: &scope::Outbound, rule: &VirtualService, host: &Hostname) -> bool {
    let namespace = rule.meta.namespace();
    let of_service = || scope.visible.resolve(host).is_some_and(|v| v.service.meta.namespace() == namespace);
    !is_gateway_api(rule) || *namespace == scope.namespace || of_service()
}

fn is_alias(visible: &VisibleService) -> bool {
    matches!(visible.service.resolution, Resolution::Alias(_))
}

fn lost(rule: &VirtualService, host: &Hostname, owner: &VirtualService) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Conflict,
        object: Some(rule.meta.object.clone()),
        location: rule.meta.location.clone(),
        field: "spec.hosts".to_owned(),
        message: format!("host {host} is already routed by {}, which is older", owner.meta.object),
        consequence: format!("{} stays in force for it, the routes here are not used for this host", owner.meta.object),
    }
}
