//! Operators on TLS: `%DOWNSTREAM_PEER_URI_SAN%`, `%UPSTREAM_TLS_VERSION%`...

use super::Facts;
use crate::tls::{CertificateFacts, TlsFacts};

/// One operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TlsPart {
    upstream: bool,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Version,
    Cipher,
    Peer(Of),
    Local(Of),
}

/// Something about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Subject,
    Issuer,
    Serial,
    Fingerprint,
    Uri,
    Dns,
    Address,
    Email,
    Pem,
    From,
    Until,
}

impl TlsPart {
    /// The operator called `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (upstream, rest) = match name.strip_prefix("UPSTREAM_") {
            Some(rest) => (true, rest),
            None => (false, name.strip_prefix("DOWNSTREAM_")?),
        };
        let what = match rest {
            "TLS_VERSION" => What::Version,
            "TLS_CIPHER" => What::Cipher,
            _ => match rest.strip_prefix("PEER_") {
                Some(of) => What::Peer(Of::named(of)?),
                None => What::Local(Of::named(rest.strip_prefix("LOCAL_")?)?),
            },
        };
        Some(Self { upstream, what })
    }

    /// Writes its value; `None` if there is none.
    pub(super) fn write(self, facts: &Facts<'_>, out: &mut String) -> Option<()> {
        let tls: &TlsFacts = if self.upstream { facts.upstream_tls? } else { facts.downstream_tls? };
        match self.what {
            What::Version => out.push_str(tls.version.as_str()),
            What::Cipher => out.push_str(tls.cipher),
            What::Peer(of) => of.write(tls.peer.as_deref()?, out)?,
            What::Local(of) => of.write(tls.local.as_deref()?, out)?,
        }
        Some(())
    }
}

impl Of {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "SUBJECT" => Self::Subject,
            "ISSUER" => Self::Issuer,
            "SERIAL" => Self::Serial,
            "FINGERPRINT_256" => Self::Fingerprint,
            "URI_SAN" => Self::Uri,
            "DNS_SAN" => Self::Dns,
            "IP_SAN" => Self::Address,
            "EMAIL_SAN" => Self::Email,
            "CERT" => Self::Pem,
            "CERT_V_START" => Self::From,
            "CERT_V_END" => Self::Until,
            _ => return None,
        })
    }

    fn write(self, certificate: &CertificateFacts, out: &mut String) -> Option<()> {
        let from = out.len();
        match self {
            Self::Subject => out.push_str(&certificate.subject),
            Self::Issuer => out.push_str(&certificate.issuer),
            Self::Serial => out.push_str(&certificate.serial),
            Self::Fingerprint => out.push_str(&certificate.fingerprint_256),
            Self::Pem => out.push_str(&certificate.pem),
            Self::Uri => out.push_str(&certificate.uris.join(",")),
            Self::Dns => out.push_str(&certificate.dns.join(",")),
            Self::Email => out.push_str(&certificate.emails.join(",")),
            Self::Address => {
                let texts: Vec<String> = certificate.addresses.iter().map(ToString::to_string).collect();
                out.push_str(&texts.join(","));
            }
            Self::From => out.push_str(&time(certificate.not_before)?),
            Self::Until => out.push_str(&time(certificate.not_after)?),
        }
        // What is empty is written as what is not known.
        (out.len() > from).then_some(())
    }
}

fn time(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string())
}
