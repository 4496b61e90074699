//! Ingress and IngressClass.

use std::sync::Arc;

use crate::{Hostname, Meta, Name};

/// A kind of Ingress, and who serves it.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressClass {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// `spec.controller`
    pub controller: Name,
}

/// HTTP hosts and paths, and the Services behind them.
#[derive(Debug, Clone, PartialEq)]
pub struct Ingress {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// `spec.ingressClassName`
    pub class: Option<Name>,
    /// Where requests go that no rule takes.
    pub default_backend: Option<IngressBackend>,
    /// Hosts with their certificates.
    pub tls: Vec<IngressTls>,
    /// Rules.
    pub rules: Vec<IngressRule>,
}

/// Hosts that share a certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressTls {
    /// Hosts; empty: all.
    pub hosts: Vec<Hostname>,
    /// The Secret; `None`: not said, and the entry is of no use.
    pub secret: Option<Name>,
}

/// The paths of one host.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressRule {
    /// The host; `None`: all.
    pub host: Option<Hostname>,
    /// Its paths.
    pub paths: Vec<IngressPath>,
}

/// One path and where it leads.
#[derive(Debug, Clone, PartialEq)]
pub struct IngressPath {
    /// The path; may be empty.
    pub path: Name,
    /// How it is compared.
    pub kind: PathKind,
    /// Where it leads.
    pub backend: IngressBackend,
}

/// How an Ingress compares paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// The whole path.
    Exact,
    /// Whole segments from the beginning.
    Prefix,
    /// As Istio did before there were kinds: exact, or a prefix if it ends in
    /// `*`.
    ImplementationSpecific,
}

/// A port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressBackend {
    /// The Service, in the Ingress' namespace.
    pub service: Name,
    /// Its port.
    pub port: IngressPort,
}

/// A port, by number or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressPort {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(Name),
}
