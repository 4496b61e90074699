//! What connections are like: TLS, tunnels, PROXY protocol; and the retry
//! budget.
//!
//! Source: `ValidateTLS`, istio `pkg/config/validation/agent/validation.go`, and
//! `validateTunnelSettings`, `pkg/config/validation/validation.go`.

use std::net::IpAddr;

use mesh_model::Name;
use mesh_model::rules::destination_rule::{ClientTls, ProxyProtocol, RetryBudget, TlsMode, Tunnel};

use crate::reader::{Fields, Value, is_domain};

/// Also of a Sidecar's ingress and of Kubernetes' backend policies.
pub(crate) fn tls(value: &Value<'_>) -> Option<ClientTls> {
    let fields = value.fields()?;
    let modes = [
        ("DISABLE", TlsMode::Disable),
        ("SIMPLE", TlsMode::Simple),
        ("MUTUAL", TlsMode::Mutual),
        ("ISTIO_MUTUAL", TlsMode::IstioMutual),
    ];
    let mode = fields.optional("mode").map_or(Some(TlsMode::Disable), |v| v.one_of(&modes));
    let text = |name| fields.optional(name).and_then(|v| v.text()).filter(|text| !text.is_empty());
    let file = |name| fields.optional(name).and_then(|v| file(&v)).filter(|path| !path.is_empty());
    let names = fields.optional("subjectAltNames");
    let tls = ClientTls {
        mode: mode.unwrap_or(TlsMode::Disable),
        client_certificate: file("clientCertificate"),
        private_key: file("privateKey"),
        ca_certificates: file("caCertificates"),
        credential_name: text("credentialName"),
        subject_alt_names: names.and_then(|v| v.texts()).unwrap_or_default(),
        sni: text("sni"),
        insecure_skip_verify: fields.optional("insecureSkipVerify").and_then(|v| v.boolean()).unwrap_or(false),
        ca_crl: file("caCrl"),
    };
    mode?;
    check(&fields, &tls);
    fields.finish();
    Some(tls)
}

fn check(fields: &Fields<'_>, tls: &ClientTls) {
    let found = |names: &[&'static str]| names.iter().copied().filter(|name| fields.has(name)).collect::<Vec<_>>();
    let originates = matches!(tls.mode, TlsMode::Simple | TlsMode::Mutual);
    if tls.insecure_skip_verify && originates {
        let mut checks = found(&["caCertificates", "subjectAltNames"]);
        if tls.mode == TlsMode::Simple && tls.credential_name.is_some() {
            checks.push("credentialName");
        }
        if !checks.is_empty() {
            fields.error::<()>(format!(
                "found {} beside insecureSkipVerify: true, expected only one of them",
                checks.join(" and ")
            ));
        }
    }
    if originates && tls.credential_name.is_some() {
        let files = found(&["clientCertificate", "privateKey", "caCertificates", "caCrl"]);
        if !files.is_empty() {
            fields.error::<()>(format!(
                "found {} beside credentialName, expected only one of them: the Secret holds all",
                files.join(" and ")
            ));
        }
    } else if tls.mode == TlsMode::Mutual {
        for (name, file) in [("clientCertificate", &tls.client_certificate), ("privateKey", &tls.private_key)] {
            if file.is_none() {
                fields.missing(name, "a file's path, since mode is MUTUAL");
            }
        }
    }
}

/// Paths become parts of names, in which `~` separates.
fn file(value: &Value<'_>) -> Option<Name> {
    let path = value.text()?;
    if path.contains('~') { value.invalid("a file's path without ~") } else { Some(path) }
}

pub(super) fn tunnel(value: &Value<'_>) -> Option<Tunnel> {
    let fields = value.fields()?;
    let protocol = fields.optional("protocol").filter(|v| v.node().text().is_none_or(|text| !text.is_empty()));
    let post = protocol.map_or(Some(false), |v| v.one_of(&[("CONNECT", false), ("POST", true)]));
    let expected = "a full host name or an IP address";
    let target_host = fields.required("targetHost", expected).and_then(|v| {
        let host = v.text()?;
        let valid = host.parse::<IpAddr>().is_ok() || is_domain(&host);
        if valid { Some(host) } else { v.invalid(expected) }
    });
    let target_port = fields.required("targetPort", "a port").and_then(|v| v.port());
    fields.finish();
    Some(Tunnel { post: post?, target_host: target_host?, target_port: target_port? })
}

pub(super) fn proxy_protocol(value: &Value<'_>) -> Option<ProxyProtocol> {
    let fields = value.fields()?;
    let versions = [("V1", ProxyProtocol::V1), ("V2", ProxyProtocol::V2)];
    let version = fields.optional("version").map_or(Some(ProxyProtocol::V1), |v| v.one_of(&versions));
    fields.finish();
    version
}

pub(super) fn retry_budget(value: &Value<'_>) -> Option<RetryBudget> {
    let fields = value.fields()?;
    let budget = RetryBudget {
        percent: fields.optional("percent").and_then(|v| v.number(0.0, 100.0)),
        min_retry_concurrency: fields
            .optional("minRetryConcurrency")
            .and_then(|v| v.unsigned())
            .filter(|count| *count > 0),
        budget_interval: fields
            .optional("budgetInterval")
            .and_then(|v| v.duration_or_zero())
            .filter(|interval| !interval.is_zero()),
    };
    fields.finish();
    Some(budget)
}
