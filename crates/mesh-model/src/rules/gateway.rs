//! Gateway: which ports the proxies at the mesh's edge open, for which hosts,
//! and with which TLS settings.
//!
//! Source: <https://istio.io/latest/docs/reference/config/networking/gateway/>

use std::net::IpAddr;
use std::sync::Arc;

use super::server_tls::{ServerTls, TlsMode};
use crate::{Hostname, Labels, Meta, Name, Protocol, ServiceKey};

/// What the proxies that it selects listen for.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// Whose proxies listen.
    pub workloads: Workloads,
    /// What is opened; never empty.
    pub servers: Vec<Server>,
}

/// The workloads that a Gateway is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Workloads {
    /// Those with these labels; without labels, every gateway's.
    Labelled {
        /// What they must carry.
        labels: Labels,
        /// Where they must be; `None`: anywhere. Istio's own kind cannot say it;
        /// what is converted from another kind can.
        namespace: Option<Name>,
    },
    /// Those behind these services alone; the Gateway's ports are then the
    /// services' ports and nothing else. Istio's own kind cannot say it; what is
    /// converted from another kind can.
    Services(Vec<ServiceKey>),
}

/// One port, with the hosts that are served there.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Its name, for statistics; may be empty.
    pub name: Name,
    /// Number of the port as clients of the gateway's service know it; 0 with
    /// a Unix socket.
    pub port: u16,
    /// Name of the port; unique within the Gateway.
    pub port_name: Name,
    /// What is spoken there; never [`Protocol::Auto`].
    pub protocol: Protocol,
    /// Where it is bound; `None`: at every address.
    pub bind: Option<Bind>,
    /// Hosts that are served; never empty.
    pub hosts: Vec<ServerHost>,
    /// TLS settings; always there for HTTPS and TLS, with plaintext HTTP only
    /// for the redirect.
    pub tls: Option<ServerTls>,
}

/// Where a server is bound.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bind {
    /// One address.
    Ip(IpAddr),
    /// A Unix socket; abstract if it begins with `@`.
    Unix(Name),
}

/// `namespace/host`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerHost {
    /// Only rules of this namespace may serve it; `None`: of any. `.` has been
    /// replaced by the Gateway's own namespace.
    pub namespace: Option<Name>,
    /// What it is called; may begin with `*`.
    pub host: Hostname,
}

impl Gateway {
    /// `namespace/name`, as VirtualServices name it.
    pub fn full_name(&self) -> Name {
        format!("{}/{}", self.meta.namespace(), self.meta.name()).into()
    }
}

impl Server {
    /// Whether connections are passed on with their TLS untouched.
    pub fn passes_through(&self) -> bool {
        self.tls.as_ref().is_some_and(|t| matches!(t.mode, TlsMode::Passthrough | TlsMode::AutoPassthrough))
    }

    /// Whether what arrives is plaintext. A plaintext HTTP server may have TLS
    /// settings all the same, for the redirect.
    pub fn is_plaintext(&self) -> bool {
        self.tls.is_none() || self.protocol.is_http()
    }

    /// Whether requests are routed one by one.
    pub fn speaks_http(&self) -> bool {
        self.protocol.is_http() || (self.protocol == Protocol::Https && !self.passes_through())
    }

    /// Whether plaintext requests are sent to HTTPS.
    pub fn redirects(&self) -> bool {
        self.tls.as_ref().is_some_and(|t| t.https_redirect)
    }
}
