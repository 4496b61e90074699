//! A VirtualService's HTTP routes, as one caller meets them on one port.
//!
//! Who the caller is, and where it enters, is in [`Context`]: a sidecar (the
//! gateway `mesh`), or a gateway by name.

mod forward;
mod report;

use mesh_model::rules::VirtualService;
use mesh_model::rules::virtual_service::{HttpAction, HttpMatch, HttpRoute};
use mesh_model::{Diagnostic, Labels, Name};
use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::{Route, RouteMatch};

use super::{action, filters, header, matches, semantics};
use crate::proxy::Generator;
use crate::rules::MESH_GATEWAY;
use crate::scope;
use crate::xds;
use report::Place;

/// A rule, and who meets it where.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) scope: &'a scope::Outbound,
    pub(crate) rule: &'a VirtualService,
    /// The port that was called.
    pub(crate) port: u16,
    /// The gateway through which requests come, `namespace/name`, or
    /// [`MESH_GATEWAY`] for a sidecar.
    pub(crate) gateway: &'a str,
    /// Whether the caller spoke TLS that ended here.
    pub(crate) tls: bool,
}

/// The conditions of a match on who calls where, which are known beforehand.
pub(crate) struct Caller<'a> {
    pub(crate) port: Option<u16>,
    pub(crate) labels: &'a Labels,
    pub(crate) namespace: Option<&'a Name>,
    pub(crate) gateways: &'a [Name],
}

impl<'a> Context<'a> {
    /// As a sidecar meets `rule` on `port`.
    pub(crate) fn of_sidecar(scope: &'a scope::Outbound, rule: &'a VirtualService, port: u16) -> Self {
        Self { scope, rule, port, gateway: MESH_GATEWAY, tls: false }
    }

    /// Its routes in order, one for each set of conditions that this caller can
    /// meet. What stands after a route that matches everything is never met and
    /// left out.
    pub(crate) fn routes(&self, diagnostics: &mut Vec<Diagnostic>) -> Vec<Route> {
        let mut routes = Vec::new();
        for (index, http) in self.rule.http.iter().enumerate() {
            let place = Place::of(self.rule, http, index);
            if http.matches.is_empty() {
                routes.extend(self.route(http, None, &place, diagnostics));
            }
            for matched in http.matches.iter().filter(|m| self.concerns_http(m)) {
                routes.extend(self.route(http, Some(matched), &place, diagnostics));
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
    /// about the request or the connection. Where a match names gateways, what
    /// it says of callers is about sidecars only.
    ///
    /// Source: `sourceMatchHTTP`, istio `pilot/pkg/networking/core/route/route.go`.
    pub(crate) fn concerns(&self, caller: &Caller<'_>) -> bool {
        if caller.port.is_some_and(|p| p != self.port) {
            return false;
        }
        if !caller.gateways.is_empty() {
            if !caller.gateways.iter().any(|g| **g == *self.gateway) {
                return false;
            }
            if self.gateway != MESH_GATEWAY {
                return true;
            }
        }
        caller.namespace.is_none_or(|n| *n == self.scope.namespace) && caller.labels.selects(&self.scope.labels)
    }

    fn concerns_http(&self, matched: &HttpMatch) -> bool {
        let caller = Caller {
            port: matched.port,
            labels: &matched.source_labels,
            namespace: matched.source_namespace.as_ref(),
            gateways: &matched.gateways,
        };
        // A gRPC library looks at no metadata: the route would take what the
        // claim keeps out.
        let told = self.scope.generator == Generator::Envoy || matched.claims.iter().all(|c| c.without);
        told && self.concerns(&caller)
    }

    /// `None` if a route has no meaning here.
    fn route(
        &self,
        http: &HttpRoute,
        matched: Option<&HttpMatch>,
        place: &Place<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<Route> {
        let request = header::operations(&http.headers.request, true);
        let response = header::operations(&http.headers.response, false);
        place.refused(&request, "headers.request", diagnostics);
        place.refused(&response, "headers.response", diagnostics);
        place.not_for_libraries(http, matched, self.scope.generator, diagnostics);
        let action = match &http.action {
            // Resolved where rules are put together.
            HttpAction::Delegate { .. } => return None,
            HttpAction::Redirect(redirect) => {
                Action::Redirect(action::redirect(redirect, self.port, self.tls, self.rule.semantics))
            }
            HttpAction::DirectResponse { status, body } => {
                place.check_body(body, diagnostics);
                Action::DirectResponse(action::direct_response(*status, body))
            }
            HttpAction::Route { destinations, rewrite } => {
                let authority = request.authority.as_deref();
                Action::Route(self.forward(http, destinations, authority, rewrite.as_ref(), place, diagnostics))
            }
        };
        let mut route = Route {
            name: name(http, matched),
            r#match: Some(matched.map_or_else(matches::everything, matches::route_match)),
            action: Some(action),
            typed_per_filter_config: filters::of_route(http, self.scope.generator),
            request_headers_to_add: request.add,
            request_headers_to_remove: request.remove,
            response_headers_to_add: response.add,
            response_headers_to_remove: response.remove,
            metadata: self.metadata(http),
            ..Default::default()
        };
        semantics::apply(&mut route, self.rule.semantics);
        Some(route)
    }

    fn metadata(&self, http: &HttpRoute) -> Option<mesh_proto::envoy::config::core::v3::Metadata> {
        let (namespace, name) = (self.rule.meta.namespace(), self.rule.meta.name());
        let path = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/virtual-service/{name}");
        let mut origins = vec![xds::origin(&self.rule.meta)];
        let elsewhere = http.origin.as_ref().filter(|o| o.meta.object != self.rule.meta.object);
        origins.extend(elsewhere.map(|o| xds::origin(&o.meta)));
        if let HttpAction::Route { destinations, .. } = &http.action {
            let defined = destinations.iter().filter(|d| d.destination.subset.is_some());
            let rules = defined.filter_map(|d| self.scope.visible.resolve(&d.destination.host)).flat_map(|f| &f.rules);
            origins.extend(rules.map(|r| xds::origin(&r.meta)));
        }
        xds::metadata(vec![("config", xds::text(&path))], origins)
    }
}

fn last_is_everything(routes: &[Route]) -> bool {
    routes.last().and_then(|r| r.r#match.as_ref()).is_some_and(|m: &RouteMatch| matches::is_everything(m))
}

/// The route's name and that of the match, as Istio joins them.
fn name(http: &HttpRoute, matched: Option<&HttpMatch>) -> String {
    match matched.map(|m| &*m.name).filter(|n| !n.is_empty()) {
        Some(name) if http.name.is_empty() => name.to_owned(),
        Some(name) => format!("{}.{name}", http.name),
        None => http.name.to_string(),
    }
}
