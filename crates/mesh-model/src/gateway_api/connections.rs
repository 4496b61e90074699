//! Rules of TLSRoutes and TCPRoutes as routes of a VirtualService.
//!
//! Source: `convertTLSRoute`, `convertTCPRoute`, `constrainTLSRoutesToListenerHost`
//! and `compatibleRoutesForHost`, istio
//! `pilot/pkg/config/kube/gateway/conversion.go`.

use super::Objects;
use super::backends::{WHOLE, closed, weighted};
use super::http::Converted;
use super::parents::overlap;
use crate::Hostname;
use crate::rules::gateway_api::Route;
use crate::rules::virtual_service::{ConnectionMatch, ConnectionRoute, Headers, WeightedDestination};

/// All rules of a TCPRoute, or of a TLSRoute for the given server names.
pub(super) fn convert(
    objects: &Objects<'_>,
    route: &Route,
    of_mesh: bool,
    sni_hosts: Option<&[Hostname]>,
) -> Converted<ConnectionRoute> {
    let mut converted = Converted::default();
    for rule in &route.rules {
        let mut destinations = Vec::new();
        for (backend, weight) in weighted(&rule.backends) {
            match objects.destination(route, backend, of_mesh) {
                Ok((destination, fault)) => {
                    converted.fault = fault.or(converted.fault);
                    destinations.push(WeightedDestination { destination, weight, headers: Headers::default() });
                }
                Err(fault) => return Converted { routes: Vec::new(), fault: Some(fault) },
            }
        }
        if destinations.is_empty() {
            let destination = closed();
            destinations.push(WeightedDestination { destination, weight: WHOLE, headers: Headers::default() });
        }
        let of_names = |names: &[Hostname]| ConnectionMatch { sni_hosts: names.to_vec(), ..ConnectionMatch::default() };
        converted.routes.push(ConnectionRoute { matches: sni_hosts.into_iter().map(of_names).collect(), destinations });
    }
    converted
}

/// The same routes for one port alone.
pub(super) fn on_port(mut routes: Vec<ConnectionRoute>, port: u16) -> Vec<ConnectionRoute> {
    for route in &mut routes {
        if route.matches.is_empty() {
            route.matches.push(ConnectionMatch::default());
        }
        route.matches.iter_mut().for_each(|m| m.port = Some(port));
    }
    routes
}

/// The names that are in both lists: of two that cover each other, the narrower.
///
/// Source: `Names.Intersection`, istio `pkg/config/host/names.go`.
pub(super) fn intersection(a: &[Hostname], b: &[Hostname]) -> Vec<Hostname> {
    let mut both: Vec<Hostname> = Vec::new();
    for (x, y) in a.iter().flat_map(|x| b.iter().map(move |y| (x, y))) {
        let narrower = match (y.covers(x), x.covers(y)) {
            (true, _) => x,
            (_, true) => y,
            _ => continue,
        };
        if !both.contains(narrower) {
            both.push(narrower.clone());
        }
    }
    both
}

/// Of several server names, those that a rule for `host` may list.
pub(super) fn fitting(routes: &[ConnectionRoute], host: &Hostname) -> Vec<ConnectionRoute> {
    let mut routes = routes.to_vec();
    for m in routes.iter_mut().flat_map(|route| &mut route.matches).filter(|m| m.sni_hosts.len() > 1) {
        m.sni_hosts.retain(|name| overlap(host, name));
    }
    routes
}
