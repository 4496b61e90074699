//! Gateway: servers, their ports, hosts and TLS settings.
//!
//! Source: `ValidateGateway`, istio `pkg/config/validation/validation.go`; the
//! schema of its CRD.

use std::sync::Arc;

use mesh_model::rules::gateway::{Bind, Server, ServerHost, Workloads};
use mesh_model::rules::{Gateway, Spec};
use mesh_model::{Code, Hostname, Labels, Name, Protocol};

use super::{Scope, exports, server_tls};
use crate::reader::{Fields, Value, is_wildcard_domain};

/// Servers of one Gateway.
const SERVERS_MAX: usize = 1_000;
/// Hosts of all servers of one Gateway together: each becomes a virtual host or
/// a server name that every proxy of the gateway holds.
const HOSTS_MAX: usize = 5_000;

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Spec> {
    check_name(spec, scope);
    let selector = spec.optional("selector").map_or(Some(Labels::default()), |v| v.labels());
    let servers = spec.required("servers", "at least one server").and_then(|v| servers(&v, scope));
    spec.object_not_applied("the proxies of gateways are given what sidecars are");
    spec.finish();
    Some(Spec::Gateway(Arc::new(Gateway {
        meta: scope.meta.clone(),
        workloads: Workloads::Labelled { labels: selector?, namespace: None },
        servers: servers?,
    })))
}

/// Names of route tables are made of the Gateway's, with dots between the parts.
fn check_name(spec: &Fields<'_>, scope: &Scope<'_>) {
    let name = scope.meta.name();
    if !exports::is_namespace(name) {
        spec.error::<()>(format!("found metadata.name {name:?}, expected a DNS label without dots"));
    }
}

fn servers(value: &Value<'_>, scope: &Scope<'_>) -> Option<Vec<Server>> {
    let items = value.items()?;
    if items.is_empty() {
        return value.invalid("at least one server");
    }
    if items.len() > SERVERS_MAX {
        return value.error(format!("found {} servers, expected at most {SERVERS_MAX}", items.len()));
    }
    let mut servers: Vec<Server> = Vec::with_capacity(items.len());
    let mut hosts = 0;
    for item in &items {
        let Some(server) = server(item, scope) else { continue };
        hosts += server.hosts.len();
        if servers.iter().any(|other| other.port_name == server.port_name) {
            item.error::<()>(format!("port name {} stands twice, expected each name once", server.port_name));
        }
        if !server.name.is_empty() && servers.iter().any(|other| other.name == server.name) {
            item.warn(
                Code::Duplicate,
                format!("server name {} stands twice", server.name),
                "statistics of both are counted together",
            );
        }
        servers.push(server);
    }
    if hosts > HOSTS_MAX {
        return value.error(format!("found {hosts} hosts in all servers, expected at most {HOSTS_MAX}"));
    }
    Some(servers)
}

/// Its port as written.
struct Port {
    number: u16,
    name: Name,
    protocol: Protocol,
}

fn server(value: &Value<'_>, scope: &Scope<'_>) -> Option<Server> {
    let fields = value.fields()?;
    let bind = fields.optional("bind").map_or(Some(None), |v| bind(&v));
    let on_unix = matches!(bind, Some(Some(Bind::Unix(_))));
    let port = fields.required("port", "number, name and protocol").and_then(|v| port(&v, on_unix));
    let hosts = fields.required("hosts", "at least one host").and_then(|v| hosts(&v, scope));
    let tls = match fields.optional("tls") {
        Some(tls) => server_tls::read(&tls).map(|settings| Some((tls, settings))),
        None => Some(None),
    };
    let name = fields.optional("name").map_or(Some("".into()), |v| v.text());
    // Istio's Gateway has it, and no proxy of Istio's reads it.
    fields.not_applied(&["defaultEndpoint"]);
    fields.finish();
    let (port, tls) = (port?, tls?);
    check_tls(&fields, &port, tls.as_ref().map(|(value, settings)| (value, settings)));
    Some(Server {
        name: name?,
        port: port.number,
        port_name: port.name,
        protocol: port.protocol,
        bind: bind?,
        hosts: hosts?,
        tls: tls.map(|(_, settings)| settings),
    })
}

/// HTTPS and TLS need settings; plaintext HTTP may have only the redirect, and
/// everything else none.
fn check_tls(fields: &Fields<'_>, port: &Port, tls: Option<(&Value<'_>, &mesh_model::rules::server_tls::ServerTls)>) {
    use mesh_model::rules::server_tls::{Certificates, TlsMode};
    let protocol = port.protocol;
    match tls {
        None if protocol.is_tls() => {
            fields.missing("tls", &format!("TLS settings, since the port's protocol is {protocol}"));
        }
        Some((value, settings)) if protocol.is_http() => {
            let passes = matches!(settings.mode, TlsMode::Passthrough | TlsMode::AutoPassthrough);
            if !passes || settings.certificates != Certificates::None || settings.ca_file.is_some() {
                value.error::<()>(format!(
                    "found TLS settings on a port of protocol {protocol}, expected httpsRedirect alone, or protocol HTTPS"
                ));
            }
        }
        Some((value, _)) if !protocol.is_tls() => {
            value.error::<()>(format!(
                "found TLS settings on a port of protocol {protocol}, expected none, or protocol HTTPS or TLS"
            ));
        }
        Some((value, settings)) if settings.https_redirect => value.note(
            Code::NotApplied,
            format!(
                "httpsRedirect is for plaintext HTTP; what arrives on a port of protocol {protocol} is TLS already"
            ),
            "it changes nothing",
        ),
        _ => {}
    }
}

fn port(value: &Value<'_>, on_unix: bool) -> Option<Port> {
    let fields = value.fields()?;
    let number = match fields.optional("number") {
        Some(number) if on_unix => number.integer(0, 0).map(|_| 0),
        Some(number) => number.port(),
        None if on_unix => Some(0),
        None => {
            fields.missing("number", "a port number");
            None
        }
    };
    let name = fields.required("name", "a port name").and_then(|v| v.filled_text("a port name"));
    let protocol = fields.required("protocol", PROTOCOLS).and_then(|v| {
        let protocol = Protocol::parse(&v.text()?).filter(|p| *p != Protocol::Udp);
        protocol.or_else(|| v.invalid(PROTOCOLS))
    });
    if let Some(target) = fields.optional("targetPort").filter(|t| t.unsigned().is_some_and(|n| n > 0)) {
        target.invalid::<()>("nothing: the port of the gateway's Service says where it leads");
    }
    fields.finish();
    Some(Port { number: number?, name: name?, protocol: protocol? })
}

const PROTOCOLS: &str = "one of HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, MYSQL, REDIS, TCP, TLS";

fn bind(value: &Value<'_>) -> Option<Option<Bind>> {
    let text = value.address_text().unwrap_or_else(|| "".into());
    match text.strip_prefix("unix://") {
        _ if value.node().text().is_some_and(|t| t.is_empty()) => Some(None),
        Some(path) if path.starts_with(['/', '@']) && path.len() > 1 && !path.ends_with('/') => {
            Some(Some(Bind::Unix(path.into())))
        }
        Some(_) => value.invalid("unix:// with an absolute path or an abstract name that begins with @"),
        None => value.ip().map(|ip| Some(Bind::Ip(ip))),
    }
}

fn hosts(value: &Value<'_>, scope: &Scope<'_>) -> Option<Vec<ServerHost>> {
    let items = value.items()?;
    if items.is_empty() {
        return value.invalid("at least one host");
    }
    if items.len() > HOSTS_MAX {
        return value.error(format!("found {} hosts, expected at most {HOSTS_MAX}", items.len()));
    }
    let hosts: Vec<Option<ServerHost>> = items.iter().map(|item| host(item, scope)).collect();
    hosts.into_iter().collect()
}

/// `host`, `namespace/host`, `./host` or `*/host`.
fn host(value: &Value<'_>, scope: &Scope<'_>) -> Option<ServerHost> {
    let text = value.text()?;
    let expected = "a host that may begin with *, alone or after a namespace, . or * and a slash";
    let (namespace, host) = match text.split_once('/') {
        None => (None, &*text),
        Some(("*", host)) => (None, host),
        Some((".", host)) => (Some(scope.meta.namespace().clone()), host),
        Some((name, host)) if exports::is_namespace(name) => (Some(Name::from(name)), host),
        Some(_) => return value.invalid(expected),
    };
    if !is_wildcard_domain(host) {
        return value.invalid(expected);
    }
    Some(ServerHost { namespace, host: Hostname::new(host) })
}
