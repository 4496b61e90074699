//! Secrets of Gateways: there, complete, and valid today.

use super::codes::{GATEWAY_CREDENTIAL, NOT_FOUND};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::{GATEWAY, Object, POD, SECRET};
use super::selector;
use crate::base64;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for gateway in mesh.all(GATEWAY) {
        let at = gateway.spec().get("selector");
        let wanted = selector::labels(&at);
        let Some(pod) = mesh.all(POD).iter().find(|pod| wanted.selects(&pod.labels)) else {
            let message = format!("Referenced selector not found: {:?}", selector::text(&wanted));
            findings.push_at(&NOT_FOUND, gateway, &selector::first(&at), message);
            continue;
        };
        for server in gateway.spec().get("servers").items() {
            let at = server.path(&["tls", "credentialName"]);
            if at.text().is_empty() {
                continue;
            }
            let (namespace, name) = at.text().split_once('/').unwrap_or((&pod.namespace, at.text()));
            let Some(secret) = mesh.find(SECRET, namespace, name) else {
                let message =
                    format!("Referenced credentialName not found: {:?} (in namespace {namespace})", at.text());
                findings.push_at(&NOT_FOUND, gateway, &at, message);
                continue;
            };
            if let Err(why) = certificate(secret, mesh.now()) {
                let message = format!("The Secret {namespace}/{name} is no valid credential: {why}");
                findings.push_at(&GATEWAY_CREDENTIAL, gateway, &at, message);
            }
        }
    }
}

/// Whether a Secret holds a key, and a certificate that is valid at `now`.
fn certificate(secret: &Object, now: i64) -> Result<(), String> {
    let value = |name: &str| -> Option<Vec<u8>> {
        let plain = secret.at(&["stringData", name]);
        if plain.exists() {
            return Some(plain.text().as_bytes().to_vec());
        }
        base64::decode(secret.at(&["data", name]).text()).filter(|bytes| !bytes.is_empty())
    };
    let pairs = [("cert", "key"), ("tls.crt", "tls.key")];
    let Some(chain) = pairs.iter().find_map(|(cert, key)| value(key).and_then(|_| value(cert))) else {
        return Err("found neither tls.crt with tls.key nor cert with key".to_owned());
    };
    let (_, pem) = x509_parser::pem::parse_x509_pem(&chain).map_err(|_| "its certificate is not PEM".to_owned())?;
    let certificate = pem.parse_x509().map_err(|_| "its certificate is not X.509".to_owned())?;
    let validity = certificate.validity();
    if now > validity.not_after.timestamp() {
        return Err(format!("its certificate has expired ({})", validity.not_after));
    }
    if now < validity.not_before.timestamp() {
        return Err(format!("its certificate is not valid before {}", validity.not_before));
    }
    Ok(())
}
