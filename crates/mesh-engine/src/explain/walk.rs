//! The way of one request through the configuration, step by step.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{HOST, LOCATION};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri, Version};
use mesh_proto::origin::Origin;
use rand::RngCore;

use super::{EndpointChance, Explanation, Forward, NotMatched, Outcome, Question, Request, Step, StepKind, Traffic};
use crate::balance::{Cluster, HostSet};
use crate::cluster::{ClusterConfig, Discovery};
use crate::endpoint::Health;
use crate::format::Facts;
use crate::hcm::{Downstream, HttpConnectionManager, LocalReply};
use crate::listener::{Connection, FilterChain, Listener, ListenerFilterKind, NetworkFilter, select};
use crate::route::{self, Action, ClusterChoice, ClusterName, Matched, NoRoute, RequestView, trace_route};
use crate::runtime::RuntimeConfig;
use crate::tcp::TcpProxy;

/// Every choice by chance falls on the unlikely side, so that only what is
/// certain happens.
struct Unlikely;

impl RngCore for Unlikely {
    fn next_u32(&mut self) -> u32 {
        // The largest number whose remainder by a million is the largest.
        4_293_999_999
    }

    fn next_u64(&mut self) -> u64 {
        u64::MAX
    }

    fn fill_bytes(&mut self, destination: &mut [u8]) {
        destination.fill(0xff);
    }
}

pub(super) struct Walk<'a> {
    config: &'a RuntimeConfig,
    question: &'a Question,
    steps: Vec<Step>,
    endpoints: Vec<EndpointChance>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(config: &'a RuntimeConfig, question: &'a Question) -> Self {
        Self { config, question, steps: Vec::new(), endpoints: Vec::new() }
    }

    pub(super) fn run(mut self) -> Explanation {
        let outcome = self.connection();
        Explanation { steps: self.steps, outcome, endpoints: self.endpoints }
    }

    fn step(&mut self, kind: StepKind, name: &str, detail: String, because: &[Origin]) -> &mut Step {
        let step = Step { kind, name: name.to_owned(), detail, rejected: Vec::new(), because: because.to_vec() };
        self.steps.push(step);
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    fn connection(&mut self) -> Outcome {
        let (listeners, question) = (self.config.listeners.clone(), self.question);
        let accepting = question.captured_by.unwrap_or(question.destination);
        let Some(accepted) = listeners.at(accepting).filter(|l| l.bind_to_port) else {
            return refuse(None, format!("no listener has the address {accepting}"));
        };
        let restores = accepted.listener_filters.iter().any(|f| f.kind == ListenerFilterKind::OriginalDst);
        let destination = if restores || accepted.use_original_dst { question.destination } else { accepting };
        let listener = listeners.redirect_target(accepted, destination);
        let detail = match Arc::ptr_eq(accepted, listener) {
            true => listener.address.to_string(),
            false => format!("{}, captured by {}", listener.address, accepted.name),
        };
        self.step(StepKind::Listener, &listener.name, detail, &listener.origins);
        let found = inspected(listener, destination.port(), &question.traffic);
        let protocols: Vec<&str> = found.protocol.into_iter().collect();
        let connection = Connection {
            server_name: found.server_name,
            transport_protocol: if found.tls { "tls" } else { "raw_buffer" },
            application_protocols: &protocols,
            ..Connection::plain(question.source, destination)
        };
        let chosen = listener.select_chain(&connection);
        let rejected = rejected_chains(listener, chosen, &connection);
        let Some(chain) = chosen else {
            return refuse(
                None,
                format!("no filter chain of listener {} matches: {}", listener.name, words(&rejected)),
            );
        };
        let kind = match &chain.filter {
            NetworkFilter::Http(_) => "HTTP",
            NetworkFilter::Tcp(_) => "TCP",
        };
        let default = listener.default_filter_chain.as_ref().is_some_and(|d| Arc::ptr_eq(d, chain));
        let detail = format!("{kind}{}", if default { ", the default" } else { "" });
        self.step(StepKind::FilterChain, chain_name(chain), detail, &chain.origins).rejected = rejected;
        match (&chain.filter, &question.traffic) {
            (NetworkFilter::Tcp(tcp), _) => self.tcp(tcp, destination),
            (NetworkFilter::Http(hcm), Traffic::Http(request)) => self.http(hcm, request, destination),
            (NetworkFilter::Http(_), Traffic::Tcp | Traffic::Tls { .. }) => {
                refuse(Some(StatusCode::BAD_REQUEST), "the filter chain speaks HTTP, and this is not HTTP".to_owned())
            }
        }
    }

    fn tcp(&mut self, tcp: &TcpProxy, destination: std::net::SocketAddr) -> Outcome {
        let clusters: Vec<(String, u32)> = tcp.clusters.iter().map(|(name, w)| (name.to_string(), *w)).collect();
        let heaviest = heaviest(tcp.clusters.iter().map(|(_, w)| *w));
        let name = tcp.clusters[heaviest].0.clone();
        let Some(cluster) = self.config.clusters.get(&name) else {
            return refuse(None, format!("cluster {name} is not known; the connection is closed"));
        };
        let hash = tcp.hash_source_ip.then(|| route::source_hash(self.question.source));
        match self.cluster(&cluster, destination, hash) {
            Err(why) => refuse(None, why),
            Ok(()) => Outcome::Forward(Forward {
                clusters,
                headers: HeaderMap::new(),
                path: String::new(),
                authority: String::new(),
                timeout: None,
                retries: 0,
                delay: None,
                mirrors: Vec::new(),
            }),
        }
    }

    fn http(&mut self, hcm: &HttpConnectionManager, request: &Request, destination: std::net::SocketAddr) -> Outcome {
        let mut parts = match head(request) {
            Ok(parts) => parts,
            Err(why) => return refuse(Some(StatusCode::BAD_REQUEST), why),
        };
        let downstream = Downstream { direct_remote: self.question.source, local: destination, tls: None };
        let prepared = match hcm.prepare(&mut parts, &downstream, &mut Unlikely) {
            Ok(prepared) => prepared,
            Err(reply) => return respond(reply),
        };
        if !request.headers.contains_key("x-request-id") {
            // It would be another one each time.
            parts.headers.remove("x-request-id");
        }
        let Some(table) = hcm.routes.load() else {
            let why = format!("route table {} has not arrived", hcm.routes.name());
            return refuse(Some(StatusCode::NOT_FOUND), why);
        };
        let trace = trace_route(&table, &RequestView::of(&parts), 0);
        let rejected = trace.rejected.into_iter().map(|r| NotMatched { name: r.name, why: r.why }).collect();
        let matched = match trace.result {
            Ok(matched) => likeliest(matched),
            Err(none) => return self.no_route(&table.name, none, &table, rejected, &request.authority),
        };
        let host = matched.virtual_host();
        let detail = format!("route table {}, domains {}", table.name, host.domains.join(", "));
        self.step(StepKind::VirtualHost, &host.name, detail, &host.origins);
        let route = matched.route();
        let detail = route.matches.path.describe();
        self.step(StepKind::Route, &route.label(), detail, &route.origins).rejected = rejected;
        if !hcm.has_router {
            return refuse(Some(StatusCode::NOT_FOUND), "the HTTP filter chain has no router".to_owned());
        }
        let decision = hcm.on_request(&matched, &parts, &mut Unlikely);
        if let Some(reply) = decision.reply {
            return respond(reply);
        }
        let mut outcome = self.act(&matched, parts, prepared.internal, prepared.remote, destination);
        if let Outcome::Forward(forward) = &mut outcome {
            forward.delay = decision.delay;
        }
        outcome
    }

    fn no_route(
        &mut self,
        table: &str,
        none: NoRoute,
        tables: &crate::route::RouteTable,
        rejected: Vec<NotMatched>,
        authority: &str,
    ) -> Outcome {
        let status = Some(StatusCode::NOT_FOUND);
        match none {
            NoRoute::NoVirtualHost => {
                refuse(status, format!("no virtual host of route table {table} has {authority} among its domains"))
            }
            NoRoute::NoRoute { virtual_host } => {
                let host = &tables.virtual_hosts[virtual_host];
                let detail = format!("route table {table}, domains {}", host.domains.join(", "));
                self.step(StepKind::VirtualHost, &host.name, detail, &host.origins).rejected = rejected;
                refuse(status, format!("no route of virtual host {} matches", host.name))
            }
        }
    }

    fn act(
        &mut self,
        matched: &Matched,
        mut parts: Parts,
        internal: bool,
        remote: std::net::SocketAddr,
        destination: std::net::SocketAddr,
    ) -> Outcome {
        let facts = Facts {
            downstream_remote: Some(remote),
            downstream_direct_remote: Some(self.question.source),
            downstream_local: Some(destination),
            protocol: Some(parts.version),
            route_name: Some(&matched.route().name),
            ..Facts::default()
        };
        let (status, headers) = match matched.action() {
            Action::Forward(forward) => return self.forward(forward, matched, parts, internal, destination, &facts),
            Action::Redirect(redirect) => {
                let mut headers = HeaderMap::new();
                if let Ok(location) = matched.location(redirect, &RequestView::of(&parts)).try_into() {
                    headers.insert(LOCATION, location);
                }
                (redirect.status, headers)
            }
            Action::Direct(direct) => (direct.status, HeaderMap::new()),
            Action::NonForwarding => {
                return refuse(Some(StatusCode::NOT_FOUND), "the route does not forward".to_owned());
            }
        };
        let mut answer = headers;
        let view = RequestView::of(&parts);
        matched.mutate_response(&mut answer, &Facts { request: Some(view), ..facts });
        parts.headers.clear();
        Outcome::Respond { status, headers: answer }
    }

    fn forward(
        &mut self,
        forward: &route::Forward,
        matched: &Matched,
        mut parts: Parts,
        internal: bool,
        destination: std::net::SocketAddr,
        facts: &Facts<'_>,
    ) -> Outcome {
        let timeouts = matched.timeouts(&parts.headers, internal);
        let unknown = Some(forward.cluster_not_found);
        let Some(name) = matched.cluster(&parts.headers).map(str::to_owned) else {
            return refuse(unknown, "the request header that should name the cluster is missing".to_owned());
        };
        let retry = crate::retry::RetryState::new(forward.retry_policy.as_ref(), &parts.headers, internal);
        let retries = retry.as_ref().map_or(0, crate::retry::RetryState::limit);
        let remote = facts.downstream_remote.unwrap_or(self.question.source);
        let hashed = matched.hash(&RequestView::of(&parts), remote, destination);
        // The value of a cookie that would be granted depends on the connection.
        let hash = hashed.hash.filter(|_| hashed.cookies.is_empty());
        matched.mutate_request(&mut parts, facts);
        let Some(cluster) = self.config.clusters.get(&name) else {
            return refuse(unknown, format!("cluster {name} is not known"));
        };
        if let Err(why) = self.cluster(&cluster, destination, hash) {
            return refuse(Some(StatusCode::SERVICE_UNAVAILABLE), why);
        }
        if matched.auto_host_rewrite()
            && let Some(first) = cluster.hosts().members.iter().find(|m| !m.host.hostname.is_empty())
            && let Ok(host) = http::HeaderValue::from_str(&first.host.hostname)
        {
            crate::route::set_authority(&mut parts, &host);
        }
        let view = RequestView::of(&parts);
        let (authority, path) = (view.authority.to_owned(), view.path.to_owned());
        let mut headers = parts.headers;
        headers.remove(HOST);
        Outcome::Forward(Forward {
            clusters: weights(matched, &name),
            headers,
            path,
            authority,
            timeout: timeouts.route,
            retries,
            delay: None,
            mirrors: forward.mirrors.iter().map(|m| (m.cluster.to_string(), m.share)).collect(),
        })
    }

    /// The cluster and its endpoints; says why if none of them can be used.
    fn cluster(
        &mut self,
        cluster: &Cluster,
        destination: std::net::SocketAddr,
        hash: Option<u64>,
    ) -> Result<(), String> {
        let config = cluster.config();
        let detail = format!("{}, {}", config.discovery.name(), config.policy_name());
        self.step(StepKind::Cluster, cluster.name(), detail, &config.origins);
        if let Discovery::OriginalDst(original) = &config.discovery {
            if original.names.is_some() {
                self.step(StepKind::Endpoints, "(by name)", "wherever the name asked for leads".to_owned(), &[]);
                return Ok(());
            }
            let mut address = destination;
            if let Some(port) = original.port_override {
                address.set_port(port);
            }
            self.step(StepKind::Endpoints, &address.to_string(), "where the connection was going".to_owned(), &[]);
            self.endpoints = vec![EndpointChance {
                address,
                health: Health::Unknown,
                ejected: false,
                weight: 1,
                priority: 0,
                probability: 1.0,
            }];
            return Ok(());
        }
        let hosts = cluster.hosts();
        self.list(&config, &hosts, hash);
        if hosts.members.is_empty() && matches!(config.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_)) {
            return Ok(());
        }
        let usable = self.endpoints.iter().any(|e| e.probability > 0.0);
        match (usable, hosts.members.len()) {
            (true, _) => Ok(()),
            (false, 0) => Err(format!("cluster {} has no endpoints", cluster.name())),
            (false, n) => Err(format!("none of the {n} endpoints of cluster {} may be used", cluster.name())),
        }
    }

    fn list(&mut self, config: &ClusterConfig, hosts: &HostSet, hash: Option<u64>) {
        let healthy = hosts.members.iter().filter(|m| m.is_healthy()).count();
        let names = config.load_assignment.names();
        let detail = match (hosts.members.is_empty(), names.is_empty()) {
            (true, false) => format!("by DNS: {}", names.join(", ")),
            _ => format!("{healthy} of {} healthy", hosts.members.len()),
        };
        let because: BTreeSet<&Origin> = hosts.members.iter().flat_map(|m| &m.origins).collect();
        let because: Vec<Origin> = because.into_iter().cloned().collect();
        let name = config.eds_name().unwrap_or(&config.name).clone();
        self.step(StepKind::Endpoints, &name, detail, &because);
        let chance = |(member, probability): (&crate::balance::Member, f64)| EndpointChance {
            address: member.host.address,
            health: member.health,
            ejected: member.ejected,
            weight: member.weight,
            priority: member.priority,
            probability,
        };
        self.endpoints = hosts.members.iter().zip(hosts.probabilities_for(hash)).map(chance).collect();
    }
}

/// What the listener's inspectors would find.
struct Inspected<'a> {
    tls: bool,
    server_name: Option<&'a str>,
    protocol: Option<&'static str>,
}

fn inspected<'a>(listener: &Listener, port: u16, traffic: &'a Traffic) -> Inspected<'a> {
    let has = |kind: ListenerFilterKind| {
        let on = |f: &crate::listener::ListenerFilter| !f.disabled.as_ref().is_some_and(|d| d.holds(port));
        listener.listener_filters.iter().any(|f| f.kind == kind && on(f))
    };
    let nothing = Inspected { tls: false, server_name: None, protocol: None };
    match traffic {
        Traffic::Tls { server_name } if has(ListenerFilterKind::TlsInspector) => {
            Inspected { tls: true, server_name: server_name.as_deref(), protocol: None }
        }
        Traffic::Http(request) if has(ListenerFilterKind::HttpInspector) => {
            Inspected { protocol: Some(if request.http2 { "h2c" } else { "http/1.1" }), ..nothing }
        }
        _ => nothing,
    }
}

fn rejected_chains(
    listener: &Listener,
    chosen: Option<&Arc<FilterChain>>,
    connection: &Connection<'_>,
) -> Vec<NotMatched> {
    let other = |chain: &&Arc<FilterChain>| !chosen.is_some_and(|c| Arc::ptr_eq(c, chain));
    let why = |chain: &Arc<FilterChain>| NotMatched {
        name: chain_name(chain).to_owned(),
        why: select::why_not(&chain.matches, connection)
            .unwrap_or_else(|| "a chain that matches more specifically goes before".to_owned()),
    };
    listener.filter_chains.iter().filter(other).map(why).collect()
}

fn chain_name(chain: &FilterChain) -> &str {
    if chain.name.is_empty() { "(unnamed)" } else { &chain.name }
}

fn words(rejected: &[NotMatched]) -> String {
    rejected.iter().map(|r| format!("{} ({})", r.name, r.why)).collect::<Vec<_>>().join("; ")
}

/// The request's head as the codec would give it.
fn head(request: &Request) -> Result<Parts, String> {
    let mut builder = http::Request::builder().method(request.method.clone());
    let uri: Result<Uri, _> = if request.http2 {
        builder = builder.version(Version::HTTP_2);
        format!("http://{}{}", request.authority, request.path).parse()
    } else {
        builder = builder.header(HOST, &request.authority);
        request.path.parse()
    };
    let uri = uri.map_err(|e| format!("{}{} is not a valid URL: {e}", request.authority, request.path))?;
    let (mut parts, ()) = builder.uri(uri).body(()).map_err(|e| format!("not a valid request: {e}"))?.into_parts();
    parts.headers.extend(request.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(parts)
}

/// With the heaviest of several clusters.
fn likeliest(matched: Matched) -> Matched {
    let index = match matched.forward().map(|f| &f.cluster) {
        Some(ClusterChoice::Weighted(weighted)) => heaviest(weighted.clusters.iter().map(|c| c.weight)),
        _ => return matched,
    };
    matched.with_weighted(index)
}

/// Index of the greatest weight, the first of several.
fn heaviest(weights: impl Iterator<Item = u32>) -> usize {
    let best = weights.enumerate().max_by_key(|(index, weight)| (*weight, usize::MAX - index));
    best.map_or(0, |(index, _)| index)
}

fn weights(matched: &Matched, chosen: &str) -> Vec<(String, u32)> {
    match matched.forward().map(|f| &f.cluster) {
        Some(ClusterChoice::Weighted(weighted)) => weighted
            .clusters
            .iter()
            .map(|c| match &c.cluster {
                ClusterName::Named(name) => (name.to_string(), c.weight),
                ClusterName::Header(header) => (format!("by header {header}"), c.weight),
            })
            .collect(),
        _ => vec![(chosen.to_owned(), 1)],
    }
}

fn respond(reply: LocalReply) -> Outcome {
    Outcome::Respond { status: reply.status, headers: reply.headers }
}

fn refuse(status: Option<StatusCode>, why: String) -> Outcome {
    Outcome::Refuse { status, why }
}
