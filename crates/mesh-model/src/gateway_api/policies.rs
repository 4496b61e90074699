//! BackendTLSPolicies and XBackendTrafficPolicies as DestinationRules.
//!
//! Source: istio `pilot/pkg/config/kube/gateway/backend_policies.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::classes::{ISTIO_CONTROLLER, MESH_CONTROLLER};
use super::conditions::{Fault, unless};
use super::{Objects, Outcome, tls};
use crate::rules::destination_rule::{ClientTls, PortPolicy, RetryBudget, TlsMode, TrafficPolicy};
use crate::rules::gateway_api::policy::PolicyTarget;
use crate::rules::gateway_api::route::ParentRef;
use crate::rules::gateway_api::{BackendTlsPolicy, BackendTrafficPolicy, GROUP};
use crate::rules::{DestinationRule, Spec};
use crate::status::{Condition, ObjectStatus, ParentStatus};
use crate::{Hostname, Kind, Labels, Meta, Name, Port, Visibility};

/// Takes an object out of the mesh's hands.
const IGNORE: &str = "istio.io/ignore-policy-attachment";
/// The API allows so many ancestors in a status.
const ANCESTORS_MAX: usize = 16;

/// Converts all policies: one DestinationRule for each host that some are about.
pub(super) fn convert(objects: &Objects<'_>, outcome: &mut Outcome) {
    let mut rules = BTreeMap::new();
    let gateways = Gateways::new(objects);
    // The oldest goes first, whichever kind it is of.
    let tls = objects.tls_policies.iter().map(|p| (&p.meta, Policy::Tls(p)));
    let traffic = objects.traffic_policies.iter().map(|p| (&p.meta, Policy::Traffic(p)));
    let mut policies: Vec<(&Arc<Meta>, Policy<'_>)> = tls.chain(traffic).collect();
    policies.sort_by_cached_key(|(meta, _)| super::age(meta));
    for (meta, policy) in policies {
        let targets = match policy {
            Policy::Tls(p) => &p.targets,
            Policy::Traffic(p) => &p.targets,
        };
        let ignored = meta.annotations.get(IGNORE).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let parents = if ignored {
            let fault = Fault::new("IgnoredByIstio", format!("ignored because of the annotation {IGNORE}"));
            targets.iter().map(|t| ancestor(t, vec![unless(Some(&fault), "Accepted", "", "")])).collect()
        } else {
            match policy {
                Policy::Tls(policy) => of_tls(objects, policy, &gateways, &mut rules),
                Policy::Traffic(policy) => of_traffic(objects, policy, &mut rules),
            }
        };
        let status = ObjectStatus { parents, ..ObjectStatus::default() };
        outcome.statuses.insert(meta.object.clone(), Arc::new(status));
    }
    for rule in rules.into_values() {
        let meta = rule.meta.clone();
        outcome.rules.push(objects.derived(meta, Spec::DestinationRule(Arc::new(rule))));
    }
}

#[derive(Clone, Copy)]
enum Policy<'a> {
    Tls(&'a BackendTlsPolicy),
    Traffic(&'a BackendTrafficPolicy),
}

type Rules = BTreeMap<(Name, Hostname), DestinationRule>;

fn ancestor(target: &PolicyTarget, conditions: Vec<Condition>) -> ParentStatus {
    ParentStatus {
        parent: ParentRef {
            group: Some(target.reference.target.group.clone()),
            kind: Some(target.reference.target.kind.clone()),
            namespace: None,
            name: target.reference.name.clone(),
            section: target.section.clone(),
            port: None,
        },
        controller: MESH_CONTROLLER.into(),
        conditions,
    }
}

/// What a policy is about: hosts with their ports.
struct Target<'a> {
    hosts: Vec<Hostname>,
    ports: &'a [Port],
}

fn target<'a>(objects: &Objects<'a>, meta: &Meta, target: &PolicyTarget) -> Result<Target<'a>, Fault> {
    let (reference, namespace) = (&target.reference, meta.namespace());
    let not_found = |message| Err(Fault::new("TargetNotFound", message));
    let found = match (&*reference.target.group, &*reference.target.kind) {
        ("", "Service") => objects
            .service(namespace, &reference.name)
            .map(|service| Target { hosts: vec![service.hostname.clone()], ports: &service.ports }),
        ("networking.istio.io", "ServiceEntry") => objects
            .entries
            .get(&(&**namespace, &*reference.name))
            .map(|entry| Target { hosts: entry.hosts.clone(), ports: &entry.ports }),
        (_, kind) => return not_found(format!("targetRef {} is a {kind}, expected a Service", reference.name)),
    };
    let Some(found) = found else {
        return not_found(format!("{} {namespace}/{} not found", reference.target.kind, reference.name));
    };
    match &target.section {
        Some(section) if !found.ports.iter().any(|port| port.name == *section) => {
            not_found(format!("{} {namespace}/{} has no port called {section}", reference.target.kind, reference.name))
        }
        _ => Ok(found),
    }
}

/// The rule for a host, to be added to.
fn rule<'r>(rules: &'r mut Rules, meta: &Arc<Meta>, host: &Hostname) -> &'r mut DestinationRule {
    rules.entry((meta.namespace().clone(), host.clone())).or_insert_with(|| DestinationRule {
        meta: meta.clone(),
        host: host.clone(),
        export_to: Visibility::Public,
        workload_selector: Labels::default(),
        policy: TrafficPolicy::default(),
        subsets: Vec::new(),
    })
}

fn of_tls(
    objects: &Objects<'_>,
    policy: &BackendTlsPolicy,
    gateways: &Gateways,
    rules: &mut Rules,
) -> Vec<ParentStatus> {
    let (credential, well_known, authority) = credential(objects, policy);
    let tls = ClientTls {
        mode: TlsMode::Simple,
        client_certificate: None,
        private_key: None,
        ca_certificates: None,
        credential_name: credential,
        subject_alt_names: policy.subject_alt_names.clone(),
        sni: Some(policy.hostname.clone()),
        insecure_skip_verify: false,
        ca_crl: None,
    };
    let mut faulty: Option<Fault> =
        authority.as_ref().map(|fault| Fault::new("NoValidCACertificate", fault.message.clone())).or(well_known);
    let mut parents = Vec::new();
    let mut users: BTreeSet<(Name, Name)> = BTreeSet::new();
    let mut conditions = Vec::new();
    for one in &policy.targets {
        match target(objects, &policy.meta, one) {
            Err(fault) => faulty = Some(fault),
            Ok(found) => {
                users.extend(gateways.of(policy.meta.namespace(), one));
                match conflict(objects, policy, one) {
                    Some(fault) => faulty = Some(fault),
                    None => found.hosts.iter().for_each(|host| {
                        let ports = found.ports.iter().filter(|p| one.section.as_ref() == Some(&p.name));
                        let ports = one.section.as_ref().map(|_| ports.map(|p| p.number).collect());
                        apply_tls(rule(rules, &policy.meta, host), ports, &tls);
                    }),
                }
            }
        }
        conditions = vec![
            unless(faulty.as_ref(), "Accepted", "Accepted", VALID),
            unless(authority.as_ref(), "ResolvedRefs", "ResolvedRefs", VALID),
        ];
        parents.push(ancestor(one, conditions.clone()));
    }
    let of_gateway = |(_, name): (Name, Name)| ParentStatus {
        parent: ParentRef {
            group: Some(GROUP.into()),
            kind: Some("Gateway".into()),
            namespace: None,
            name,
            section: None,
            port: None,
        },
        controller: ISTIO_CONTROLLER.into(),
        conditions: conditions.clone(),
    };
    parents.extend(users.into_iter().map(of_gateway));
    parents.truncate(ANCESTORS_MAX);
    parents
}

const VALID: &str = "Configuration is valid";

/// The first policy for a port, or for the whole host, holds.
fn apply_tls(rule: &mut DestinationRule, ports: Option<Vec<u16>>, tls: &ClientTls) {
    match ports {
        None => {
            rule.policy.destination.tls.get_or_insert_with(|| tls.clone());
        }
        Some(ports) => {
            for number in ports {
                if !rule.policy.ports.iter().any(|(port, _)| *port == number) {
                    rule.policy.ports.push((number, PortPolicy { tls: Some(tls.clone()), ..PortPolicy::default() }));
                }
            }
            rule.policy.ports.sort_by_key(|(port, _)| *port);
        }
    }
}

/// Names a credential that is never there, so that nothing is sent to a server
/// that cannot be checked.
const INVALID_CREDENTIAL: &str = "invalid://";

/// The credential with the authorities, and what is wrong with the well-known
/// ones or with the reference. Without any, the operating system's count.
fn credential(objects: &Objects<'_>, policy: &BackendTlsPolicy) -> (Option<Name>, Option<Fault>, Option<Fault>) {
    if let Some(word) = &policy.well_known_authorities {
        let fault = || Fault::new("Invalid", format!("found wellKnownCACertificates {word}, expected System"));
        return (None, (&**word != "System").then(fault), None);
    }
    let Some(reference) = policy.authorities.first() else { return (None, None, None) };
    let namespace = policy.meta.namespace();
    let fault = if reference.target.is("", "ConfigMap") {
        let found = tls::authorities(objects, Kind::ConfigMap, namespace, &reference.name);
        found.err().map(|message| Fault::new("InvalidCACertificateRef", message))
    } else {
        let kind = &reference.target.kind;
        let message = format!("caCertificateRef {} is a {kind}, expected a ConfigMap", reference.name);
        Some(Fault::new("InvalidKind", message))
    };
    match fault {
        Some(fault) => (Some(INVALID_CREDENTIAL.into()), None, Some(fault)),
        None => (Some(format!("configmap://{namespace}/{}", reference.name).into()), None, None),
    }
}

/// Of several policies for the same target the oldest wins, then the one whose
/// name comes first.
fn conflict(objects: &Objects<'_>, policy: &BackendTlsPolicy, target: &PolicyTarget) -> Option<Fault> {
    let rank = |p: &BackendTlsPolicy| (p.meta.created, p.meta.name().clone());
    let is_ignored =
        |p: &&&BackendTlsPolicy| p.meta.annotations.get(IGNORE).is_some_and(|v| v.eq_ignore_ascii_case("true"));
    let others = objects.tls_policies.iter().filter(|p| p.meta.namespace() == policy.meta.namespace());
    let winner = others
        .filter(|p| !is_ignored(p) && p.targets.contains(target) && rank(p) < rank(policy))
        .min_by_key(|p| rank(p))?;
    let message = format!("{} is about the same target and goes first", winner.meta.object);
    Some(Fault::new("Conflicted", message))
}

fn of_traffic(objects: &Objects<'_>, policy: &BackendTrafficPolicy, rules: &mut Rules) -> Vec<ParentStatus> {
    let mut fault = None;
    let mut parents = Vec::new();
    let unsupported: Vec<&str> = policy.unsupported.iter().map(|field| &**field).collect();
    let message = match unsupported.is_empty() {
        true => VALID.to_owned(),
        false => format!("{VALID}, but these fields are not supported: {}", unsupported.join(", ")),
    };
    for one in &policy.targets {
        match target(objects, &policy.meta, one) {
            Ok(found) if one.reference.target.is("", "Service") => {
                for host in &found.hosts {
                    let budget: &mut Option<RetryBudget> = &mut rule(rules, &policy.meta, host).policy.retry_budget;
                    *budget = budget.or(policy.retry_budget);
                }
            }
            Ok(_) => fault = Some(Fault::new("TargetNotFound", "found a ServiceEntry, expected a Service")),
            Err(found) => fault = Some(found),
        }
        parents.push(ancestor(one, vec![unless(fault.as_ref(), "Accepted", "Accepted", &message)]));
    }
    parents.truncate(ANCESTORS_MAX);
    parents
}

/// Which Gateways lead to which backends, by way of routes.
struct Gateways {
    /// By namespace, kind and name of the backend: namespace and name of the
    /// Gateway.
    by_backend: BTreeMap<(Name, Name, Name), BTreeSet<(Name, Name)>>,
}

impl Gateways {
    fn new(objects: &Objects<'_>) -> Self {
        let mut by_backend: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for route in &objects.routes {
            let own = route.meta.namespace();
            let gateways = route.parents.iter().filter(|parent| parent.target().is(GROUP, "Gateway"));
            let gateways: BTreeSet<(Name, Name)> =
                gateways.map(|p| (p.namespace.clone().unwrap_or_else(|| own.clone()), p.name.clone())).collect();
            for backend in route.rules.iter().flat_map(|rule| &rule.backends) {
                let reference = &backend.reference;
                let namespace = reference.namespace.clone().unwrap_or_else(|| own.clone());
                let key = (namespace, reference.target.kind.clone(), reference.name.clone());
                by_backend.entry(key).or_default().extend(gateways.iter().cloned());
            }
        }
        Self { by_backend }
    }

    fn of(&self, namespace: &Name, target: &PolicyTarget) -> impl Iterator<Item = (Name, Name)> + '_ {
        let reference = &target.reference;
        let key = (namespace.clone(), reference.target.kind.clone(), reference.name.clone());
        self.by_backend.get(&key).into_iter().flatten().cloned()
    }
}
