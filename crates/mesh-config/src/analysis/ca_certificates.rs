//! TLS towards servers whose certificate nobody checks.

use super::codes::{NO_VERIFICATION, NO_VERIFICATION_OF_PORT};
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::DESTINATION_RULE;
use crate::schema::At;

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for rule in mesh.all(DESTINATION_RULE) {
        let spec = rule.spec();
        let selects = spec.get("workloadSelector").exists();
        let host = spec.get("host").text();
        let unchecked = |tls: &At<'_>| {
            let by_secret = selects && !tls.get("credentialName").text().is_empty();
            matches!(tls.get("mode").text(), "SIMPLE" | "MUTUAL")
                && tls.get("caCertificates").text().is_empty()
                && !by_secret
        };
        let say = |tls: &At<'_>, at: &str| {
            let mode = tls.get("mode").text();
            format!("TLS mode is {mode} and no caCertificates are set: the server of host {host}{at} is not verified")
        };
        let tls = spec.path(&["trafficPolicy", "tls"]);
        if unchecked(&tls) {
            findings.push_at(&NO_VERIFICATION, rule, &tls, say(&tls, ""));
        }
        for port in spec.path(&["trafficPolicy", "portLevelSettings"]).items() {
            let tls = port.get("tls");
            if unchecked(&tls) {
                let number = port.path(&["port", "number"]).int().unwrap_or(0);
                findings.push_at(&NO_VERIFICATION_OF_PORT, rule, &tls, say(&tls, &format!(" at port {number}")));
            }
        }
    }
}
