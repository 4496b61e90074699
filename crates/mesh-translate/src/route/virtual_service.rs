//! A VirtualService's HTTP routes, as one caller meets them on one port.

use mesh_model::rules::VirtualService;
use mesh_model::rules::virtual_service::{Destination, Headers, HttpAction, HttpMatch, HttpRoute, WeightedDestination};
use mesh_model::{Code, Diagnostic, Severity};
use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::route_action::ClusterSpecifier;
use mesh_proto::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use mesh_proto::envoy::config::route::v3::{Route, RouteAction, RouteMatch, WeightedCluster};

use super::{action, hash, header, matches, retry};
use crate::destination;
use crate::rules::MESH_GATEWAY;
use crate::scope;
use crate::xds;

/// A rule, and who meets it where.
pub(super) struct Context<'a> {
    pub(super) scope: &'a scope::Outbound,
    pub(super) rule: &'a VirtualService,
    /// The port that was called.
    pub(super) port: u16,
}

impl Context<'_> {
    /// Its routes in order, one for each set of conditions that this caller can
    /// meet. What stands after a route that matches everything is never met and
    /// left out.
    pub(super) fn routes(&self, diagnostics: &mut Vec<Diagnostic>) -> Vec<Route> {
        let mut routes = Vec::new();
        for (index, http) in self.rule.http.iter().enumerate() {
            let field = format!("spec.http[{index}]");
            if http.matches.is_empty() {
                routes.push(self.route(http, None, &field, diagnostics));
            }
            for matched in http.matches.iter().filter(|m| self.concerns(m)) {
                routes.push(self.route(http, Some(matched), &field, diagnostics));
                if last_is_everything(&routes) {
                    break;
                }
            }
            if last_is_everything(&routes) {
                break;
            }
        }
        routes
    }

    /// Whether conditions on the caller and the port hold; what remains is
    /// about the request.
    fn concerns(&self, matched: &HttpMatch) -> bool {
        matched.port.is_none_or(|p| p == self.port)
            && matched.source_namespace.as_ref().is_none_or(|n| *n == self.scope.namespace)
            && matched.source_labels.selects(&self.scope.labels)
            && (matched.gateways.is_empty() || matched.gateways.iter().any(|g| &**g == MESH_GATEWAY))
    }

    fn route(
        &self,
        http: &HttpRoute,
        matched: Option<&HttpMatch>,
        field: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Route {
        let request = header::operations(&http.headers.request, true);
        let response = header::operations(&http.headers.response, false);
        self.report_refused(&request, &format!("{field}.headers.request"), diagnostics);
        self.report_refused(&response, &format!("{field}.headers.response"), diagnostics);
        let mut route = Route {
            name: name(http, matched),
            r#match: Some(matched.map_or_else(matches::everything, matches::route_match)),
            request_headers_to_add: request.add,
            request_headers_to_remove: request.remove,
            response_headers_to_add: response.add,
            response_headers_to_remove: response.remove,
            metadata: self.metadata(http),
            ..Default::default()
        };
        route.action = Some(match &http.action {
            HttpAction::Redirect(redirect) => Action::Redirect(action::redirect(redirect, self.port)),
            HttpAction::DirectResponse { status, body } => {
                self.check_body(body, field, diagnostics);
                Action::DirectResponse(action::direct_response(*status, body))
            }
            HttpAction::Route { destinations, rewrite } => {
                let mut forward = self.forward(destinations, field, diagnostics);
                if let Some(authority) = &request.authority {
                    action::set_authority(&mut forward, authority);
                }
                if let Some(rewrite) = rewrite {
                    action::set_rewrite(&mut forward, rewrite);
                }
                action::set_timeout(&mut forward, http.timeout, self.scope.generator);
                let default = self.scope.mesh.default_http_retry_policy.as_ref();
                forward.retry_policy = retry::policy(http.retries.as_ref().or(default));
                hash::apply(&mut forward, self.scope, false);
                Action::Route(forward)
            }
        });
        route
    }

    /// To one cluster or, by weight, to several.
    fn forward(
        &self,
        destinations: &[WeightedDestination],
        field: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> RouteAction {
        let weighing = |d: &&WeightedDestination| d.weight > 0 || destinations.len() == 1;
        let mut weighted = Vec::new();
        for (index, one) in destinations.iter().enumerate().filter(|(_, d)| weighing(d)) {
            let field = format!("{field}.route[{index}]");
            let cluster = self.cluster(&one.destination, &field, diagnostics);
            weighted.push(self.weighted(&cluster, one, &field, diagnostics));
        }
        match &weighted[..] {
            [only] if *only == plain(&only.name, only.weight) => action::to_cluster(&only.name),
            _ => RouteAction {
                cluster_specifier: Some(ClusterSpecifier::WeightedClusters(WeightedCluster {
                    clusters: weighted,
                    ..Default::default()
                })),
                ..Default::default()
            },
        }
    }

    fn weighted(
        &self,
        cluster: &str,
        destination: &WeightedDestination,
        field: &str,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> ClusterWeight {
        let Headers { request, response } = &destination.headers;
        let (request, response) = (header::operations(request, true), header::operations(response, false));
        self.report_refused(&request, &format!("{field}.headers.request"), diagnostics);
        self.report_refused(&response, &format!("{field}.headers.response"), diagnostics);
        ClusterWeight {
            request_headers_to_add: request.add,
            request_headers_to_remove: request.remove,
            response_headers_to_add: response.add,
            response_headers_to_remove: response.remove,
            host_rewrite_specifier: request.authority.map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
            ..plain(cluster, xds::number(destination.weight.max(1)))
        }
    }

    /// The cluster of a destination. One that does not exist is named all the
    /// same: requests to it are answered with 503, and the author is told.
    fn cluster(&self, to: &Destination, field: &str, diagnostics: &mut Vec<Diagnostic>) -> String {
        let found = self.scope.visible.resolve(&to.host);
        let host = found.map_or(&to.host, |f| &f.service.hostname);
        let only = found.filter(|f| f.service.ports.len() == 1).map(|f| f.service.ports[0].number);
        let port = to.port.or(only).unwrap_or(self.port);
        let subset = to.subset.as_deref().unwrap_or_default();
        let field = format!("{field}.destination");
        match found {
            None => {
                let what =
                    format!("found {}, which is no service that namespace {} sees", to.host, self.scope.namespace);
                diagnostics.push(self.missing(format!("{field}.host"), what));
            }
            Some(found) if found.service.port(port).is_none() => {
                let ports: Vec<String> = found.service.ports.iter().map(|p| p.number.to_string()).collect();
                let what = format!("{host} has no port {port}, only {}", ports.join(", "));
                diagnostics.push(self.missing(format!("{field}.port.number"), what));
            }
            Some(found) => {
                let subsets = destination::Destination(&found.rules).subsets();
                if !subset.is_empty() && !subsets.iter().any(|(s, _)| &*s.name == subset) {
                    let what = format!("found {subset:?}, which no DestinationRule for {host} defines");
                    diagnostics.push(self.missing(format!("{field}.subset"), what));
                }
            }
        }
        xds::outbound_cluster(port, subset, host.as_str()).to_string()
    }

    fn metadata(&self, http: &HttpRoute) -> Option<mesh_proto::envoy::config::core::v3::Metadata> {
        let (namespace, name) = (self.rule.meta.namespace(), self.rule.meta.name());
        let path = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/virtual-service/{name}");
        let mut origins = vec![xds::origin(&self.rule.meta)];
        if let HttpAction::Route { destinations, .. } = &http.action {
            let defined = destinations.iter().filter(|d| d.destination.subset.is_some());
            let rules = defined.filter_map(|d| self.scope.visible.resolve(&d.destination.host)).flat_map(|f| &f.rules);
            origins.extend(rules.map(|r| xds::origin(&r.meta)));
        }
        xds::metadata(vec![("config", xds::text(&path))], origins)
    }

    fn report_refused(&self, operations: &header::Operations, field: &str, diagnostics: &mut Vec<Diagnostic>) {
        for (place, command) in &operations.refused {
            diagnostics.push(Diagnostic {
                code: Code::InvalidValue,
                consequence: "this header operation is left out".to_owned(),
                ..self.missing(
                    format!("{field}.{place}"),
                    format!("found {command}, expected %% or a format command such as %PROTOCOL%"),
                )
            });
        }
    }

    fn check_body(&self, body: &[u8], field: &str, diagnostics: &mut Vec<Diagnostic>) {
        if body.len() > action::BODY_BYTES_MAX as usize {
            let what = format!("found {} bytes, expected at most {}", body.len(), action::BODY_BYTES_MAX);
            diagnostics.push(Diagnostic {
                code: Code::InvalidValue,
                consequence: "the answer is sent without a body".to_owned(),
                ..self.missing(format!("{field}.directResponse.body"), what)
            });
        }
    }

    fn missing(&self, field: String, message: String) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            code: Code::MissingReference,
            object: Some(self.rule.meta.object.clone()),
            location: self.rule.meta.location.clone(),
            field,
            message,
            consequence: "requests that are routed there are answered with 503".to_owned(),
        }
    }
}

fn last_is_everything(routes: &[Route]) -> bool {
    routes.last().and_then(|r| r.r#match.as_ref()).is_some_and(|m: &RouteMatch| matches::is_everything(m))
}

fn plain(cluster: &str, weight: Option<mesh_proto::google::protobuf::UInt32Value>) -> ClusterWeight {
    ClusterWeight { name: cluster.to_owned(), weight, ..Default::default() }
}

/// The route's name and that of the match, as Istio joins them.
fn name(http: &HttpRoute, matched: Option<&HttpMatch>) -> String {
    match matched.map(|m| &*m.name).filter(|n| !n.is_empty()) {
        Some(name) if http.name.is_empty() => name.to_owned(),
        Some(name) => format!("{}.{name}", http.name),
        None => http.name.to_string(),
    }
}
