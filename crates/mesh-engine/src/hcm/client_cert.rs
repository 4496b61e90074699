//! `x-forwarded-client-cert`: what the next hop is told of the client's
//! certificate.
//!
//! Source: Envoy's documentation, "x-forwarded-client-cert".

use std::fmt::Write;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use mesh_proto::envoy::extensions::filters::network::http_connection_manager::v3 as xds;

use crate::error::{At, ConfigError};
use crate::parse::honour;
use crate::tls::{CertificateFacts, TlsFacts};

/// What becomes of the header.
#[derive(Debug, Clone, Default)]
pub(super) struct ClientCert {
    forward: Forward,
    details: Vec<Detail>,
}

/// `ForwardClientCertDetails`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Forward {
    #[default]
    Sanitize,
    Only,
    Append,
    Set,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Cert,
    Chain,
    Subject,
    Uri,
    Dns,
}

impl ClientCert {
    pub(super) fn parse(at: &At<'_>, proto: &xds::HttpConnectionManager) -> Result<Self, ConfigError> {
        use xds::http_connection_manager::SetCurrentClientCertDetails;
        let forward = match proto.forward_client_cert_details {
            0 => Forward::Sanitize,
            1 => Forward::Only,
            2 => Forward::Append,
            3 => Forward::Set,
            4 => Forward::Always,
            other => {
                return Err(at.field("forward_client_cert_details").invalid(other, "a ForwardClientCertDetails"));
            }
        };
        let Some(set) = &proto.set_current_client_cert_details else {
            return Ok(Self { forward, details: Vec::new() });
        };
        honour!(&at.field("set_current_client_cert_details"), set, SetCurrentClientCertDetails =>
            honour [subject cert chain dns uri]
            ignore []
            refuse [issuer format]
        );
        let listed = [
            (Detail::Cert, set.cert),
            (Detail::Chain, set.chain),
            (Detail::Subject, set.subject.is_some_and(|s| s.value)),
            (Detail::Uri, set.uri),
            (Detail::Dns, set.dns),
        ];
        Ok(Self { forward, details: listed.into_iter().filter(|(_, on)| *on).map(|(d, _)| d).collect() })
    }

    /// Puts the header in order for a connection with `tls`.
    pub(super) fn apply(&self, headers: &mut HeaderMap, tls: Option<&TlsFacts>) {
        if self.forward == Forward::Always {
            return;
        }
        // Only a client that showed a certificate may say whose certificates came before it.
        let shown = tls.and_then(|t| Some((t, t.peer.as_deref()?)));
        let Some((tls, peer)) = shown.filter(|_| self.forward != Forward::Sanitize) else {
            headers.remove(X_FORWARDED_CLIENT_CERT);
            return;
        };
        if self.forward == Forward::Only {
            return;
        }
        let mut text = String::new();
        if self.forward == Forward::Append {
            for earlier in headers.get_all(X_FORWARDED_CLIENT_CERT).iter().filter_map(|v| v.to_str().ok()) {
                text.push_str(earlier);
                text.push(',');
            }
        }
        self.element(tls, peer, &mut text);
        // What cannot stand in a header cannot be told.
        match HeaderValue::try_from(text) {
            Ok(value) => drop(headers.insert(X_FORWARDED_CLIENT_CERT, value)),
            Err(_) => drop(headers.remove(X_FORWARDED_CLIENT_CERT)),
        }
    }

    fn element(&self, tls: &TlsFacts, peer: &CertificateFacts, out: &mut String) {
        // Writing to a string cannot fail.
        for uri in tls.local.iter().flat_map(|l| &l.uris) {
            let _ = write!(out, "By={uri};");
        }
        let _ = write!(out, "Hash={}", peer.fingerprint_256);
        for detail in &self.details {
            let _ = match detail {
                Detail::Cert => write!(out, ";Cert=\"{}\"", peer.pem),
                Detail::Chain => write!(out, ";Chain=\"{}{}\"", peer.pem, tls.peer_chain),
                Detail::Subject => write!(out, ";Subject=\"{}\"", peer.subject),
                Detail::Uri if peer.uris.is_empty() => write!(out, ";URI="),
                Detail::Uri => peer.uris.iter().try_for_each(|uri| write!(out, ";URI={uri}")),
                Detail::Dns => peer.dns.iter().try_for_each(|dns| write!(out, ";DNS={dns}")),
            };
        }
    }
}

const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::error::Kind;
    use crate::tls::Version;

    fn apply(yaml: &str, mutual: bool) -> Option<String> {
        let proto: xds::HttpConnectionManager = mesh_proto::json::from_yaml(yaml).unwrap();
        let rules = ClientCert::parse(&At::root(Kind::Listener, "l"), &proto).unwrap();
        let certificate = |uri: &str| CertificateFacts {
            subject: "CN=a,O=b".to_owned(),
            fingerprint_256: "abc".to_owned(),
            uris: vec![uri.into()],
            dns: vec!["a.b".into(), "c.d".into()],
            pem: "PEM".into(),
            ..CertificateFacts::default()
        };
        let tls = TlsFacts {
            version: Version::V13,
            cipher: "TLS_AES_128_GCM_SHA256",
            alpn: None,
            server_name: None,
            resumed: false,
            local: Some(certificate("spiffe://me").into()),
            peer: mutual.then(|| certificate("spiffe://peer").into()),
            peer_chain: "MORE".into(),
        };
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_CLIENT_CERT, HeaderValue::from_static("before"));
        rules.apply(&mut headers, Some(&tls));
        headers.get(X_FORWARDED_CLIENT_CERT).map(|v| v.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_what_a_client_with_a_certificate_says_is_kept() {
        let kept = |mode: &str, mutual| apply(&format!("{{forward_client_cert_details: {mode}}}"), mutual);
        assert_eq!(kept("SANITIZE", true), None);
        assert_eq!(kept("FORWARD_ONLY", true).as_deref(), Some("before"));
        for mode in ["FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET"] {
            assert_eq!(kept(mode, false), None, "{mode}");
        }
        assert_eq!(kept("ALWAYS_FORWARD_ONLY", false).as_deref(), Some("before"));
    }

    #[test]
    fn what_is_said_of_the_client_is_in_envoys_order() {
        let details = "set_current_client_cert_details: {subject: true, dns: true, uri: true, cert: true, chain: true}";
        let set = apply(&format!("{{forward_client_cert_details: SANITIZE_SET, {details}}}"), true).unwrap();
        assert_eq!(
            set,
            "By=spiffe://me;Hash=abc;Cert=\"PEM\";Chain=\"PEMMORE\";Subject=\"CN=a,O=b\";URI=spiffe://peer;DNS=a.b;DNS=c.d"
        );
        let appended = apply("{forward_client_cert_details: APPEND_FORWARD}", true).unwrap();
        assert_eq!(appended, "before,By=spiffe://me;Hash=abc");
    }
}
