//! What a pilot is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of one control plane. The defaults are Istio's.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folders (or single files) of manifests, watched for changes.
    pub config_dirs: Vec<PathBuf>,
    /// A file with mesh settings (`MeshConfig` in YAML). It goes before a
    /// ConfigMap `istio` in the folders.
    pub mesh_config: Option<PathBuf>,
    /// DNS domain of the platform's services.
    pub domain: String,
    /// Where xDS is served.
    pub grpc_address: SocketAddr,
    /// Where metrics, debug pages, version and readiness are served.
    pub monitoring_address: Option<SocketAddr>,
    /// A second address with the same pages.
    pub http_address: Option<SocketAddr>,
    /// A third one, for those who look where early Istio had it (`:9093`).
    pub legacy_monitoring_address: Option<SocketAddr>,
    /// How long the mesh must be quiet before a change is passed on.
    pub debounce_after: Duration,
    /// How long a change waits at most in a mesh that is never quiet.
    pub debounce_max: Duration,
    /// The same as `debounce_after` for changes of endpoints alone, which take a
    /// shorter path; see [`crate::settle`].
    pub endpoint_debounce_after: Duration,
    /// The same as `debounce_max` for changes of endpoints alone.
    pub endpoint_debounce_max: Duration,
    /// Threads that translate for proxies; 0: one for each core, at most 8.
    pub translate_threads: usize,
    /// Whether diagnostics are logged, once when they appear and once when they
    /// are resolved. Turn it off to say them yourself, from
    /// [`crate::Handle::diagnostics`].
    pub log_diagnostics: bool,
}

/// More threads than this gain nothing: translation is shared between proxies
/// of one scope.
pub(crate) const TRANSLATE_THREADS_MAX: usize = 8;

impl Default for Options {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self {
            config_dirs: Vec::new(),
            mesh_config: None,
            domain: "cluster.local".to_owned(),
            grpc_address: any(15010),
            monitoring_address: Some(any(15014)),
            http_address: Some(any(8080)),
            legacy_monitoring_address: None,
            debounce_after: Duration::from_millis(100),
            debounce_max: Duration::from_secs(10),
            endpoint_debounce_after: Duration::from_millis(10),
            endpoint_debounce_max: Duration::from_millis(100),
            translate_threads: 0,
            log_diagnostics: true,
        }
    }
}

impl Options {
    /// Serves `config_dirs` on free ports of the loopback interface: what a
    /// test, a demo, or a second control plane on the same machine wants.
    pub fn on_free_ports(config_dirs: impl IntoIterator<Item = PathBuf>) -> Self {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self {
            config_dirs: config_dirs.into_iter().collect(),
            grpc_address: free,
            monitoring_address: Some(free),
            http_address: None,
            ..Self::default()
        }
    }
}

/// An address that cannot be listened on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address to listen on; expected IP:PORT, [IPV6]:PORT or :PORT")]
pub struct AddressError {
    /// What was given.
    pub text: String,
}

/// Reads an address as Istio's flags give it: `:15010` means every interface.
///
/// # Errors
/// [`AddressError`] if it is neither that nor `IP:PORT`; names are not resolved.
pub fn parse_address(text: &str) -> Result<SocketAddr, AddressError> {
    let parsed = match text.strip_prefix(':') {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| AddressError { text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_host_is_every_interface() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_address(text).ok(), expected.and_then(|e| e.parse().ok()), "{text}");
        };
        check(":15010", Some("0.0.0.0:15010"));
        check("127.0.0.1:0", Some("127.0.0.1:0"));
        check("[::1]:80", Some("[::1]:80"));
        check("localhost:80", None);
        check(":70000", None);
        check("", None);
    }
}
