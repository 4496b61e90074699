//! TLS of listeners: certificates, and how clients' certificates are checked.
//!
//! Source: `buildTLS`, istio `pilot/pkg/config/kube/gateway/conversion.go`.

use super::Objects;
use super::conditions::Fault;
use crate::rules::gateway_api::gateway::{FrontendTls, ListenerTls};
use crate::rules::gateway_api::{Gateway, Listener, Reference};
use crate::rules::server_tls::{Certificates, Credential, CredentialSource, ServerTls, TlsMode};
use crate::{Kind, Meta, Name};

/// Options of a listener's TLS that are understood.
const MODE: &str = "gateway.istio.io/tls-terminate-mode";
const CIPHERS: &str = "gateway.istio.io/tls-cipher-suites";
const LISTENER_MODE: &str = "gateway.istio.io/listener-protocol";
const AUTO_PASSTHROUGH: &str = "auto-passthrough";
/// Certificates of one listener at most.
const CERTIFICATES_MAX: usize = 2;

/// The settings of a listener of the object of `meta`, which belongs to
/// `gateway`, and what is wrong with them. `None` without TLS.
pub(super) fn build(
    objects: &Objects<'_>,
    gateway: &Gateway,
    meta: &Meta,
    listener: &Listener,
) -> Option<(ServerTls, Option<Fault>)> {
    let tls = listener.tls.as_ref()?;
    if tls.passthrough == Some(true) {
        let auto = is_auto_passthrough(meta, listener, tls);
        let mut settings = ServerTls::new(if auto { TlsMode::AutoPassthrough } else { TlsMode::Passthrough });
        settings.cipher_suites = ciphers(tls);
        return Some((settings, None));
    }
    let mut settings = ServerTls::new(mode(tls).unwrap_or(TlsMode::Simple));
    // The workload's own certificate is shown, no other is asked for.
    if settings.mode == TlsMode::IstioMutual || tls.options.get(MODE) == Some("ISTIO_SIMPLE") {
        return Some((settings, None));
    }
    let fault = terminate(objects, gateway, meta, listener, tls, &mut settings).err();
    settings.cipher_suites = ciphers(tls);
    Some((settings, fault))
}

fn mode(tls: &ListenerTls) -> Option<TlsMode> {
    match tls.options.get(MODE)? {
        "MUTUAL" => Some(TlsMode::Mutual),
        "OPTIONAL_MUTUAL" => Some(TlsMode::OptionalMutual),
        "ISTIO_MUTUAL" => Some(TlsMode::IstioMutual),
        _ => None,
    }
}

/// Whether a gateway between networks passes connections on by their server
/// name.
///
/// Source: `IsAutoPassthrough`, istio
/// `pilot/pkg/serviceregistry/kube/conversion.go`.
fn is_auto_passthrough(meta: &Meta, listener: &Listener, tls: &ListenerTls) -> bool {
    if tls.options.get(LISTENER_MODE) == Some(AUTO_PASSTHROUGH) {
        return true;
    }
    let port = meta.labels.get("networking.istio.io/gatewayPort").unwrap_or("15443");
    meta.labels.get("topology.istio.io/network").is_some() && listener.port.to_string() == port
}

fn ciphers(tls: &ListenerTls) -> Vec<Name> {
    let mut suites: Vec<Name> = Vec::new();
    for suite in tls.options.get(CIPHERS).unwrap_or_default().split(',').map(str::trim) {
        let known = CIPHER_SUITES.contains(&suite);
        if known && !suites.iter().any(|s| **s == *suite) {
            suites.push(suite.into());
        }
    }
    suites
}

/// What Envoy's BoringSSL knows.
const CIPHER_SUITES: [&str; 10] = [
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
];

fn terminate(
    objects: &Objects<'_>,
    gateway: &Gateway,
    meta: &Meta,
    listener: &Listener,
    tls: &ListenerTls,
    settings: &mut ServerTls,
) -> Result<(), Fault> {
    if tls.certificates.len() > CERTIFICATES_MAX {
        let message = format!("found {} certificates, expected at most {CERTIFICATES_MAX}", tls.certificates.len());
        return Err(Fault::new(INVALID_CERTIFICATE, message));
    }
    let mut usable = Vec::new();
    let mut fault: Option<Fault> = None;
    for reference in &tls.certificates {
        match certificate(objects, meta, reference) {
            Ok(credential) => usable.push(credential),
            Err(found) => {
                fault = Some(match fault.take() {
                    Some(fault) => fault.and(Some(found)),
                    None => found,
                })
            }
        }
    }
    if usable.is_empty() {
        return fault.map_or(Ok(()), Err);
    }
    settings.certificates = Certificates::Credentials(usable);
    let port = gateway.frontend_ports.iter().find(|(port, _)| *port == listener.port).map(|(_, tls)| tls);
    let frontend = port.unwrap_or(&gateway.frontend);
    if !frontend.authorities.is_empty() {
        check_clients(objects, meta, frontend, tls, settings)?;
    }
    Ok(())
}

const INVALID_CERTIFICATE: &str = "InvalidCertificateRef";
pub(super) const INVALID_AUTHORITY: &str = "InvalidCACertificateRef";
pub(super) const INVALID_AUTHORITY_KIND: &str = "InvalidCACertificateKind";
pub(super) const NOT_PERMITTED: &str = "RefNotPermitted";

/// The credential that `reference` stands for. That a Secret of another
/// namespace does not exist is told only to those who may refer to it.
fn certificate(objects: &Objects<'_>, meta: &Meta, reference: &Reference) -> Result<Credential, Fault> {
    permit(objects, meta, reference, "certificateRef")?;
    if !reference.target.is("", "Secret") {
        let message = format!("certificateRef {} is a {}, expected a Secret", reference.name, reference.target.kind);
        return Err(Fault::new(INVALID_CERTIFICATE, message));
    }
    let namespace = reference.namespace.as_ref().unwrap_or(meta.namespace());
    let secret = objects.inputs.secrets.get(Kind::Secret, namespace, &reference.name);
    match secret.map(|secret| secret.pair.is_some()) {
        Some(true) => Ok(credential(CredentialSource::GrantedSecret, namespace, &reference.name)),
        Some(false) => Err(Fault::new(
            INVALID_CERTIFICATE,
            format!("Secret {namespace}/{} holds no certificate with the key that fits it", reference.name),
        )),
        None => Err(Fault::new(INVALID_CERTIFICATE, format!("Secret {namespace}/{} not found", reference.name))),
    }
}

fn credential(source: CredentialSource, namespace: &Name, name: &str) -> Credential {
    Credential { source, namespace: Some(namespace.clone()), name: name.into() }
}

fn permit(objects: &Objects<'_>, meta: &Meta, reference: &Reference, field: &str) -> Result<(), Fault> {
    if objects.is_granted(meta.object.kind, meta.namespace(), reference) {
        return Ok(());
    }
    let message = format!(
        "{field} {}/{} is in another namespace, and no ReferenceGrant there allows it to a {} in {}",
        reference.namespace.as_deref().unwrap_or_default(),
        reference.name,
        meta.object.kind,
        meta.namespace()
    );
    Err(Fault::new(NOT_PERMITTED, message))
}

fn check_clients(
    objects: &Objects<'_>,
    meta: &Meta,
    frontend: &FrontendTls,
    tls: &ListenerTls,
    settings: &mut ServerTls,
) -> Result<(), Fault> {
    let [reference] = &frontend.authorities[..] else {
        return Err(Fault::new(INVALID_AUTHORITY, "found several caCertificateRefs, expected one"));
    };
    permit(objects, meta, reference, "caCertificateRef")?;
    let namespace = reference.namespace.as_ref().unwrap_or(meta.namespace());
    let (kind, source) = match (&*reference.target.group, &*reference.target.kind) {
        ("", "ConfigMap") => (Kind::ConfigMap, CredentialSource::ConfigMap),
        ("", "Secret") => (Kind::Secret, CredentialSource::GrantedSecret),
        (_, kind) => {
            let message = format!("caCertificateRef {} is a {kind}, expected a ConfigMap or Secret", reference.name);
            return Err(Fault::new(INVALID_AUTHORITY_KIND, message));
        }
    };
    authorities(objects, kind, namespace, &reference.name).map_err(|message| Fault::new(INVALID_AUTHORITY, message))?;
    let option = mode(tls);
    settings.insecure_skip_verify = frontend.insecure_fallback && option.is_none();
    settings.mode = option.unwrap_or(match frontend.insecure_fallback {
        true => TlsMode::OptionalMutual,
        false => TlsMode::Mutual,
    });
    settings.ca_credential = Some(credential(source, namespace, &format!("{}-cacert", reference.name)));
    Ok(())
}

/// Whether a ConfigMap or Secret holds certificates of authorities; else why
/// not.
pub(super) fn authorities(objects: &Objects<'_>, kind: Kind, namespace: &Name, name: &Name) -> Result<(), String> {
    match objects.inputs.secrets.get(kind, namespace, name) {
        Some(found) if found.authorities.is_some() => Ok(()),
        Some(_) => Err(format!("{kind} {namespace}/{name} holds no certificates of authorities in ca.crt")),
        None => Err(format!("{kind} {namespace}/{name} not found")),
    }
}
