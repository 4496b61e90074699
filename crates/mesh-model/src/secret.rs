//! Secrets: certificates, keys and authorities that rules name.
//!
//! Invariant: a [`KeyPair`]'s parts fit each other (whoever makes one has
//! checked), and no `Debug` of these types shows a private key.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::{Kind, Meta, Name, ObjectRef};

/// What a Secret (or, for authorities alone, a ConfigMap) holds for TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct Secret {
    /// The object; kind Secret or ConfigMap.
    pub meta: Arc<Meta>,
    /// What a server or client shows.
    pub pair: Option<KeyPair>,
    /// PEM certificates of authorities that are trusted.
    pub authorities: Option<Pem>,
    /// PEM lists of revoked certificates.
    pub revoked: Option<Pem>,
}

/// A certificate and its private key.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyPair {
    /// The certificate in PEM, with its chain.
    pub certificate: Pem,
    /// The private key in PEM.
    pub key: PrivateKey,
    /// A stapled OCSP response, in DER.
    pub ocsp_staple: Option<Arc<[u8]>>,
}

/// Public text in PEM, shared.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pem(Arc<[u8]>);

impl Pem {
    /// Takes bytes that are known to be PEM.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PEM of {} bytes", self.0.len())
    }
}

/// A private key in PEM. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(Arc<[u8]>);

impl PrivateKey {
    /// Takes bytes that are known to be a key in PEM.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The key itself, for those who may have it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// All secrets, by kind, namespace and name.
#[derive(Debug, Default)]
pub struct SecretIndex {
    by_object: BTreeMap<ObjectRef, Arc<Secret>>,
}

impl SecretIndex {
    /// An index of `secrets`.
    pub fn new(secrets: impl IntoIterator<Item = Arc<Secret>>) -> Self {
        Self { by_object: secrets.into_iter().map(|s| (s.meta.object.clone(), s)).collect() }
    }

    /// What the object of this `kind` (Secret or ConfigMap) and name holds.
    pub fn get(&self, kind: Kind, namespace: &Name, name: &Name) -> Option<&Arc<Secret>> {
        self.by_object.get(&ObjectRef { kind, namespace: namespace.clone(), name: name.clone() })
    }

    /// All secrets, sorted by kind, namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.by_object.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_private_key_is_ever_printed() {
        let pair = KeyPair {
            certificate: Pem::new(b"CERTIFICATE".as_slice()),
            key: PrivateKey::new(b"PRIVATE".as_slice()),
            ocsp_staple: None,
        };
        let printed = format!("{pair:?}");
        assert!(!printed.contains("PRIVATE") && printed.contains("[redacted]"), "{printed}");
    }
}
