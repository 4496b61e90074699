//! What connections to a destination are like: TLS, tunnels, PROXY protocol;
//! and how much may be retried.

use std::time::Duration;

use crate::Name;

/// Whether connections are TLS, and whose certificate they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Plaintext.
    Disable,
    /// The server shows a certificate.
    Simple,
    /// Both show certificates, the client the one given.
    Mutual,
    /// Both show the certificates of their workloads.
    IstioMutual,
}

/// TLS of connections to a destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Whether, and whose certificates.
    pub mode: TlsMode,
    /// File of the client's certificate chain; set for MUTUAL without
    /// `credential_name`.
    pub client_certificate: Option<Name>,
    /// File of its private key; likewise.
    pub private_key: Option<Name>,
    /// File of the certificates that the server's is checked against; `None`:
    /// those of the operating system.
    pub ca_certificates: Option<Name>,
    /// Secret that holds all of them instead of files.
    pub credential_name: Option<Name>,
    /// Names of which the server's certificate must bear one; empty: the name
    /// that was called.
    pub subject_alt_names: Vec<Name>,
    /// Server name that is asked for; `None`: the name that was called.
    pub sni: Option<Name>,
    /// The server's certificate is not checked.
    pub insecure_skip_verify: bool,
    /// File of revoked certificates.
    pub ca_crl: Option<Name>,
}

/// Connections are tunnelled through the destination to another host.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tunnel {
    /// The tunnel is asked for by POST instead of CONNECT.
    pub post: bool,
    /// Where it ends: a name or an address.
    pub target_host: Name,
    /// The port there.
    pub target_port: u16,
}

/// Version of the PROXY protocol header that connections begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// As text.
    V1,
    /// Binary.
    V2,
}

/// How much may be retried at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// Share of the requests in flight; `None`: 20.
    pub percent: Option<f64>,
    /// So many are always allowed; `None`: 3.
    pub min_retry_concurrency: Option<u32>,
    /// Requests that began this long ago count as in flight; `None`: none.
    pub budget_interval: Option<Duration>,
}
