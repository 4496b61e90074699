//! GatewayClass, Gateway and ListenerSet.

use std::sync::Arc;

use super::{GroupKind, LabelSelector, Reference};
use crate::{Hostname, Labels, Meta, Name};

/// A kind of gateway, and who serves it.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayClass {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// `spec.controllerName`
    pub controller: Name,
}

/// A place where traffic comes in.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// `spec.gatewayClassName`
    pub class: Name,
    /// Addresses that are asked for.
    pub addresses: Vec<GatewayAddress>,
    /// Its listeners; names are unique.
    pub listeners: Vec<Listener>,
    /// Which namespaces may add listeners by a ListenerSet.
    pub allowed_listeners: Namespaces,
    /// How clients' certificates are checked: for all ports.
    pub frontend: FrontendTls,
    /// The same for single ports, instead.
    pub frontend_ports: Vec<(u16, FrontendTls)>,
    /// The certificate that it shows to backends.
    pub client_certificate: Option<Reference>,
    /// `spec.infrastructure.parametersRef`
    pub parameters: Option<Reference>,
}

/// An address that a Gateway asks for, or was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAddress {
    /// `IPAddress`, `Hostname` or a word of some implementation; `None`: not
    /// said, which means IPAddress.
    pub kind: Option<Name>,
    /// The address; may be empty.
    pub value: Name,
}

/// A port, and what is served there.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its name, which routes may refer to.
    pub name: Name,
    /// The host that it serves, exact or with a wildcard; `None`: all.
    pub hostname: Option<Hostname>,
    /// Its port. A ListenerSet's may be 0: HTTP and HTTPS then have their own.
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TLS`, `TCP`, `UDP`, or a word of some implementation.
    pub protocol: Name,
    /// How TLS is ended, or passed on.
    pub tls: Option<ListenerTls>,
    /// Where routes may come from.
    pub namespaces: Namespaces,
    /// Which kinds they may be of; empty: those of the protocol.
    pub kinds: Vec<GroupKind>,
}

/// TLS of a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerTls {
    /// Whether TLS goes through; `None`: not said, which means it ends here.
    pub passthrough: Option<bool>,
    /// Certificates to show.
    pub certificates: Vec<Reference>,
    /// Options of implementations.
    pub options: Labels,
}

/// Which namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// That of the object itself.
    Same,
    /// All.
    All,
    /// None.
    None,
    /// Those with these labels.
    Selector(LabelSelector),
}

/// How clients' certificates are checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FrontendTls {
    /// Certificates of the authorities that may have signed them; empty: clients
    /// need none.
    pub authorities: Vec<Reference>,
    /// `AllowInsecureFallback`: a client without a good certificate is served.
    pub insecure_fallback: bool,
}

/// Listeners that another team adds to a Gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerSet {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// The Gateway.
    pub parent: Reference,
    /// Its listeners; names are unique.
    pub listeners: Vec<Listener>,
}
