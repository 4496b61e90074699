//! Where a Gateway is reached: the Services that it asks for, or the workloads
//! that carry its name.
//!
//! Source: `extractGatewayServices` and `ResolveGatewayInstances`, istio
//! `pilot/pkg/config/kube/gateway/conversion.go` and
//! `pilot/pkg/config/kube/gatewaycommon/context.go`.

use std::collections::BTreeSet;

use super::conditions::{Fault, fails, holds};
use super::{Objects, Outcome, classes};
use crate::rules::gateway::{Server, Workloads};
use crate::rules::gateway_api::Gateway;
use crate::rules::gateway_api::gateway::GatewayAddress;
use crate::status::Condition;
use crate::{Hostname, Labels, Service, ServiceKey};

/// The label that says which Gateway a proxy serves.
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";
/// Annotation with the name of what was deployed for a Gateway.
const NAME_OVERRIDE: &str = "gateway.istio.io/name-override";

/// What a Gateway asks for.
pub(super) struct Wanted {
    /// Hosts of Services; empty if none can be used.
    pub(super) hosts: Vec<Hostname>,
    /// What is wrong with its addresses.
    pub(super) fault: Option<Fault>,
    /// Which proxies serve it.
    pub(super) workloads: Workloads,
}

/// Where it is reached, and where not.
#[derive(Default)]
pub(super) struct Resolved {
    /// `host:port` that something listens on.
    internal: BTreeSet<String>,
    /// Addresses that are shown.
    pub(super) addresses: Vec<GatewayAddress>,
    warnings: BTreeSet<String>,
    unusable: bool,
}

impl Objects<'_> {
    /// Whether proxies for the Gateway are not named by the user: those that
    /// carry its name serve it.
    fn is_managed(gateway: &Gateway) -> bool {
        match &gateway.addresses[..] {
            [] => true,
            [one] => one.kind.as_deref().is_none_or(|kind| kind == "IPAddress"),
            _ => false,
        }
    }

    pub(super) fn wanted(&self, gateway: &Gateway) -> Wanted {
        let (name, namespace) = (gateway.meta.name(), gateway.meta.namespace());
        if Self::is_managed(gateway) {
            let service = classes::default_name(name, &gateway.class, gateway.meta.annotations.get(NAME_OVERRIDE));
            return Wanted {
                hosts: vec![self.service_host(namespace, &service)],
                fault: None,
                workloads: Workloads::Labelled {
                    labels: Labels::from_iter([(GATEWAY_NAME, &**name)]),
                    namespace: Some(namespace.clone()),
                },
            };
        }
        let is_host = |a: &&GatewayAddress| a.kind.as_deref().is_none_or(|kind| kind == "Hostname");
        let host = |a: &GatewayAddress| match a.value.contains('.') {
            true => Hostname::new(&a.value),
            false => self.service_host(namespace, &a.value),
        };
        let hosts: Vec<Hostname> = gateway.addresses.iter().filter(is_host).map(host).collect();
        let skipped: Vec<&str> = gateway.addresses.iter().filter(|a| !is_host(a)).map(|a| &*a.value).collect();
        let fault = (!skipped.is_empty()).then(|| {
            let message = format!("found {}, expected addresses of type Hostname", skipped.join(", "));
            Fault::new("UnsupportedAddress", message)
        });
        let keys = hosts.iter().map(|hostname| ServiceKey { hostname: hostname.clone(), namespace: namespace.clone() });
        Wanted { workloads: Workloads::Services(keys.collect()), hosts, fault }
    }

    /// Looks where the Gateway's `servers` are reached. `outcome` gets what
    /// was looked at.
    pub(super) fn resolve(
        &self,
        gateway: &Gateway,
        wanted: &Wanted,
        servers: &[&Server],
        outcome: &mut Outcome,
    ) -> Resolved {
        let mut resolved = Resolved::default();
        let ports: BTreeSet<u16> = servers.iter().map(|server| server.port).collect();
        for host in &wanted.hosts {
            let key = ServiceKey { hostname: host.clone(), namespace: gateway.meta.namespace().clone() };
            outcome.watched.insert(key.clone());
            let Some(service) = self.inputs.services.get(&key) else {
                outcome.watches_workloads |= matches!(wanted.workloads, Workloads::Labelled { .. });
                if !self.resolve_workloads(wanted, &mut resolved) {
                    resolved.unusable = true;
                    resolved.warnings.insert(format!("hostname {host} not found in namespace {}", key.namespace));
                }
                continue;
            };
            for port in &ports {
                self.resolve_port(service, *port, &mut resolved);
            }
        }
        resolved.show();
        resolved
    }

    /// Proxies that carry the Gateway's name serve it without a Service, too.
    fn resolve_workloads(&self, wanted: &Wanted, resolved: &mut Resolved) -> bool {
        let Workloads::Labelled { labels, namespace: Some(namespace) } = &wanted.workloads else { return false };
        let of_gateway = self.inputs.workloads.iter();
        let mut found = of_gateway.filter(|w| w.meta.namespace() == namespace && labels.selects(&w.meta.labels));
        let found: BTreeSet<String> = found.by_ref().flat_map(|w| w.addresses.first()).map(|a| a.to_string()).collect();
        let address = |value: &String| GatewayAddress { kind: Some("IPAddress".into()), value: value.as_str().into() };
        resolved.addresses.extend(found.iter().map(address));
        !found.is_empty()
    }

    fn resolve_port(&self, service: &Service, port: u16, resolved: &mut Resolved) {
        let host = &service.hostname;
        let endpoints = self.inputs.endpoints.get(&service.key()).map(|set| &set.endpoints[..]).unwrap_or_default();
        let declared = service.port(port);
        if declared.is_some_and(|p| endpoints.iter().any(|e| e.port_name == p.name)) {
            resolved.internal.insert(format!("{host}:{port}"));
            return;
        }
        if endpoints.is_empty() {
            resolved.warnings.insert(format!("no instances found for hostname {host}"));
            return;
        }
        resolved.unusable = true;
        let names = endpoints.iter().filter(|e| e.port == port).map(|e| &e.port_name);
        let hints: BTreeSet<u16> =
            names.filter_map(|name| service.ports.iter().find(|p| p.name == *name)).map(|p| p.number).collect();
        let hints: Vec<String> = hints.iter().map(u16::to_string).collect();
        resolved.warnings.insert(match hints.is_empty() {
            true => format!("port {port} not found for hostname {host}"),
            false => format!(
                "port {port} not found for hostname {host}, expected a port of the Service such as {}, not the workload's",
                hints.join(", ")
            ),
        });
    }
}

impl Resolved {
    /// The Services' names are where it is reached.
    fn show(&mut self) {
        let hosts: BTreeSet<&str> = self.internal.iter().filter_map(|i| i.rsplit_once(':')).map(|(h, _)| h).collect();
        let address = |host: &str| GatewayAddress { kind: Some("Hostname".into()), value: host.into() };
        self.addresses.extend(hosts.into_iter().map(address));
    }

    /// The condition Programmed of a Gateway or ListenerSet.
    pub(super) fn programmed(&self, wanted: &Wanted) -> Condition {
        let internal: Vec<&str> = self.internal.iter().map(String::as_str).collect();
        if wanted.hosts.is_empty() {
            return fails("Programmed", &Fault::new("UnsupportedAddress", "none of the addresses can be used"));
        }
        if self.warnings.is_empty() {
            let message = match internal.is_empty() {
                true => "Resource programmed".to_owned(),
                false => format!("Resource programmed, assigned to {}", internal.join(", ")),
            };
            return holds("Programmed", "Programmed", message);
        }
        let reason = if self.unusable { "AddressNotUsable" } else { "AddressNotAssigned" };
        let warnings: Vec<&str> = self.warnings.iter().map(String::as_str).collect();
        let message = match internal.is_empty() {
            true => format!("not assigned to any address: {}", warnings.join("; ")),
            false => format!("assigned to {}, but not to all: {}", internal.join(", "), warnings.join("; ")),
        };
        fails("Programmed", &Fault::new(reason, message))
    }
}
