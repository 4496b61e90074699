//! Services: names under which endpoints are reached.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;

use crate::{Hostname, Labels, Meta, Name, Protocol, Visibility};

/// Which platform reported a service. Nothing after the adapter depends on it;
/// debug pages show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the variants are platforms' names")]
pub enum Registry {
    CloudFoundry,
    Consul,
    Kubernetes,
    Mesos,
    /// A ServiceEntry.
    External,
}

impl Registry {
    /// The name as Istio's debug pages print it.
    pub fn as_str(self) -> &'static str {
        match self {
            Registry::CloudFoundry => "CloudFoundry",
            Registry::Consul => "Consul",
            Registry::Kubernetes => "Kubernetes",
            Registry::Mesos => "Mesos",
            Registry::External => "External",
        }
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Tells services apart: two namespaces may declare the same host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    /// The host name.
    pub hostname: Hostname,
    /// The namespace that declares it.
    pub namespace: Name,
}

/// How a proxy finds the endpoints of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// The mesh knows the endpoints and the proxy chooses (EDS).
    ClientSideLb,
    /// The client has chosen; its destination address is kept (headless
    /// Services, ServiceEntry NONE).
    Passthrough,
    /// The proxy asks DNS and uses every address (STRICT_DNS).
    DnsLb,
    /// The proxy asks DNS and uses the first address (LOGICAL_DNS).
    DnsRoundRobin,
    /// Another name for this host (Kubernetes ExternalName).
    Alias(Hostname),
}

impl Resolution {
    /// The name as Istio's debug pages print it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Resolution::ClientSideLb => "ClientSideLB",
            Resolution::Passthrough => "Passthrough",
            Resolution::DnsLb => "DNSLB",
            Resolution::DnsRoundRobin => "DNSRoundRobinLB",
            Resolution::Alias(_) => "Alias",
        }
    }
}

/// Where a service port leads on the workload.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// A number.
    Number(u16),
    /// A container port's name.
    Name(Name),
}

/// One port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// Its name; empty where a service has a single unnamed port.
    pub name: Name,
    /// The number under which clients reach it.
    pub number: u16,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it leads on the workload.
    pub target: TargetPort,
}

/// A service, as every platform's adapter describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The object that declares it; its name and namespace are the service's.
    pub meta: Arc<Meta>,
    /// Fully qualified name under which it is called.
    pub hostname: Hostname,
    /// Virtual addresses, sorted as declared; empty where there are none
    /// (headless services, entries without addresses).
    pub addresses: Vec<IpNet>,
    /// Its ports, as declared. At least one for services that carry traffic.
    pub ports: Vec<Port>,
    /// How endpoints are found.
    pub resolution: Resolution,
    /// Who reported it.
    pub registry: Registry,
    /// Whether it lies outside the mesh (ExternalName, MESH_EXTERNAL).
    pub mesh_external: bool,
    /// Which namespaces see it.
    pub export_to: Visibility,
    /// Labels that select its workloads; empty if endpoints are given apart.
    pub selector: Labels,
}

impl Service {
    /// Host name and namespace.
    pub fn key(&self) -> ServiceKey {
        ServiceKey { hostname: self.hostname.clone(), namespace: self.meta.namespace().clone() }
    }

    /// The port with this number.
    pub fn port(&self, number: u16) -> Option<&Port> {
        self.ports.iter().find(|p| p.number == number)
    }

    /// Whether clients address its endpoints directly.
    pub fn is_headless(&self) -> bool {
        self.resolution == Resolution::Passthrough && self.addresses.is_empty()
    }
}
