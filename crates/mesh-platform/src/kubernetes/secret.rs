//! Secrets and ConfigMaps: certificates, keys and authorities for TLS.
//!
//! ```text
//! data, stringData ── decode ──► bytes by key ── pem: parse, compare ──► mesh_model::Secret
//! ```
//!
//! Invariant: what is read is usable: every certificate parses, and the key is
//! the first certificate's. No message shows a value.
//!
//! Deliberately absent: whether a certificate has expired, which only a clock
//! can say.

mod pem;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_config::base64;
use mesh_config::document::Object;
use mesh_config::reader::{Fields, Log};
use mesh_model::secret::{KeyPair, Pem, PrivateKey};
use mesh_model::{Code, Name, Secret};

use super::Resource;

/// Reads a Secret of any type. One without the keys below is [`Resource::Inert`]:
/// it is for something else.
///
/// Source: `ExtractCertInfo` and `ExtractRoot`, istio
/// `pilot/pkg/credentials/kube/secrets.go`.
pub(super) fn read(object: &Object, log: &Log) -> Option<Resource> {
    let root = log.root(&object.root, "").fields()?;
    let mut data = Data::new(log, object.root.line, &KEYS);
    data.read(&root, "data", true)?;
    data.read(&root, "stringData", false)?;
    let generic = data.pair("cert", "key", None);
    let pair = match generic {
        Some(_) => generic,
        None => data.pair("tls.crt", "tls.key", Some("tls.ocsp-staple")),
    };
    Some(data.finish(object, pair))
}

/// Reads a ConfigMap, which can hold authorities alone.
pub(super) fn read_config_map(object: &Object, log: &Log) -> Option<Resource> {
    let root = log.root(&object.root, "").fields()?;
    let mut data = Data::new(log, object.root.line, &AUTHORITIES);
    data.read(&root, "data", false)?;
    let (authorities, revoked) = data.authorities();
    // One that holds none is kept too: others ask only whether it is there.
    Some(Resource::Secret(Arc::new(Secret { meta: object.meta.clone(), pair: None, authorities, revoked })))
}

/// Values by key, those alone that concern TLS.
struct Data<'a> {
    log: &'a Log,
    line: u32,
    keys: &'static [&'static str],
    values: BTreeMap<Name, (u32, Vec<u8>)>,
}

impl<'a> Data<'a> {
    fn new(log: &'a Log, line: u32, keys: &'static [&'static str]) -> Self {
        Self { log, line, keys, values: BTreeMap::new() }
    }

    fn read(&mut self, root: &Fields<'_>, field: &'static str, encoded: bool) -> Option<()> {
        let Some(map) = root.optional(field) else { return Some(()) };
        for (key, value) in map.entries()?.into_iter().filter(|(key, _)| self.keys.contains(&&**key)) {
            let line = value.node().line;
            let Some(text) = value.node().text() else {
                self.wrong(&key, line, "found no text, expected PEM in text");
                continue;
            };
            let bytes = if encoded { base64::decode(text) } else { Some(text.as_bytes().to_vec()) };
            match bytes {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    self.values.insert(key, (line, bytes));
                }
                None => self.wrong(&key, line, "found no base64, expected PEM in base64"),
            }
        }
        Some(())
    }

    /// A certificate and its key, if both are there.
    fn pair(&self, certificate: &str, key: &str, staple: Option<&str>) -> Option<KeyPair> {
        let (line, chain) = self.values.get(certificate)?;
        let (key_line, private) = self.values.get(key)?;
        let found = pem::pair(chain, private);
        match found {
            Ok(()) => {}
            Err(error) if error.is_about_the_key() => self.wrong(key, *key_line, &error.to_string()),
            Err(error) => self.wrong(certificate, *line, &error.to_string()),
        }
        let staple = staple.and_then(|s| self.values.get(s)).map(|(_, bytes)| bytes.as_slice().into());
        Some(KeyPair {
            certificate: Pem::new(chain.as_slice()),
            key: PrivateKey::new(private.as_slice()),
            ocsp_staple: staple,
        })
    }

    /// Authorities and revoked certificates, with the keys of both kinds of
    /// Secret.
    fn authorities(&self) -> (Option<Pem>, Option<Pem>) {
        let families = [("cacert", "crl"), ("ca.crt", "ca.crl")];
        let family = families.into_iter().find(|(authorities, _)| self.values.contains_key(*authorities));
        let Some((authorities, revoked)) = family else { return (None, None) };
        let checked = |key: &str, check: fn(&[u8]) -> Result<(), pem::Error>| {
            let (line, bytes) = self.values.get(key)?;
            if let Err(error) = check(bytes) {
                self.wrong(key, *line, &error.to_string());
            }
            Some(Pem::new(bytes.as_slice()))
        };
        (checked(authorities, pem::certificates), checked(revoked, pem::revocation_lists))
    }

    fn finish(self, object: &Object, pair: Option<KeyPair>) -> Resource {
        let (authorities, revoked) = self.authorities();
        for (present, absent) in [("tls.crt", "tls.key"), ("tls.key", "tls.crt")] {
            if self.values.contains_key(present) && !self.values.contains_key(absent) && pair.is_none() {
                let message = format!("found {present} without {absent}");
                self.log.error(self.line, Code::MissingField, &format!("data[{absent}]"), message);
            }
        }
        if pair.is_none() && authorities.is_none() {
            return Resource::Inert;
        }
        Resource::Secret(Arc::new(Secret { meta: object.meta.clone(), pair, authorities, revoked }))
    }

    fn wrong(&self, key: &str, line: u32, message: &str) {
        self.log.error(line, Code::InvalidValue, &format!("data[{key}]"), message.to_owned());
    }
}

/// Keys of a generic Secret and of one of type `kubernetes.io/tls`.
const KEYS: [&str; 9] = ["cert", "key", "cacert", "crl", "tls.crt", "tls.key", "tls.ocsp-staple", "ca.crt", "ca.crl"];
/// Those that a ConfigMap may have.
const AUTHORITIES: [&str; 4] = ["cacert", "crl", "ca.crt", "ca.crl"];
