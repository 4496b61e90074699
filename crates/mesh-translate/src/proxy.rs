//! A proxy as it describes itself in the `Node` of its first request.
//!
//! Source of names and meaning: istio `pilot/pkg/model/context.go` and
//! `pkg/model/proxy.go`.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use mesh_model::{Labels, Locality, Name, WorkloadKey};
use mesh_proto::envoy::config::core::v3::Node;
use mesh_proto::google::protobuf::value::Kind;
use mesh_proto::google::protobuf::{Struct, Value};

use crate::http_filters;

#[cfg(test)]
mod tests;

/// One connected proxy: who it is, where it runs, and which kind of answer it
/// understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The node id as sent: `sidecar~10.0.0.1~backend-0.default~default.svc.cluster.local`.
    pub node_id: Name,
    /// Namespace and name of its workload.
    pub workload: WorkloadKey,
    /// Its addresses, the primary one first; never empty.
    pub addresses: Vec<IpAddr>,
    /// DNS domain in which it resolves short names.
    pub domain: Name,
    /// Labels that it claims; those of its workload are preferred where the
    /// mesh knows it.
    pub labels: Labels,
    /// Where it stands.
    pub place: Place,
    /// Texts in its node's metadata, by which EnvoyFilters choose proxies.
    pub metadata: Arc<HashMap<Name, Name>>,
    /// What it understands.
    pub generator: Generator,
    /// How connections reach it.
    pub capture: Capture,
    /// `CLUSTER_ID`; may be empty.
    pub cluster_id: Name,
    /// `ISTIO_VERSION`; may be empty.
    pub version: Name,
    /// `SERVICE_ACCOUNT`; may be empty.
    pub service_account: Name,
    /// Whether it lists the HTTP and network filter `istio.stats` among its
    /// extensions, as unmodified Envoy does not.
    pub istio_stats: bool,
    /// Whether it is our own proxy, by the name in its user agent.
    pub native: bool,
    /// Where it runs.
    pub locality: Arc<Locality>,
    /// `UNPRIVILEGED_POD`: it cannot bind ports below 1024.
    pub unprivileged: bool,
    /// Whether private keys may be sent to it. A node does not say so itself:
    /// whoever accepted its connection knows, and sets it.
    pub may_hold_keys: bool,
}

/// Where a proxy stands; the first part of its node id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// `sidecar`: beside a workload.
    Sidecar,
    /// `router`: on its own, at the mesh's edge.
    Router,
}

/// What a client of the control plane understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Generator {
    /// Everything that Envoy understands.
    Envoy,
    /// `GENERATOR: grpc`: a gRPC library that calls services itself.
    Grpc,
}

/// How connections reach a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capture {
    /// The kernel redirects them; the original destination is asked for.
    Redirect,
    /// The kernel hands them over with both addresses kept.
    Tproxy,
    /// Nobody: applications connect to the listeners themselves.
    None,
}

/// A `Node` that is not a proxy this control plane serves.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// The id has not four parts.
    #[error("node id {id:?}: found {parts} parts, expected type~ip~name.namespace~domain; the stream is refused")]
    Parts {
        /// The id as sent.
        id: String,
        /// How many parts it has.
        parts: usize,
    },
    /// The type is none that is served.
    #[error("node id {id:?}: found type {kind:?}, expected \"sidecar\" or \"router\"; the stream is refused")]
    Kind {
        /// The id as sent.
        id: String,
        /// The type in it.
        kind: String,
    },
    /// An address does not parse, or there is none.
    #[error("node id {id:?}: {field}: found {found:?}, expected an IP address; the stream is refused")]
    Address {
        /// The id as sent.
        id: String,
        /// Where the address stands.
        field: &'static str,
        /// What stands there.
        found: String,
    },
    /// A metadata value is not one of those it can be.
    #[error("node id {id:?}: metadata.{field}: found {found:?}, expected {expected}; the stream is refused")]
    Metadata {
        /// The id as sent.
        id: String,
        /// Its key.
        field: &'static str,
        /// What was found.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Neither metadata nor domain say which namespace it is in.
    #[error("node id {id:?}: metadata.NAMESPACE is absent and the domain names no namespace; the stream is refused")]
    Namespace {
        /// The id as sent.
        id: String,
    },
}

impl Proxy {
    /// Reads a node.
    ///
    /// # Errors
    /// See [`NodeError`]; its text is meant for the proxy's log.
    pub fn from_node(node: &Node) -> Result<Self, NodeError> {
        let id = node.id.as_str();
        let parts: Vec<&str> = id.split('~').collect();
        let [kind, ip, name, domain] = parts[..] else {
            return Err(NodeError::Parts { id: id.to_owned(), parts: parts.len() });
        };
        let place = match kind {
            "sidecar" => Place::Sidecar,
            "router" => Place::Router,
            _ => return Err(NodeError::Kind { id: id.to_owned(), kind: kind.to_owned() }),
        };
        let metadata = Metadata(node.metadata.as_ref());
        let namespace = namespace(&metadata, domain).ok_or_else(|| NodeError::Namespace { id: id.to_owned() })?;
        let pod = name.strip_suffix(&*format!(".{namespace}")).unwrap_or(name);
        Ok(Self {
            node_id: id.into(),
            workload: WorkloadKey { name: pod.into(), namespace },
            addresses: addresses(id, ip, &metadata)?,
            domain: domain.into(),
            labels: metadata.labels(),
            place,
            metadata: Arc::new(metadata.texts()),
            generator: generator(id, &metadata)?,
            capture: capture(id, &metadata)?,
            cluster_id: metadata.text("CLUSTER_ID").unwrap_or_default().into(),
            version: metadata.text("ISTIO_VERSION").unwrap_or_default().into(),
            service_account: metadata.text("SERVICE_ACCOUNT").unwrap_or_default().into(),
            native: node.user_agent_name == NATIVE,
            istio_stats: node.extensions.iter().any(|e| e.name == http_filters::STATS),
            locality: Arc::new(locality(node)),
            unprivileged: metadata.text("UNPRIVILEGED_POD") == Some("true"),
            may_hold_keys: false,
        })
    }

    /// The namespace that it is in.
    pub fn namespace(&self) -> &Name {
        &self.workload.namespace
    }

    /// Its primary address.
    pub fn address(&self) -> IpAddr {
        self.addresses[0]
    }
}

/// `Node.metadata`, read without trust in its types.
struct Metadata<'a>(Option<&'a Struct>);

impl<'a> Metadata<'a> {
    fn value(&self, key: &str) -> Option<&'a Kind> {
        self.0?.fields.get(key)?.kind.as_ref()
    }

    fn text(&self, key: &str) -> Option<&'a str> {
        match self.value(key)? {
            Kind::StringValue(text) => Some(text),
            _ => None,
        }
    }

    fn texts(&self) -> HashMap<Name, Name> {
        let text = |(key, value): (&String, &Value)| match &value.kind {
            Some(Kind::StringValue(text)) => Some((Name::from(key.as_str()), Name::from(text.as_str()))),
            _ => None,
        };
        self.0.map(|fields| fields.fields.iter().filter_map(text).collect()).unwrap_or_default()
    }

    fn labels(&self) -> Labels {
        let Some(Kind::StructValue(labels)) = self.value("LABELS") else { return Labels::default() };
        let text = |v: &Value| match &v.kind {
            Some(Kind::StringValue(text)) => Some(text.clone()),
            _ => None,
        };
        labels.fields.iter().filter_map(|(k, v)| Some((k.clone(), text(v)?))).collect()
    }
}

fn namespace(metadata: &Metadata<'_>, domain: &str) -> Option<Name> {
    let stated = metadata.text("NAMESPACE").filter(|n| !n.is_empty());
    let of_domain = || domain.split_once('.').map(|(first, _)| first).filter(|n| !n.is_empty());
    stated.or_else(of_domain).map(Name::from)
}

fn addresses(id: &str, ip: &str, metadata: &Metadata<'_>) -> Result<Vec<IpAddr>, NodeError> {
    let parse = |field, text: &str| {
        text.trim().parse::<IpAddr>().map_err(|_| NodeError::Address {
            id: id.to_owned(),
            field,
            found: text.to_owned(),
        })
    };
    let mut addresses = Vec::new();
    if !ip.is_empty() {
        addresses.push(parse("second part", ip)?);
    }
    if let Some(list) = metadata.text("INSTANCE_IPS").filter(|l| !l.is_empty()) {
        for text in list.split(',') {
            let address = parse("metadata.INSTANCE_IPS", text)?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
    }
    if addresses.is_empty() {
        return Err(NodeError::Address { id: id.to_owned(), field: "second part", found: String::new() });
    }
    Ok(addresses)
}

fn generator(id: &str, metadata: &Metadata<'_>) -> Result<Generator, NodeError> {
    match metadata.text("GENERATOR").unwrap_or_default() {
        "" => Ok(Generator::Envoy),
        "grpc" => Ok(Generator::Grpc),
        found => Err(NodeError::Metadata {
            id: id.to_owned(),
            field: "GENERATOR",
            found: found.to_owned(),
            expected: "\"grpc\" or nothing",
        }),
    }
}

fn capture(id: &str, metadata: &Metadata<'_>) -> Result<Capture, NodeError> {
    match metadata.text("INTERCEPTION_MODE").unwrap_or_default() {
        "" | "REDIRECT" => Ok(Capture::Redirect),
        "TPROXY" => Ok(Capture::Tproxy),
        "NONE" => Ok(Capture::None),
        found => Err(NodeError::Metadata {
            id: id.to_owned(),
            field: "INTERCEPTION_MODE",
            found: found.to_owned(),
            expected: "REDIRECT, TPROXY or NONE",
        }),
    }
}

fn locality(node: &Node) -> Locality {
    let Some(locality) = &node.locality else { return Locality::default() };
    Locality {
        region: locality.region.as_str().into(),
        zone: locality.zone.as_str().into(),
        subzone: locality.sub_zone.as_str().into(),
    }
}

/// What our own proxy calls itself.
const NATIVE: &str = "pilothouse";
