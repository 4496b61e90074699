//! What the engine reads but this process does not carry out. Refused by name,
//! so that no resource silently means less than it says.

use mesh_engine::hcm::RouteSource;
use mesh_engine::listener::NetworkFilter;
use mesh_engine::route::{Action, PathMatch};
use mesh_engine::{ClusterConfig, HttpConnectionManager, Listener, RouteTable, TcpProxy};

/// The first thing in `listener` that would not be done.
pub(super) fn listener(listener: &Listener) -> Result<(), String> {
    for (i, chain) in listener.filter_chains.iter().chain(&listener.default_filter_chain).enumerate() {
        let found = match &chain.filter {
            NetworkFilter::Http(hcm) => connections(hcm),
            NetworkFilter::Tcp(tcp) => sessions(tcp),
        };
        if let Some(field) = found {
            return Err(refusal("listener", &listener.name, &format!("filter chain {i} ({:?}): {field}", chain.name)));
        }
        if let NetworkFilter::Http(hcm) = &chain.filter
            && let RouteSource::Inline(table) = &hcm.routes
        {
            routes(table)?;
        }
    }
    Ok(())
}

fn connections(hcm: &HttpConnectionManager) -> Option<&'static str> {
    let connect = hcm.upgrades.iter().any(|(name, enabled)| *enabled && &**name == "connect");
    first(&[
        (hcm.access_log_flush_interval.is_some(), "access_log_options.access_log_flush_interval"),
        (hcm.flush_access_log_on_new_request, "access_log_options.flush_access_log_on_new_request"),
        (hcm.proxy_100_continue, "proxy_100_continue"),
        (hcm.request_timeout.is_some_and(|t| !t.is_zero()), "request_timeout"),
        (hcm.always_set_request_id_in_response, "always_set_request_id_in_response"),
        (connect, "upgrade_configs: CONNECT"),
    ])
}

fn sessions(tcp: &TcpProxy) -> Option<&'static str> {
    first(&[
        (tcp.access_log_flush_interval.is_some(), "access_log_options.access_log_flush_interval"),
        (tcp.flush_access_log_on_connected, "access_log_options.flush_access_log_on_connected"),
    ])
}

/// The first thing in `table` that would not be done.
pub(super) fn routes(table: &RouteTable) -> Result<(), String> {
    for host in &table.virtual_hosts {
        for route in &host.routes {
            if matches!(route.matches.path, PathMatch::Connect) && matches!(route.action, Action::Forward(_)) {
                let field = format!("virtual host {:?}: match.connect_matcher", host.name);
                return Err(refusal("route", &table.name, &field));
            }
        }
    }
    Ok(())
}

/// The first thing in `config` that would not be done.
pub(super) fn cluster(config: &ClusterConfig) -> Result<(), String> {
    let found = first(&[
        (config.pool_per_downstream_connection, "connection_pool_per_downstream_connection"),
        (config.close_connections_on_host_set_change, "close_connections_on_host_set_change"),
        (config.http.http1.preserve_case, "http_protocol_options.header_key_format (preserved case)"),
    ]);
    if let Some(field) = found {
        return Err(refusal("cluster", &config.name, field));
    }
    let contexts = config.transports.all().filter_map(|s| s.tls.as_ref());
    match contexts.map(|t| &t.sni).find(|sni| !sni.is_empty() && crate::tls::client::server_name(sni).is_none()) {
        Some(sni) => Err(format!("cluster {}: sni: found {sni:?}, expected a DNS name", config.name)),
        None => Ok(()),
    }
}

fn first(fields: &[(bool, &'static str)]) -> Option<&'static str> {
    fields.iter().find(|(set, _)| *set).map(|(_, field)| *field)
}

fn refusal(kind: &str, name: &str, field: &str) -> String {
    format!("{kind} {name}: {field}: is set, but this proxy does not support it")
}
