//! TLS at both ends of a proxy.

mod downstream;
pub(crate) mod pki;
mod sds;
mod upstream;

use crate::support::{TO_BACKEND, bootstrap};

const SERVER: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const CLIENT: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// A `transport_socket` with this context.
fn socket(kind: &str, context: &str) -> String {
    format!("transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {{'@type': {kind}, {context}}}}}")
}

/// A bootstrap whose listener `in` has TLS with `context`, and `hcm` in its connection manager.
fn behind_tls(backend: std::net::SocketAddr, context: &str, hcm: &str) -> String {
    let yaml = bootstrap(backend, hcm, TO_BACKEND, "");
    yaml.replacen("    - filters:\n", &format!("    - {}\n      filters:\n", socket(SERVER, context)), 1)
}
