//! `tls` of a Gateway's server and of a Sidecar's ingress listener.
//!
//! Source: `validateTLSOptions`, istio `pkg/config/validation/validation.go`; the
//! schemas of the CRDs.

use mesh_model::rules::server_tls::{Certificates, Credential, PairFiles, ServerTls, TlsMode, TlsVersion};
use mesh_model::{Code, Name};

use crate::reader::{Fields, Value};

/// Certificates of one server, as Istio and Envoy bound them: one of each kind
/// of key.
const CERTIFICATES_MAX: usize = 2;

pub(super) fn read(value: &Value<'_>) -> Option<ServerTls> {
    let fields = value.fields()?;
    let mode = fields.optional("mode").map_or(Some(TlsMode::Passthrough), |v| v.one_of(&MODES));
    let redirect = fields.optional("httpsRedirect").map_or(Some(false), |v| v.boolean());
    let sources = Sources::read(&fields);
    let ca_credential = fields.optional("caCertCredentialName").and_then(|v| credential(&v));
    let ca_file = path(&fields, "caCertificates");
    let crl_file = path(&fields, "caCrl");
    let versions = (version(&fields, "minProtocolVersion"), version(&fields, "maxProtocolVersion"));
    let texts = |name| fields.optional(name).map_or(Some(Vec::new()), |v| v.texts());
    let (names, spki, hashes) =
        (texts("subjectAltNames"), texts("verifyCertificateSpki"), texts("verifyCertificateHash"));
    let suites = fields.optional("cipherSuites").map_or(Some(Vec::new()), |v| known(&v, &CIPHER_SUITES));
    let curves = fields.optional("ecdhCurves").map_or(Some(Vec::new()), |v| known(&v, &CURVES));
    let skip = fields.optional("insecureSkipVerify").map_or(Some(false), |v| v.boolean());
    fields.finish();
    let (sources, mode) = (sources?, mode?);
    let tls = ServerTls {
        mode,
        https_redirect: redirect?,
        certificates: sources.certificates(&fields, mode),
        ca_credential,
        ca_file,
        crl_file,
        subject_alt_names: names?,
        spki_pins: spki?,
        certificate_hashes: hashes?,
        min_version: versions.0?,
        max_version: versions.1?,
        cipher_suites: suites?,
        ecdh_curves: curves?,
        insecure_skip_verify: skip?,
    };
    check(&fields, &tls);
    Some(tls)
}

const MODES: [(&str, TlsMode); 6] = [
    ("PASSTHROUGH", TlsMode::Passthrough),
    ("SIMPLE", TlsMode::Simple),
    ("MUTUAL", TlsMode::Mutual),
    ("AUTO_PASSTHROUGH", TlsMode::AutoPassthrough),
    ("ISTIO_MUTUAL", TlsMode::IstioMutual),
    ("OPTIONAL_MUTUAL", TlsMode::OptionalMutual),
];

/// Where the server's certificate comes from, as written.
struct Sources {
    certificate: Option<Name>,
    key: Option<Name>,
    credential: Option<Credential>,
    credentials: Vec<Credential>,
    files: Vec<PairFiles>,
}

impl Sources {
    fn read(fields: &Fields<'_>) -> Option<Self> {
        let credential = match fields.optional("credentialName").filter(|v| !is_empty(v)) {
            Some(value) => Some(self::credential(&value)?),
            None => None,
        };
        let credentials = fields.optional("credentialNames").map_or(Some(Vec::new()), |value| {
            let items = value.items()?;
            if items.len() > CERTIFICATES_MAX {
                return value.invalid("at most 2 credentials");
            }
            items.iter().map(self::credential).collect()
        });
        let files = fields.optional("tlsCertificates").map_or(Some(Vec::new()), |v| pairs(&v));
        Some(Self {
            certificate: path(fields, "serverCertificate"),
            key: path(fields, "privateKey"),
            credential,
            credentials: credentials?,
            files: files?,
        })
    }

    /// The one source that is used; several, and missing parts, are reported.
    fn certificates(self, fields: &Fields<'_>, mode: TlsMode) -> Certificates {
        let pair = self.certificate.is_some() && self.key.is_some();
        let some = [self.credential.is_some(), !self.credentials.is_empty(), !self.files.is_empty(), pair];
        let any = some.contains(&true) || self.certificate.is_some() || self.key.is_some();
        if mode == TlsMode::IstioMutual {
            if any {
                fields.error::<()>(
                    "found a certificate with mode ISTIO_MUTUAL, expected none: the workload's own is shown".to_owned(),
                );
            }
            return Certificates::None;
        }
        if some.iter().filter(|s| **s).count() > 1 {
            fields.error::<()>(
                "found several of credentialName, credentialNames, tlsCertificates and serverCertificate with \
                 privateKey, expected one of them"
                    .to_owned(),
            );
        }
        let terminates = !matches!(mode, TlsMode::Passthrough | TlsMode::AutoPassthrough);
        if let Some(credential) = self.credential {
            return Certificates::Credentials(vec![credential]);
        }
        if !self.credentials.is_empty() {
            return Certificates::Credentials(self.credentials);
        }
        if !self.files.is_empty() {
            return Certificates::Files(self.files);
        }
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Certificates::Files(vec![PairFiles { certificate, key }]),
            (certificate, key) => {
                if terminates && certificate.is_none() {
                    let expected = format!("a certificate for mode {}: credentialName or a file", mode.as_str());
                    fields.missing("serverCertificate", &expected);
                }
                if terminates && key.is_none() {
                    fields.missing("privateKey", &format!("a private key for mode {}", mode.as_str()));
                }
                Certificates::None
            }
        }
    }
}

fn pairs(value: &Value<'_>) -> Option<Vec<PairFiles>> {
    let items = value.items()?;
    if items.len() > CERTIFICATES_MAX {
        return value.invalid("at most 2 certificates");
    }
    let pair = |item: &Value<'_>| {
        let fields = item.fields()?;
        let file = |name, expected| fields.required(name, expected).and_then(|v| v.filled_text(expected));
        let certificate = file("serverCertificate", "a certificate's file");
        let key = file("privateKey", "a private key's file");
        fields.not_applied(&["caCertificates"]);
        fields.finish();
        Some(PairFiles { certificate: certificate?, key: key? })
    };
    items.iter().map(pair).collect()
}

/// What settings say together.
fn check(fields: &Fields<'_>, tls: &ServerTls) {
    let credentials = matches!(tls.certificates, Certificates::Credentials(_));
    let verifies = matches!(tls.mode, TlsMode::Mutual | TlsMode::OptionalMutual);
    match tls.mode {
        TlsMode::IstioMutual if tls.ca_file.is_some() => {
            fields.error::<()>(
                "found caCertificates with mode ISTIO_MUTUAL, expected none: the mesh's own are used".to_owned(),
            );
        }
        TlsMode::Passthrough | TlsMode::AutoPassthrough
            if tls.certificates != Certificates::None || tls.ca_file.is_some() || tls.crl_file.is_some() =>
        {
            let message = format!("mode {} shows no certificate of its own", tls.mode.as_str());
            fields.warn("mode", Code::InvalidValue, message, "the certificates named here are not used");
        }
        _ if verifies && !credentials && tls.ca_file.is_none() && tls.ca_credential.is_none() => {
            let expected = format!("authorities of clients' certificates for mode {}", tls.mode.as_str());
            fields.missing("caCertificates", &expected);
        }
        _ => {}
    }
    if tls.crl_file.is_some() && credentials {
        fields.error::<()>("found caCrl with a credential, expected the list inside the credential".to_owned());
    }
    if tls.crl_file.is_some() && tls.mode == TlsMode::Simple {
        fields.error::<()>("found caCrl with mode SIMPLE, which asks clients for no certificate".to_owned());
    }
    if tls.min_version.zip(tls.max_version).is_some_and(|(min, max)| min > max) {
        fields.error::<()>("found a minProtocolVersion above maxProtocolVersion".to_owned());
    }
    if tls.min_version.is_some_and(|v| v < TlsVersion::V1_2) && tls.cipher_suites.is_empty() {
        let message = "versions before TLSV1_2 need cipher suites that are not among the default ones".to_owned();
        fields.warn(
            "minProtocolVersion",
            Code::InvalidValue,
            message,
            "clients of those versions find no common suite",
        );
    }
}

fn version(fields: &Fields<'_>, name: &'static str) -> Option<Option<TlsVersion>> {
    fields.optional(name).map_or(Some(None), |v| {
        v.one_of(&[
            ("TLS_AUTO", None),
            ("TLSV1_0", Some(TlsVersion::V1_0)),
            ("TLSV1_1", Some(TlsVersion::V1_1)),
            ("TLSV1_2", Some(TlsVersion::V1_2)),
            ("TLSV1_3", Some(TlsVersion::V1_3)),
        ])
    })
}

/// Those of the listed words that are known, each once. As in Istio, the others
/// are left out.
fn known(value: &Value<'_>, words: &[&str]) -> Option<Vec<Name>> {
    let mut found: Vec<Name> = Vec::new();
    for item in value.items()? {
        let text = item.text()?;
        if found.contains(&text) {
            item.warn(Code::Duplicate, format!("{text} stands twice"), "it is used once");
        } else if words.contains(&&*text) {
            found.push(text);
        } else {
            let message = format!("found {text:?}, expected one of {}", words.join(", "));
            item.warn(Code::InvalidValue, message, "it is left out");
        }
    }
    Some(found)
}

fn credential(value: &Value<'_>) -> Option<Credential> {
    let text = value.text()?;
    Credential::parse(&text)
        .or_else(|| value.invalid("a Secret's name, alone or after kubernetes://, or configmap://namespace/name"))
}

fn path(fields: &Fields<'_>, name: &'static str) -> Option<Name> {
    fields.optional(name).filter(|v| !is_empty(v)).and_then(|v| v.text())
}

fn is_empty(value: &Value<'_>) -> bool {
    value.node().text().is_some_and(|t| t.is_empty())
}

/// Names that BoringSSL knows.
///
/// Source: `ValidCipherSuites`, istio `pkg/config/security/security.go`.
const CIPHER_SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// Curves that BoringSSL knows.
const CURVES: [&str; 6] = ["P-224", "P-256", "P-521", "P-384", "X25519", "X25519MLKEM768"];
