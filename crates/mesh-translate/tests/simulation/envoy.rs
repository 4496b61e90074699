//! What Envoy does with a connection, told from the resources as JSON alone.
//!
//! Follows the rules that come with Istio's scenarios, and shares no code with
//! our engine: a second reading of the same resources, and one that knows
//! mutual TLS and errors by Istio's names.

use std::net::IpAddr;

use ipnet::IpNet;
use mesh_translate::ProxyResources;
use serde_json::{Map, Value, json};

use mesh_proto::{json as proto_json, types};

/// A call, with the defaults of the scenarios filled in.
pub(crate) struct Call<'a> {
    what: &'a Value,
    address: IpAddr,
    port: u64,
    tls: &'a str,
    protocol: &'a str,
    sni: &'a str,
    alpn: &'a str,
    host: &'a str,
}

impl<'a> Call<'a> {
    pub(crate) fn new(what: &'a Value) -> Self {
        let text = |field: &str| what[field].as_str();
        let (tls, protocol) = (text("tls").unwrap_or("plaintext"), text("protocol").unwrap_or("tcp"));
        let host = text("host").unwrap_or_default();
        let alpn = match (tls, protocol) {
            ("tls", "http") => "http/1.1",
            ("tls", "http2") => "h2",
            ("mtls", "http") => "istio-http/1.1",
            ("mtls", "http2") => "istio-h2",
            ("mtls", _) => "istio",
            _ => "",
        };
        Self {
            what,
            address: text("address").unwrap_or("1.3.3.7").parse().unwrap(),
            port: what["port"].as_u64().unwrap(),
            tls,
            protocol,
            sni: text("sni").unwrap_or(if tls == "tls" { host } else { "" }),
            alpn: text("alpn").unwrap_or(alpn),
            host,
        }
    }

    fn http(&self) -> bool {
        matches!(self.protocol, "http" | "http2")
    }
}

/// Everything that a proxy was told, as JSON.
pub(crate) struct Envoy {
    listeners: Vec<Value>,
    routes: Vec<Value>,
}

impl Envoy {
    pub(crate) fn new(resources: &ProxyResources) -> Self {
        let all = |type_url: &str, message: &str| -> Vec<Value> {
            let set = resources.set(type_url).into_iter().flat_map(|s| s.iter());
            set.map(|r| proto_json::bytes_to_json(message, &r.body)).collect()
        };
        Self {
            listeners: all(types::LISTENER, "envoy.config.listener.v3.Listener"),
            routes: all(types::ROUTE, "envoy.config.route.v3.RouteConfiguration"),
        }
    }

    /// Names of the listeners on `port`.
    pub(crate) fn listeners_on(&self, port: u64) -> Vec<&Value> {
        self.listeners.iter().filter(|l| socket(l)["port_value"] == port).collect()
    }

    /// Where `call` ends: the fields of a scenario's `expect`.
    pub(crate) fn answer(&self, call: &Call<'_>) -> Map<String, Value> {
        let mut met = Map::new();
        if let Err(error) = self.walk(call, &mut met) {
            met.insert("error".to_owned(), json!(error));
        }
        met
    }

    fn walk(&self, call: &Call<'_>, met: &mut Map<String, Value>) -> Result<(), &'static str> {
        let listener = self.listener(call).ok_or("NoListener")?;
        met.insert("listener".to_owned(), listener["name"].clone());
        let chain = chain(listener, call)?;
        met.insert("filter_chain".to_owned(), chain["name"].clone());
        let context = &chain["transport_socket"]["typed_config"];
        let terminates = !context.is_null();
        let secret = &context["common_tls_context"]["tls_certificate_sds_secret_configs"][0]["name"];
        let expected = call.what["mtls_secret_config_name"].as_str().unwrap_or("default");
        let mutual = context["require_client_certificate"] == true && secret == expected;
        if terminates && call.tls == "plaintext" {
            return Err("TLS");
        }
        if terminates && mutual != (call.tls == "mtls") {
            return Err("MTLS");
        }
        let filters = chain["filters"].as_array().unwrap();
        let of = |kind: &str| {
            let config = |f: &&Value| f["typed_config"]["@type"].as_str().is_some_and(|t| t.ends_with(kind));
            filters.iter().find(config).map(|f| &f["typed_config"])
        };
        if let Some(manager) = of(".HttpConnectionManager") {
            if (call.tls != "plaintext" && !terminates) || !call.http() {
                return Err("Protocol");
            }
            return self.route(manager, call, met);
        }
        if let Some(proxy) = of(".TcpProxy") {
            met.insert("cluster".to_owned(), json!(proxy["cluster"].as_str().unwrap_or_default()));
        }
        Ok(())
    }

    fn listener(&self, call: &Call<'_>) -> Option<&Value> {
        let named = |name: &str| self.listeners.iter().find(|l| l["name"] == name);
        if call.what["mode"] == "inbound" {
            return named("virtualInbound");
        }
        let bound = |ip: IpAddr| {
            self.listeners.iter().find(|l| {
                let socket = socket(l);
                socket["port_value"] == call.port && socket["address"].as_str().and_then(|a| a.parse().ok()) == Some(ip)
            })
        };
        let any = |v6: bool| bound(if v6 { "::".parse().unwrap() } else { "0.0.0.0".parse().unwrap() });
        bound(call.address).or_else(|| any(false)).or_else(|| any(true)).or_else(|| named("virtualOutbound"))
    }

    fn route(&self, manager: &Value, call: &Call<'_>, met: &mut Map<String, Value>) -> Result<(), &'static str> {
        let inline = &manager["route_config"];
        let table = match manager["rds"]["route_config_name"].as_str() {
            Some(name) => self.routes.iter().find(|r| r["name"] == name).ok_or("NoRouteConfiguration")?,
            None => inline,
        };
        met.insert("route_config".to_owned(), table["name"].clone());
        let host = virtual_host(table, call.host).ok_or("NoVirtualHost")?;
        met.insert("virtual_host".to_owned(), host["name"].clone());
        if call.tls == "plaintext" && host["require_tls"] == "ALL" {
            return Err("TLSRedirect");
        }
        let path = call.what["path"].as_str().unwrap_or("/");
        let routes = host["routes"].as_array().into_iter().flatten();
        let route = routes.into_iter().find(|r| path_matches(&r["match"], path)).ok_or("NoRoute")?;
        met.insert("route".to_owned(), json!(route["name"].as_str().unwrap_or_default()));
        met.insert("cluster".to_owned(), json!(route["route"]["cluster"].as_str().unwrap_or_default()));
        Ok(())
    }
}

fn socket(listener: &Value) -> &Value {
    &listener["address"]["socket_address"]
}

/// The filter chain that takes `call`.
fn chain<'v>(listener: &'v Value, call: &Call<'_>) -> Result<&'v Value, &'static str> {
    let inspector = |name: &str| {
        let filters = listener["listener_filters"].as_array().into_iter().flatten();
        let looks = |f: &&Value| f["name"] == name && !disabled(&f["filter_disabled"], call.port);
        filters.into_iter().find(looks).is_some()
    };
    let tls_seen = inspector("envoy.filters.listener.tls_inspector") && call.tls != "plaintext";
    let transport = if tls_seen { "tls" } else { "raw_buffer" };
    let sni = if tls_seen { call.sni } else { "" };
    let alpn = match (tls_seen, call.tls) {
        (true, _) => call.alpn,
        (false, "plaintext") if inspector("envoy.filters.listener.http_inspector") => match call.protocol {
            "http" => "http/1.1",
            "http2" => "h2c",
            _ => "",
        },
        _ => "",
    };
    let all: Vec<&Value> = listener["filter_chains"].as_array().into_iter().flatten().collect();
    let left = narrow(all, "destination_port", |v| usize::from(*v == call.port));
    let left = narrow(left, "prefix_ranges", |v| prefix(v, call.address));
    let left = narrow(left, "server_names", |v| server_name(v, sni));
    let left = narrow(left, "transport_protocol", |v| usize::from(*v == transport));
    let listed = |v: &Value| usize::from(v.as_array().unwrap().iter().any(|p| *p == alpn));
    let left = narrow(left, "application_protocols", listed);
    match left[..] {
        [] if listener["default_filter_chain"].is_object() => Ok(&listener["default_filter_chain"]),
        [] => Err("NoFilterChain"),
        [one] => Ok(one),
        _ => Err("MultipleFilterChain"),
    }
}

/// The chains whose criterion `field` matches best (by `rank`, 0: not at all);
/// if none does, those without it.
fn narrow<'v>(chains: Vec<&'v Value>, field: &str, rank: impl Fn(&Value) -> usize) -> Vec<&'v Value> {
    let stated = |c: &Value| {
        let value = &c["filter_chain_match"][field];
        let empty = value.is_null() || *value == "" || value.as_array().is_some_and(Vec::is_empty);
        (!empty).then(|| value.clone())
    };
    let ranked: Vec<(usize, &Value)> =
        chains.iter().filter_map(|c| stated(c).map(|v| (rank(&v), *c))).filter(|(r, _)| *r > 0).collect();
    match ranked.iter().map(|(r, _)| *r).max() {
        Some(best) => ranked.into_iter().filter(|(r, _)| *r == best).map(|(_, c)| c).collect(),
        None => chains.into_iter().filter(|c| stated(c).is_none()).collect(),
    }
}

fn prefix(ranges: &Value, address: IpAddr) -> usize {
    let network = |r: &Value| {
        let ip: IpAddr = r["address_prefix"].as_str()?.parse().ok()?;
        let length = r["prefix_len"].as_u64().unwrap_or(0);
        let network = IpNet::new(ip, u8::try_from(length).ok()?).ok()?;
        network.contains(&address).then_some(1 + length as usize)
    };
    ranges.as_array().unwrap().iter().filter_map(network).max().unwrap_or(0)
}

fn server_name(names: &Value, sni: &str) -> usize {
    let rank = |name: &Value| match name.as_str().unwrap().strip_prefix("*.") {
        None => usize::from(*name == sni) * usize::MAX,
        Some(suffix) => sni.strip_suffix(suffix).filter(|rest| rest.ends_with('.')).map_or(0, |_| suffix.len()),
    };
    names.as_array().unwrap().iter().map(rank).max().unwrap_or(0)
}

/// Whether a listener filter looks away from connections to `port`.
fn disabled(rule: &Value, port: u64) -> bool {
    if let Some(rules) = rule["or_match"]["rules"].as_array() {
        return rules.iter().any(|r| disabled(r, port));
    }
    let range = &rule["destination_port_range"];
    matches!((range["start"].as_u64(), range["end"].as_u64()), (Some(start), Some(end)) if (start..end).contains(&port))
}

fn virtual_host<'v>(table: &'v Value, host: &str) -> Option<&'v Value> {
    let without_port = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let host = if table["ignore_port_in_host_matching"] == true { without_port } else { host };
    let rank = |domain: &str| match (domain, domain.strip_prefix('*'), domain.strip_suffix('*')) {
        ("*", ..) => Some((0, 0)),
        (_, Some(suffix), _) => host.ends_with(suffix).then_some((2, suffix.len())),
        (_, _, Some(prefix)) => host.starts_with(prefix).then_some((1, prefix.len())),
        (exact, ..) => (exact == host).then_some((3, 0)),
    };
    let hosts = table["virtual_hosts"].as_array().into_iter().flatten();
    let best = |h: &&Value| h["domains"].as_array().unwrap().iter().filter_map(|d| rank(d.as_str().unwrap())).max();
    hosts.filter(|h| best(h).is_some()).max_by_key(best)
}

fn path_matches(wanted: &Value, path: &str) -> bool {
    let text = |field: &str| wanted[field].as_str();
    let separated = |p: &str| path == p || path.strip_prefix(p).is_some_and(|rest| rest.starts_with('/'));
    match (text("path"), text("prefix"), text("path_separated_prefix")) {
        (Some(exact), ..) => exact == path,
        (_, Some(prefix), _) => path.starts_with(prefix),
        (_, _, Some(prefix)) => separated(prefix),
        _ => {
            let pattern = wanted["safe_regex"]["regex"].as_str().unwrap_or(".*");
            regex::Regex::new(&format!("^(?:{pattern})$")).unwrap().is_match(path)
        }
    }
}
