//! Which logs, spans and metrics one role of a workload makes: Telemetry
//! objects and the mesh's defaults, merged.
//!
//! The root namespace's object comes first, then the namespace's own, then the
//! one that selects the workload; each changes what those before it said.
//!
//! Source: istio `pilot/pkg/model/telemetry.go`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mesh_model::rules::MeshConfig;
use mesh_model::rules::provider::{Collector, Provider, ProviderKind};
use mesh_model::rules::telemetry::{AccessLogging, Metric, Role, Tag, Telemetry};
use mesh_model::{Code, Diagnostic, Hostname, Labels, Meta, Name, ObjectRef, Severity};

use crate::http_filters;
use crate::memo::ById;
use crate::scope::Visible;
use crate::xds;

mod metrics;

pub(crate) use metrics::Metrics;

/// What one role of a workload reports.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Side {
    pub(crate) logs: Logs,
    pub(crate) tracing: Option<Tracing>,
    /// What Prometheus finds; `None`: nothing of Istio's.
    pub(crate) metrics: Option<Metrics>,
    /// Telemetry objects that shaped it.
    pub(crate) objects: Vec<ObjectRef>,
    /// Telemetry objects that change metrics which this proxy does not make.
    pub(crate) unmade: Vec<ById<Meta>>,
    /// Providers of logs and spans that our own proxy cannot serve.
    pub(crate) withheld: BTreeSet<Name>,
    /// Providers whose service no proxy of this scope can reach, with it.
    pub(crate) unreachable: Vec<(Name, Name)>,
}

impl Side {
    /// What is asked for and does not happen.
    pub(crate) fn diagnostics(&self, mesh: &MeshConfig) -> Vec<Diagnostic> {
        let unmade = self.unmade.iter().map(|meta| Diagnostic {
            severity: Severity::Warning,
            code: Code::NotApplied,
            object: Some(meta.object.clone()),
            location: meta.location.clone(),
            field: "spec.metrics".to_owned(),
            message: format!("accepted, not yet applied: some proxy lacks the filter {}", http_filters::STATS),
            consequence: "proxies without it make Envoy's own metrics alone".to_owned(),
        });
        let settings = ObjectRef {
            kind: mesh_model::Kind::MeshConfig,
            namespace: mesh.root_namespace.clone(),
            name: "istio".into(),
        };
        let unreachable = self.unreachable.iter().map(|(provider, address)| Diagnostic {
            severity: Severity::Warning,
            code: Code::MissingReference,
            object: Some(settings.clone()),
            location: None,
            field: format!("extensionProviders[{provider}]"),
            message: format!("found {address}, which is no service and port that every proxy which needs it can call"),
            consequence: "what should go there is not sent".to_owned(),
        });
        let withheld = self.withheld.iter().map(|provider| Diagnostic {
            severity: Severity::Warning,
            code: Code::NotApplied,
            object: Some(self.objects.last().unwrap_or(&settings).clone()),
            location: None,
            field: String::new(),
            message: format!("accepted, not yet applied by pilothouse proxy: provider {provider}"),
            consequence: "Envoys serve it; pilothouse proxy writes unfiltered logs to files and sends no spans"
                .to_owned(),
        });
        unmade.chain(unreachable).chain(withheld).collect()
    }
}

/// Where access logs go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Logs {
    /// To the mesh's `accessLogFile`, if there is one.
    Mesh,
    /// To these, and nowhere else.
    To(Vec<Log>),
}

/// One access log.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    pub(crate) provider: Arc<Provider>,
    /// Cluster of its collector, if it has one.
    pub(crate) cluster: Option<Name>,
    /// CEL.
    pub(crate) filter: Option<Name>,
}

/// How requests are traced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tracing {
    pub(crate) provider: Arc<Provider>,
    /// Cluster of its collector.
    pub(crate) cluster: Name,
    /// Host name of its collector.
    pub(crate) host: Name,
    /// What spans name as their maker.
    pub(crate) service: Name,
    /// Hundredths of a percent.
    pub(crate) sampling: u32,
    pub(crate) tags: BTreeMap<Name, Tag>,
    /// Bytes; 0: Envoy's default.
    pub(crate) max_path_tag_length: u32,
    pub(crate) request_id_decides: bool,
    pub(crate) no_propagation: bool,
}

impl Side {
    /// No Telemetry objects, no providers.
    pub(crate) fn plain() -> Self {
        Self {
            logs: Logs::Mesh,
            tracing: None,
            metrics: None,
            objects: Vec::new(),
            unmade: Vec::new(),
            withheld: BTreeSet::new(),
            unreachable: Vec::new(),
        }
    }
}

/// Who reports.
pub(crate) struct Subject<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) labels: &'a Labels,
    /// Name of the workload.
    pub(crate) workload: &'a str,
    pub(crate) mesh: &'a MeshConfig,
    /// What it can call: collectors are services like others.
    pub(crate) visible: &'a Visible,
    /// Whether it has the filter that makes Istio's metrics.
    pub(crate) makes_metrics: bool,
    /// Whether it is our own proxy, which writes files and nothing else: what
    /// it cannot honour it would refuse together with the whole listener.
    pub(crate) native: bool,
}

/// What `subject` reports in `role`. `rules` are all Telemetry objects, oldest
/// first.
pub(crate) fn of(rules: &[Arc<Telemetry>], subject: &Subject<'_>, role: Role) -> Side {
    let applicable = applicable(rules, subject);
    let mut merge = Merge { subject, role, rules: &applicable, unreachable: BTreeSet::new() };
    let (mut logs, mut tracing, mut withheld) = (merge.logs(), merge.tracing(), BTreeSet::new());
    if subject.native {
        withheld.extend(tracing.take().map(|t| t.provider.name.clone()));
        if let Logs::To(list) = &mut logs {
            let plain = |l: &Log| l.filter.is_none() && matches!(l.provider.kind, ProviderKind::FileLog { .. });
            withheld.extend(list.iter().filter(|l| !plain(l)).map(|l| l.provider.name.clone()));
            list.retain(plain);
        }
    }
    let wanted = metrics::of(&applicable, subject.mesh, role);
    let changed = applicable.iter().filter(|r| r.metrics.iter().any(|m| !m.overrides.is_empty()));
    let unmade = changed.filter(|_| !subject.makes_metrics).map(|r| r.meta.clone()).map(ById).collect();
    Side {
        logs,
        tracing,
        metrics: wanted.filter(|_| subject.makes_metrics),
        unmade,
        withheld,
        objects: applicable.iter().map(|r| r.meta.object.clone()).collect(),
        unreachable: merge.unreachable.into_iter().collect(),
    }
}

/// The objects that hold for `subject`, the most general first.
fn applicable<'a>(rules: &'a [Arc<Telemetry>], subject: &Subject<'_>) -> Vec<&'a Telemetry> {
    let root = &*subject.mesh.root_namespace;
    let whole =
        |place: &str| rules.iter().find(|r| &**r.meta.namespace() == place && r.selector.is_empty()).map(|r| &**r);
    let own = rules
        .iter()
        .filter(|r| &**r.meta.namespace() == subject.namespace && !r.selector.is_empty())
        .find(|r| r.selector.selects(subject.labels));
    let namespace = (subject.namespace != root).then(|| whole(subject.namespace)).flatten();
    [whole(root), namespace, own.map(|r| &**r)].into_iter().flatten().collect()
}

struct Merge<'a> {
    subject: &'a Subject<'a>,
    role: Role,
    rules: &'a [&'a Telemetry],
    unreachable: BTreeSet<(Name, Name)>,
}

impl Merge<'_> {
    fn logs(&mut self) -> Logs {
        let defaults = &self.subject.mesh.default_providers.access_logging;
        let stated: Vec<&[AccessLogging]> =
            self.rules.iter().map(|r| r.access_logging.as_slice()).filter(|l| !l.is_empty()).collect();
        if stated.is_empty() && defaults.is_empty() {
            return Logs::Mesh;
        }
        let logs = merged_logs(&stated, defaults, self.role);
        Logs::To(logs.into_iter().filter_map(|(name, filter)| self.log(&name, filter)).collect())
    }

    fn log(&mut self, name: &str, filter: Option<Name>) -> Option<Log> {
        let provider = provider(self.subject.mesh, name)?.clone();
        let cluster = match &provider.kind {
            ProviderKind::FileLog { .. } => None,
            ProviderKind::HttpLog(log) | ProviderKind::TcpLog(log) => Some(self.cluster(&provider, &log.collector)?.0),
            ProviderKind::OtlpLog { collector, .. } => Some(self.cluster(&provider, collector)?.0),
            ProviderKind::Zipkin { .. }
            | ProviderKind::Otlp { .. }
            | ProviderKind::Prometheus
            | ProviderKind::NotApplied(_) => return None,
        };
        Some(Log { provider, cluster, filter })
    }

    fn tracing(&mut self) -> Option<Tracing> {
        let mesh = self.subject.mesh;
        let defaults = &mesh.default_config.tracing;
        let mut provider_name = mesh.default_providers.tracing.first().cloned();
        let (mut disabled, mut sampling, mut tags) = (false, None, None);
        let (mut request_id_decides, mut istio_tags, mut no_propagation) = (true, defaults.istio_tags, false);
        let entries = self.rules.iter().flat_map(|r| &r.tracing).filter(|t| t.role.holds_for(self.role));
        for entry in entries {
            provider_name = entry.providers.first().cloned().or(provider_name);
            disabled = entry.disabled.unwrap_or(disabled);
            sampling = entry.sampling.or(sampling);
            tags = entry.tags.clone().or(tags);
            request_id_decides = entry.request_id_decides.unwrap_or(request_id_decides);
            istio_tags = entry.istio_tags.unwrap_or(istio_tags);
            no_propagation = entry.no_propagation.unwrap_or(no_propagation);
        }
        let silent = provider_name.is_none() && self.rules.iter().all(|r| r.tracing.is_empty());
        let provider = match provider_name {
            Some(name) => provider(mesh, &name)?.clone(),
            None if silent && mesh.enable_tracing => zipkin_of_mesh(mesh)?,
            None => return None,
        };
        let (collector, max_tag_length) = match &provider.kind {
            ProviderKind::Zipkin { collector, max_tag_length, .. }
            | ProviderKind::Otlp { collector, max_tag_length, .. } => (collector, *max_tag_length),
            _ => return None,
        };
        if disabled {
            return None;
        }
        let (cluster, host) = self.cluster(&provider, collector)?;
        let mut all = defaults.tags.clone();
        if istio_tags {
            all.extend(self.istio_tags());
        }
        all.extend(tags.unwrap_or_default());
        Some(Tracing {
            cluster,
            host,
            service: format!("{}.{}", self.canonical_service(), self.subject.namespace).into(),
            sampling: sampling.unwrap_or(defaults.sampling),
            tags: all,
            max_path_tag_length: if max_tag_length > 0 { max_tag_length } else { defaults.max_path_tag_length },
            request_id_decides,
            no_propagation,
            provider,
        })
    }

    /// Who made the span, as Istio says it.
    fn istio_tags(&self) -> BTreeMap<Name, Tag> {
        let labels = self.subject.labels;
        let names = ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"];
        let revision = names.iter().find_map(|n| labels.get(n)).unwrap_or("latest");
        let tags = [
            ("istio.canonical_service", self.canonical_service().to_owned()),
            ("istio.canonical_revision", revision.to_owned()),
            ("istio.mesh_id", self.subject.mesh.trust_domain.to_string()),
            ("istio.namespace", self.subject.namespace.to_owned()),
        ];
        tags.into_iter().map(|(name, value)| (name.into(), Tag::Literal(value.into()))).collect()
    }

    fn canonical_service(&self) -> &str {
        let names = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
        names.iter().find_map(|n| self.subject.labels.get(n)).unwrap_or(self.subject.workload)
    }

    /// Cluster and host name of a collector that the subject can reach.
    fn cluster(&mut self, provider: &Provider, collector: &Collector) -> Option<(Name, Name)> {
        let host = Hostname::new(&collector.host);
        let service = self.subject.visible.services.iter().find(|s| {
            let service = &s.service;
            service.hostname == host && collector.namespace.as_ref().is_none_or(|n| n == service.meta.namespace())
        });
        let reachable = service.filter(|s| s.service.port(collector.port).is_some() && s.allows(collector.port));
        match reachable {
            Some(s) => {
                let host = s.service.hostname.to_string();
                Some((xds::outbound_cluster(collector.port, "", &host), host.into()))
            }
            None => {
                let address = format!("{}:{}", collector.host, collector.port);
                self.unreachable.insert((provider.name.clone(), address.into()));
                None
            }
        }
    }
}

/// Providers by name, each with the filter of its log.
fn merged_logs(stated: &[&[AccessLogging]], defaults: &[Name], role: Role) -> BTreeMap<Name, Option<Name>> {
    if stated.is_empty() {
        return defaults.iter().map(|name| (name.clone(), None)).collect();
    }
    // The last object that names providers says who is asked at all.
    let mut in_scope: BTreeSet<Name> = defaults.iter().cloned().collect();
    let mut filters: BTreeMap<Name, Option<Name>> = BTreeMap::new();
    for object in stated {
        let names: BTreeSet<Name> = object.iter().flat_map(|e| &e.providers).cloned().collect();
        for entry in *object {
            filters.extend(entry.providers.iter().map(|p| (p.clone(), entry.filter.clone())));
        }
        if !names.is_empty() {
            in_scope = names;
        }
    }
    let mut logs = BTreeMap::new();
    let mut parents: Vec<Name> = defaults.to_vec();
    for entry in stated.iter().copied().flatten() {
        if !entry.providers.is_empty() {
            parents.clone_from(&entry.providers);
        }
        for name in parents.iter().filter(|n| in_scope.contains(*n)) {
            if !entry.role.holds_for(role) {
                continue;
            }
            if entry.disabled {
                logs.remove(name);
            } else {
                let filter = filters.get(name).cloned().unwrap_or_else(|| entry.filter.clone());
                logs.insert(name.clone(), filter);
            }
        }
    }
    logs
}

/// The provider called `name`.
fn provider<'a>(mesh: &'a MeshConfig, name: &str) -> Option<&'a Arc<Provider>> {
    mesh.extension_providers.iter().find(|p| p.name.eq_ignore_ascii_case(name))
}

/// The collector of `defaultConfig.tracing`, `host:port`.
fn zipkin_of_mesh(mesh: &MeshConfig) -> Option<Arc<Provider>> {
    let (host, port) = mesh.default_config.zipkin_address.rsplit_once(':')?;
    // `zipkin.istio-system` and the full name are one service.
    let full = match host.matches('.').count() {
        0 => format!("{host}.{}.svc.{}", mesh.root_namespace, mesh.domain),
        1 => format!("{host}.svc.{}", mesh.domain),
        _ if host.ends_with(".svc") => format!("{host}.{}", mesh.domain),
        _ => host.to_owned(),
    };
    let collector =
        Collector { namespace: None, host: full.into(), port: port.parse().ok()?, timeout: None, headers: Vec::new() };
    let kind =
        ProviderKind::Zipkin { collector, path: "".into(), short_ids: false, with_w3c: false, max_tag_length: 0 };
    Some(Arc::new(Provider { name: "defaultConfig.tracing.zipkin".into(), kind }))
}

/// A standard metric's Prometheus name.
pub(crate) fn prometheus_name(metric: &Metric) -> Name {
    match metric {
        Metric::Custom(name) => name.clone(),
        Metric::Standard(word) => {
            let rows = &mesh_model::rules::telemetry::STANDARD_METRICS;
            rows.iter().find(|(w, _)| w == word).map_or(*word, |(_, name)| name).into()
        }
    }
}

#[cfg(test)]
mod tests {
    //! What is kept from a proxy that could not honour it.

    use mesh_model::Kind;
    use mesh_model::rules::provider::LogFormat;
    use mesh_model::rules::telemetry::Metrics as MetricsEntry;

    use super::*;

    fn check(native: bool, filter: Option<&str>, expected_logs: usize, expected_withheld: usize) {
        let kind = ProviderKind::FileLog { path: "/dev/stdout".into(), format: LogFormat::Mesh, omit_empty: false };
        let mut mesh = MeshConfig::default();
        mesh.extension_providers.push(Arc::new(Provider { name: "mine".into(), kind }));
        let entry =
            AccessLogging { providers: vec!["mine".into()], filter: filter.map(Into::into), ..Default::default() };
        let rule = Telemetry {
            meta: Arc::new(Meta::new(Kind::Telemetry, "istio-system", "all")),
            selector: Labels::default(),
            tracing: Vec::new(),
            metrics: vec![MetricsEntry::default()],
            access_logging: vec![entry],
        };
        let visible = Visible::default();
        let labels = Labels::default();
        let subject = Subject {
            namespace: "shop",
            labels: &labels,
            workload: "web",
            mesh: &mesh,
            visible: &visible,
            makes_metrics: false,
            native,
        };
        let side = of(&[Arc::new(rule)], &subject, Role::Client);
        let Logs::To(logs) = &side.logs else { panic!("{:?}", side.logs) };
        assert_eq!((logs.len(), side.withheld.len()), (expected_logs, expected_withheld));
        assert_eq!(side.diagnostics(&mesh).len(), expected_withheld);
    }

    #[test]
    fn our_own_proxy_is_told_only_of_logs_that_it_can_write() {
        check(false, Some("response.code >= 500"), 1, 0);
        check(true, Some("response.code >= 500"), 0, 1);
        check(true, None, 1, 0);
    }
}
