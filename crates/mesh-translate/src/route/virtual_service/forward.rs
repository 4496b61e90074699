//! Where requests are sent on to: clusters, weights, copies.

use mesh_model::Diagnostic;
use mesh_model::rules::virtual_service::{
    Destination, Headers, HttpRoute, Millionths, Mirror, Rewrite, WeightedDestination,
};
use mesh_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use mesh_proto::envoy::config::route::v3::route_action::{ClusterSpecifier, RequestMirrorPolicy};
use mesh_proto::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use mesh_proto::envoy::config::route::v3::{RouteAction, WeightedCluster};

use super::Context;
use super::report::Place;
use crate::destination;
use crate::proxy::Generator;
use crate::route::{action, filters, hash, header, retry};
use crate::xds;

impl Context<'_> {
    pub(super) fn forward(
        &self,
        http: &HttpRoute,
        destinations: &[WeightedDestination],
        authority: Option<&str>,
        rewrite: Option<&Rewrite>,
        place: &Place<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> RouteAction {
        let mut forward = self.target(destinations, place, diagnostics);
        if let Some(authority) = authority {
            action::set_authority(&mut forward, authority);
        }
        if let Some(rewrite) = rewrite {
            action::set_rewrite(&mut forward, rewrite);
        }
        action::set_timeout(&mut forward, http.timeout, self.scope.generator);
        let default = self.scope.mesh.default_http_retry_policy.as_ref();
        forward.retry_policy = retry::policy(http.retries.as_ref().or(default));
        hash::apply(&mut forward, self.scope, false);
        if self.scope.generator == Generator::Envoy {
            let copied = http.mirrors.iter().filter(|m| m.share > Millionths(0));
            forward.request_mirror_policies = copied.map(|m| self.mirror(m, place, diagnostics)).collect();
        }
        forward
    }

    fn mirror(&self, mirror: &Mirror, place: &Place<'_>, diagnostics: &mut Vec<Diagnostic>) -> RequestMirrorPolicy {
        RequestMirrorPolicy {
            cluster: self.cluster(&mirror.destination, &place.below("mirror"), diagnostics),
            runtime_fraction: Some(RuntimeFractionalPercent {
                default_value: Some(filters::share(mirror.share)),
                ..Default::default()
            }),
            trace_sampled: xds::truth(false),
            ..Default::default()
        }
    }

    /// To one cluster or, by weight, to several.
    fn target(
        &self,
        destinations: &[WeightedDestination],
        place: &Place<'_>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> RouteAction {
        let mut weighted = Vec::new();
        for (index, one) in weighing(destinations) {
            let place = place.below(&format!("route[{index}]"));
            let cluster = self.cluster(&one.destination, &place.below("destination"), diagnostics);
            weighted.push(one_of(&cluster, one, &place, diagnostics));
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

    /// The cluster of a destination. One that does not exist is named all the
    /// same: requests to it are answered with 503, and the author is told.
    fn cluster(&self, to: &Destination, place: &Place<'_>, diagnostics: &mut Vec<Diagnostic>) -> String {
        let found = self.scope.visible.resolve(&to.host);
        let host = found.map_or(&to.host, |f| &f.service.hostname);
        let only = found.filter(|f| f.service.ports.len() == 1).map(|f| f.service.ports[0].number);
        let port = to.port.or(only).unwrap_or(self.port);
        let subset = to.subset.as_deref().unwrap_or_default();
        match found {
            None => {
                let what =
                    format!("found {}, which is no service that namespace {} sees", to.host, self.scope.namespace);
                diagnostics.push(place.missing("host", what));
            }
            Some(found) if found.service.port(port).is_none() => {
                let ports: Vec<String> = found.service.ports.iter().map(|p| p.number.to_string()).collect();
                let what = format!("{host} has no port {port}, only {}", ports.join(", "));
                diagnostics.push(place.missing("port.number", what));
            }
            Some(found) => {
                let subsets = destination::Destination(&found.rules).subsets();
                if !subset.is_empty() && !subsets.iter().any(|(s, _)| &*s.name == subset) {
                    let what = format!("found {subset:?}, which no DestinationRule for {host} defines");
                    diagnostics.push(place.missing("subset", what));
                }
            }
        }
        xds::outbound_cluster(port, subset, host.as_str()).to_string()
    }
}

/// Destinations that get any requests, with their place among all.
fn weighing(destinations: &[WeightedDestination]) -> impl Iterator<Item = (usize, &WeightedDestination)> {
    let single = destinations.len() == 1;
    destinations.iter().enumerate().filter(move |(_, d)| d.weight > 0 || single)
}

fn one_of(
    cluster: &str,
    destination: &WeightedDestination,
    place: &Place<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> ClusterWeight {
    let Headers { request, response } = &destination.headers;
    let (request, response) = (header::operations(request, true), header::operations(response, false));
    place.refused(&request, "headers.request", diagnostics);
    place.refused(&response, "headers.response", diagnostics);
    ClusterWeight {
        request_headers_to_add: request.add,
        request_headers_to_remove: request.remove,
        response_headers_to_add: response.add,
        response_headers_to_remove: response.remove,
        host_rewrite_specifier: request.authority.map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..plain(cluster, xds::number(destination.weight.max(1)))
    }
}

fn plain(cluster: &str, weight: Option<mesh_proto::google::protobuf::UInt32Value>) -> ClusterWeight {
    ClusterWeight { name: cluster.to_owned(), weight, ..Default::default() }
}
