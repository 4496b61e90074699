//! What the control plane around the translation can do, as far as the
//! resources depend on it.

/// Switches that stay as they are while a control plane runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// Proxies are given certificates that name their workloads, as the SDS
    /// secrets `default` and `ROOTCA`. Without them connections between
    /// sidecars are plaintext, whatever a PeerAuthentication says: a listener
    /// that waits for a secret which never comes would accept nothing.
    pub workload_certificates: bool,
}
