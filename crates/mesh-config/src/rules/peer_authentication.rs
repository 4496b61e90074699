//! PeerAuthentication: whether callers must present a certificate.
//!
//! Source: `ValidatePeerAuthentication`, istio `pkg/config/validation`, and the
//! CEL rules of its CRD.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh_model::Code;
use mesh_model::rules::peer_authentication::MutualTls;
use mesh_model::rules::{PeerAuthentication, Spec};

use super::{Scope, selector};
use crate::reader::{Fields, NOT_APPLIED, Value};

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    let selector = selector::read_named(spec, "selector", "matchLabels").unwrap_or_default();
    let mode = spec.optional("mtls").and_then(|v| mode(&v));
    let ports = spec.optional("portLevelMtls");
    if let Some(ports) = ports.as_ref().filter(|_| selector.is_empty()) {
        ports.error::<()>(
            "found it without selector.matchLabels, expected a selector: ports are a workload's".to_owned(),
        );
    }
    let port_modes = ports.map_or(Some(BTreeMap::new()), |v| port_modes(&v))?;
    spec.finish();
    Some(Spec::PeerAuthentication(Arc::new(PeerAuthentication {
        meta: scope.meta.clone(),
        selector,
        mode,
        port_modes,
    })))
}

fn port_modes(value: &Value<'_>) -> Option<BTreeMap<u16, Option<MutualTls>>> {
    let entries = value.entries()?;
    if entries.is_empty() {
        return value.invalid("at least one port");
    }
    let mut modes = BTreeMap::new();
    for (port, of_port) in entries {
        match port.parse::<u16>() {
            Ok(number) if number > 0 => modes.insert(number, mode(&of_port)),
            _ => of_port.error(format!("found port {port:?}, expected a number from 1 to 65535")),
        };
    }
    Some(modes)
}

/// `mtls`; `None` for `UNSET`.
fn mode(value: &Value<'_>) -> Option<MutualTls> {
    let fields = value.fields()?;
    let stated = fields.optional("mode");
    let mode = stated.as_ref().and_then(|v| {
        v.one_of(&[
            ("UNSET", None),
            ("DISABLE", Some(MutualTls::Disable)),
            ("PERMISSIVE", Some(MutualTls::Permissive)),
            ("STRICT", Some(MutualTls::Strict)),
        ])
    });
    fields.finish();
    let mode = mode.flatten();
    if let (Some(stated), Some(MutualTls::Strict)) = (stated, mode) {
        let consequence = "workloads have no certificates, and plaintext is accepted";
        stated.warn(Code::NotApplied, NOT_APPLIED.to_owned(), consequence);
    }
    mode
}
