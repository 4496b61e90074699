//! Backends of routes: the destination that each is.
//!
//! Source: `buildDestination` and its callers, istio
//! `pilot/pkg/config/kube/gateway/conversion.go`.

use super::Objects;
use super::conditions::Fault;
use crate::rules::gateway_api::Route;
use crate::rules::gateway_api::route::Backend;
use crate::rules::virtual_service::Destination;
use crate::{Hostname, Name};

/// A backend's destination. `Err` sets the whole route aside; a fault beside a
/// destination is told, and requests for it fail.
pub(super) type Resolved = Result<(Destination, Option<Fault>), Fault>;

/// Weight of a destination that stands alone.
pub(super) const WHOLE: u32 = 100;

impl Objects<'_> {
    /// The destination that a backend of `route` is. `of_mesh`: the route is for
    /// sidecars, whose backends may lie in any namespace.
    pub(super) fn destination(&self, route: &Route, backend: &Backend, of_mesh: bool) -> Resolved {
        let reference = &backend.reference;
        let own = route.meta.namespace();
        if !of_mesh && !self.is_granted(route.meta.object.kind, own, reference) {
            let message = format!(
                "backendRef {}/{} is in another namespace, and no ReferenceGrant there allows it to a {} in {own}",
                reference.namespace.as_deref().unwrap_or_default(),
                reference.name,
                route.meta.object.kind
            );
            return Ok((nowhere(), Some(Fault::new("RefNotPermitted", message))));
        }
        let namespace = reference.namespace.as_ref().unwrap_or(own);
        let (host, known) = match (&*reference.target.group, &*reference.target.kind) {
            ("", "Service") if reference.name.contains('.') => {
                let message = format!("found {}, expected the Service's name, not its host name", reference.name);
                return Err(invalid(message));
            }
            // Services of other clusters are joined with those of the same name.
            ("", "Service") | ("multicluster.x-k8s.io", "ServiceImport") => {
                let found = self.service(namespace, &reference.name).is_some();
                (self.service_host(namespace, &reference.name), found)
            }
            ("networking.istio.io", "Hostname") if reference.namespace.is_some() => {
                return Err(invalid("namespace may not be set with the kind Hostname".to_owned()));
            }
            ("networking.istio.io", "Hostname") => {
                let host = Hostname::new(&reference.name);
                let found = self.lookup(host.clone(), namespace).is_some();
                (host, found)
            }
            (group, kind) => {
                let message =
                    format!("backendRef {} is of the kind {kind} ({group}), expected a Service", reference.name);
                return Ok((nowhere(), Some(Fault::new("InvalidKind", message))));
            }
        };
        let Some(port) = backend.port else {
            return Err(invalid(format!("backendRef {} has no port, expected one", reference.name)));
        };
        let fault = (!known).then(|| Fault::new("BackendNotFound", format!("backend {host} not found")));
        Ok((Destination { host, subset: None, port: Some(port) }, fault))
    }
}

fn invalid(message: String) -> Fault {
    Fault::new("InvalidDestination", message)
}

/// A destination that does not exist.
fn nowhere() -> Destination {
    Destination { host: Hostname::new(""), subset: None, port: None }
}

/// Where connections go whose route has no backend with a weight: nothing is
/// there, so they are closed.
pub(super) fn closed() -> Destination {
    Destination {
        host: Hostname::new("internal.cluster.local"),
        subset: Some(Name::from("zero-weight")),
        port: Some(65535),
    }
}

/// Backends that have a weight, each with its share.
pub(super) fn weighted(backends: &[Backend]) -> Vec<(&Backend, u32)> {
    let used: Vec<&Backend> = backends.iter().filter(|backend| backend.weight > 0).collect();
    match used[..] {
        [one] => vec![(one, WHOLE)],
        _ => used.into_iter().map(|backend| (backend, backend.weight)).collect(),
    }
}
