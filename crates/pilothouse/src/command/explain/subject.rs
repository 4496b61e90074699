//! Who asks, with everything that the answer needs: what its proxy has, which
//! services there are to resolve a name, and where the rules stand.
//!
//! A [`Subject`] is made from a folder (`offline`) or by a running control
//! plane (`online`); from here on nobody knows which.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use mesh_engine::RuntimeConfig;
use mesh_engine::explain::{Question, Request, Traffic};
use mesh_model::{Diagnostic, Severity};
use mesh_pilot::offline::ProxyView;
use mesh_proto::resource::ResourceSet;

use super::target::{Scheme, Target};
use crate::explanation::Explanation;
use crate::explanation::convert::{self, Locations};

/// A workload and what its proxy knows.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// `name.namespace`
    pub(crate) name: String,
    /// Its namespace, in which short host names are resolved.
    pub(crate) namespace: String,
    /// Its own address.
    pub(crate) address: IpAddr,
    /// DNS domain of the platform's services.
    pub(crate) domain: String,
    /// The resources of its proxy: type URL and encoded message.
    pub(crate) resources: Vec<(String, Bytes)>,
    /// Services that a name may mean.
    pub(crate) hosts: Vec<Host>,
    /// Where rule objects stand.
    pub(crate) locations: Locations,
    /// What is wrong with rules and files, if it is known here.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// A service, as far as resolving its name needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    /// Its full name.
    pub(crate) name: String,
    /// What DNS answers: its virtual address, or its endpoints' if it has none.
    pub(crate) addresses: Vec<IpAddr>,
}

impl Subject {
    /// The workload whose proxy gets `view`; `None` if its node id is not that
    /// of a sidecar.
    pub(crate) fn of_view(view: &ProxyView, domain: &str, hosts: Vec<Host>, locations: Locations) -> Option<Self> {
        let mut parts = view.node_id.split('~').skip(1);
        let (address, name) = (parts.next()?.parse().ok()?, parts.next()?.to_owned());
        let bodies = |(type_url, set): (&Arc<str>, &Arc<ResourceSet>)| {
            set.iter().map(|r| (type_url.to_string(), r.body.clone())).collect::<Vec<_>>()
        };
        Some(Self {
            namespace: name.rsplit_once('.')?.1.to_owned(),
            name,
            address,
            domain: domain.to_owned(),
            resources: view.resources.iter().flat_map(bodies).collect(),
            hosts,
            locations,
            diagnostics: Vec::new(),
        })
    }

    /// Where a request of this workload for `target` goes, decided by the
    /// proxy's engine; and what of the resources the engine refuses.
    pub(crate) fn explain(&self, target: &Target) -> (Explanation, Vec<String>) {
        let resources = self.resources.iter().map(|(type_url, body)| (type_url.as_str(), &body[..]));
        let (config, refused) = RuntimeConfig::from_resources(resources);
        let question = self.question(&config, target);
        let answer = mesh_engine::explain::explain(&config, &question);
        let explanation = convert::explanation(&self.name, &target.url, answer, &self.locations);
        (explanation, refused.iter().map(ToString::to_string).collect())
    }

    /// What is wrong and may be why `explanation` is not what was meant: errors,
    /// and warnings about the objects that it names.
    pub(crate) fn concerns<'a>(&'a self, explanation: &'a Explanation) -> impl Iterator<Item = &'a Diagnostic> {
        let named = |diagnostic: &Diagnostic| {
            let because = explanation.steps.iter().flat_map(|step| &step.because);
            let origin = diagnostic.object.as_ref().map(convert::key);
            origin.is_some_and(|origin| because.into_iter().any(|b| b.is(&origin)))
        };
        self.diagnostics.iter().filter(move |d| match d.severity {
            Severity::Error => true,
            Severity::Warning => named(d),
            Severity::Info => false,
        })
    }

    /// The connection and request that the application would make.
    fn question(&self, config: &RuntimeConfig, target: &Target) -> Question {
        let captured_by = config.listeners.get(CAPTURING).map(|listener| listener.address);
        let destination = match captured_by {
            Some(_) => self.resolve(&target.host),
            // Without capture the application connects to its own sidecar.
            None => self.address,
        };
        let traffic = match target.scheme {
            Scheme::Tcp => Traffic::Tcp,
            Scheme::Https => {
                let name = target.host.parse::<IpAddr>().is_err().then(|| target.host.clone());
                Traffic::Tls { server_name: name }
            }
            Scheme::Http | Scheme::Grpc => Traffic::Http(Box::new(Request {
                http2: target.scheme == Scheme::Grpc,
                method: target.method.clone(),
                authority: target.authority.clone(),
                path: target.path.clone(),
                headers: target.headers.clone(),
            })),
        };
        let source = SocketAddr::new(self.address, SOURCE_PORT);
        Question { source, destination: SocketAddr::new(destination, target.port), captured_by, traffic }
    }

    /// The address that the application's resolver gives for `host`.
    fn resolve(&self, host: &str) -> IpAddr {
        if let Ok(address) = host.parse() {
            return address;
        }
        let names = self.full_names(host);
        let known = names.iter().find_map(|name| self.hosts.iter().find(|h| covers(&h.name, name)));
        known.and_then(|h| h.addresses.first().copied()).unwrap_or(SOMEWHERE)
    }

    /// What `host` may stand for, as the search list of a Pod's resolver has it.
    fn full_names(&self, host: &str) -> Vec<String> {
        let host = host.trim_end_matches('.');
        let Subject { namespace, domain, .. } = self;
        let searched =
            [format!("{host}.{namespace}.svc.{domain}"), format!("{host}.svc.{domain}"), format!("{host}.{domain}")];
        let mut names = vec![host.to_owned()];
        names.extend(searched);
        names
    }
}

/// Whether the declared `host`, which may begin with `*.`, stands for `name`.
fn covers(host: &str, name: &str) -> bool {
    match host.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => host == name,
    }
}

/// Chooses the workload that `text` names among `candidates` of the form
/// `(namespace, name, app)`: `NAME.NAMESPACE` or `NAME`, where the name is a
/// workload's own, its `app` label, or what its name begins with before a `-`.
/// The exact name goes first, then the first in order.
///
/// # Errors
/// A sentence that lists the candidates.
pub(crate) fn choose(text: &str, candidates: &[Candidate]) -> Result<usize, String> {
    let in_namespace = |c: &&Candidate| {
        text.strip_suffix(c.namespace.as_str()).is_some_and(|rest| rest.ends_with('.') && rest.len() > 1)
    };
    let within: Vec<&Candidate> = candidates.iter().filter(in_namespace).collect();
    let ways: [fn(&Candidate, &str) -> bool; 3] = [
        |c, name| c.name == name,
        |c, name| c.app.as_deref() == Some(name),
        |c, name| c.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('-')),
    ];
    for (pool, with_namespace) in [(within, true), (candidates.iter().collect(), false)] {
        for way in ways {
            let found = pool.iter().find(|c| {
                let name = if with_namespace { &text[..text.len() - c.namespace.len() - 1] } else { text };
                way(c, name)
            });
            if let Some(found) = found {
                return Ok(candidates.iter().position(|c| std::ptr::eq(c, *found)).unwrap_or_default());
            }
        }
    }
    Err(unknown(text, candidates))
}

/// A workload that `--from` may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// Its label `app`.
    pub(crate) app: Option<String>,
}

fn unknown(text: &str, candidates: &[Candidate]) -> String {
    if candidates.is_empty() {
        return format!("--from {text:?}: there is no Pod or WorkloadEntry, and nothing else has a proxy");
    }
    let names = candidates.iter().take(CANDIDATES_MAX).map(|c| format!("{}.{}", c.name, c.namespace));
    let names: Vec<String> = names.collect();
    let more = candidates.len().saturating_sub(CANDIDATES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("--from {text:?}: no such workload; there are {}{more}", names.join(", "))
}

/// The addresses that a service's name resolves to, by snapshot.
pub(crate) fn hosts(snapshot: &mesh_model::MeshSnapshot) -> Vec<Host> {
    let host = |service: &Arc<mesh_model::Service>| {
        let mut addresses: Vec<IpAddr> = service.addresses.iter().map(|net| net.addr()).collect();
        if addresses.is_empty()
            && let Some(set) = snapshot.endpoints.get(&service.key())
        {
            let ip = |e: &mesh_model::Endpoint| match e.address {
                mesh_model::Address::Ip(ip) => Some(ip),
                _ => None,
            };
            addresses = set.endpoints.iter().filter_map(ip).collect();
        }
        Host { name: service.hostname.to_string(), addresses }
    };
    snapshot.services.iter().map(host).collect()
}

/// The listener that captured connections arrive at, by Istio's name.
const CAPTURING: &str = "virtualOutbound";
/// Any port that a client's system could have chosen.
const SOURCE_PORT: u16 = 50000;
/// Stands for the address of a host that the mesh does not know (TEST-NET-3).
const SOMEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
/// More names than this help nobody.
const CANDIDATES_MAX: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn candidates() -> Vec<Candidate> {
        let candidate = |namespace: &str, name: &str, app: Option<&str>| Candidate {
            namespace: namespace.into(),
            name: name.into(),
            app: app.map(str::to_owned),
        };
        vec![
            candidate("default", "frontend-7d9f-abc", Some("web")),
            candidate("default", "ratings", None),
            candidate("shop", "ratings", None),
            candidate("shop", "web", None),
        ]
    }

    #[test]
    fn a_workload_is_named_by_name_app_or_prefix() {
        let candidates = candidates();
        let check = |text: &str, expected: usize| assert_eq!(choose(text, &candidates).unwrap(), expected, "{text}");
        check("ratings.shop", 2);
        check("ratings", 1);
        check("web.default", 0);
        check("web.shop", 3);
        check("frontend.default", 0);
        check("frontend-7d9f.default", 0);
    }

    #[test]
    fn a_name_that_nobody_has_lists_who_there_is() {
        let text = choose("nobody.default", &candidates()).unwrap_err();
        assert!(text.contains("\"nobody.default\": no such workload; there are frontend-7d9f-abc.default,"), "{text}");
    }

    #[test]
    fn short_names_are_resolved_in_the_callers_namespace() {
        let host = |name: &str, last| Host { name: name.into(), addresses: vec![IpAddr::from([10, 0, 0, last])] };
        let subject = Subject {
            name: "a.shop".into(),
            namespace: "shop".into(),
            address: IpAddr::from([127, 0, 0, 1]),
            domain: "cluster.local".into(),
            resources: Vec::new(),
            hosts: vec![
                host("ratings.default.svc.cluster.local", 1),
                host("ratings.shop.svc.cluster.local", 2),
                host("*.example.com", 3),
            ],
            locations: Locations::new(),
            diagnostics: Vec::new(),
        };
        let check = |name: &str, expected: [u8; 4]| assert_eq!(subject.resolve(name), IpAddr::from(expected), "{name}");
        check("ratings", [10, 0, 0, 2]);
        check("ratings.default", [10, 0, 0, 1]);
        check("ratings.default.svc", [10, 0, 0, 1]);
        check("ratings.default.svc.cluster.local", [10, 0, 0, 1]);
        check("api.example.com", [10, 0, 0, 3]);
        check("10.9.8.7", [10, 9, 8, 7]);
        check("nowhere.example.org", [203, 0, 113, 1]);
    }
}
