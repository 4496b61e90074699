//! `/certs`: the certificates that are in use, in Envoy's shape.

use mesh_engine::tls::CertificateFacts;
use serde_json::{Value, json};

use super::{Admin, Answer};
use crate::tls::Shown;

pub(super) fn answer(admin: &Admin) -> Answer {
    let contexts = admin.shared.tls.load_full();
    let servers = contexts.servers.iter().map(|(key, s)| (*key, &s.shown));
    let clients = contexts.clients.iter().map(|((key, _), c)| (*key, &c.shown));
    let mut all: Vec<_> =
        servers.chain(clients).filter(|(_, (own, roots))| !own.is_empty() || !roots.is_empty()).collect();
    all.sort_by_key(|(key, _)| *key);
    let list = |shown: &[Shown]| shown.iter().map(certificate).collect::<Vec<Value>>();
    let certificates: Vec<Value> =
        all.into_iter().map(|(_, (own, roots))| json!({"ca_cert": list(roots), "cert_chain": list(own)})).collect();
    Answer::json(&json!({ "certificates": certificates }))
}

fn certificate(shown: &Shown) -> Value {
    let facts = &*shown.facts;
    json!({
        "path": &*shown.path,
        "serial_number": facts.serial,
        "subject_alt_names": names(facts),
        "days_until_expiration": days_left(facts.not_after).to_string(),
        "valid_from": time(facts.not_before),
        "expiration_time": time(facts.not_after),
    })
}

fn names(facts: &CertificateFacts) -> Vec<Value> {
    let dns = facts.dns.iter().map(|n| json!({ "dns": &**n }));
    let uris = facts.uris.iter().map(|n| json!({ "uri": &**n }));
    let addresses = facts.addresses.iter().map(|a| json!({ "ip_address": a.to_string() }));
    dns.chain(uris).chain(addresses).collect()
}

/// Whole days until a time in seconds since 1970; 0 if it is past.
pub(crate) fn days_left(until: i64) -> u64 {
    let left = until.saturating_sub(jiff::Timestamp::now().as_second());
    u64::try_from(left).unwrap_or(0) / SECONDS_PER_DAY
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |t| t.to_string())
}

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
