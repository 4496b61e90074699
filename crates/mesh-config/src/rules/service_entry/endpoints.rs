//! Endpoints written in a ServiceEntry.

use std::sync::Arc;

use mesh_model::rules::service_entry::EntryEndpoint;
use mesh_model::{Address, Code, Name, Port};

use super::Mode;
use crate::reader::{NOT_APPLIED, Value};
use crate::rules::workload_entry;

/// Endpoints of one entry.
const ENDPOINTS_MAX: usize = 4096;

pub(super) fn read(value: &Value<'_>, mode: Mode, ports: &[Port]) -> Option<Vec<EntryEndpoint>> {
    let items = value.items()?;
    if items.len() > ENDPOINTS_MAX {
        return value.invalid(&format!("at most {ENDPOINTS_MAX}"));
    }
    if mode == Mode::None && !items.is_empty() {
        return value.invalid("no endpoints: resolution NONE (the default) cannot have any");
    }
    if mode == Mode::DnsRoundRobin && items.len() > 1 {
        return value.invalid("at most one: resolution DNS_ROUND_ROBIN uses a single name");
    }
    Some(items.iter().filter_map(|item| endpoint(item, mode, ports)).collect())
}

fn endpoint(value: &Value<'_>, mode: Mode, ports: &[Port]) -> Option<EntryEndpoint> {
    let fields = value.fields()?;
    let entry = workload_entry::read(&fields);
    check_ports(&entry.ports, value, ports);
    if entry.address.is_none() && fields.has("network") && !fields.has("address") {
        let message = format!("{NOT_APPLIED}: endpoints that are reached by their network's gateway");
        value.warn(Code::NotApplied, message, "the endpoint is left out, the others apply");
        return None;
    }
    let address = entry.address?;
    match (mode, &address) {
        (Mode::Static, Address::Dns(_)) => {
            let address = fields.optional("address")?;
            address.invalid("an IP address or a Unix socket, since resolution is STATIC (for names it is DNS)")
        }
        (Mode::Dns | Mode::DnsRoundRobin, Address::Unix(_)) => {
            let address = fields.optional("address")?;
            address.invalid("a host name or an IP address, since resolution is DNS")
        }
        _ => Some(EntryEndpoint {
            address,
            ports: entry.ports,
            labels: entry.labels,
            weight: entry.weight,
            locality: Arc::new(entry.locality),
            service_account: entry.service_account,
            network: entry.network,
        }),
    }
}

fn check_ports(given: &[(Name, u16)], value: &Value<'_>, ports: &[Port]) {
    for (name, _) in given {
        if !ports.iter().any(|port| port.name == *name) {
            let names: Vec<&str> = ports.iter().map(|port| &*port.name).collect();
            value.error::<()>(format!(
                "found port {name}, expected names of the entry's own ports: {}",
                names.join(", ")
            ));
        }
    }
}
