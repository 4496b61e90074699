//! GatewayClasses: which of them are served here, and how.
//!
//! Source: istio `pilot/pkg/config/kube/gatewaycommon/classinfo.go`.

use std::sync::Arc;

use super::conditions::holds;
use super::{Objects, Outcome};
use crate::Name;
use crate::status::ObjectStatus;

/// How a class is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// By gateway proxies of this mesh.
    Served {
        /// Its controller's name.
        controller: &'static str,
    },
    /// By somebody elsewhere: it is declared here and nothing else.
    Remote,
    /// For waypoints or gateways between ambient networks, which the mesh does
    /// not have.
    Ambient,
}

/// Our own controller.
pub(super) const CONTROLLER: &str = "pilothouse.io/gateway-controller";
/// Istio's, so that what was written for it works unchanged.
pub(super) const ISTIO_CONTROLLER: &str = "istio.io/gateway-controller";
/// Who speaks for the mesh towards Services.
pub(super) const MESH_CONTROLLER: &str = "istio.io/mesh-controller";

/// Controllers that are served.
const CONTROLLERS: [(&str, Class); 5] = [
    (CONTROLLER, Class::Served { controller: CONTROLLER }),
    (ISTIO_CONTROLLER, Class::Served { controller: ISTIO_CONTROLLER }),
    ("istio.io/unmanaged-gateway", Class::Remote),
    (MESH_CONTROLLER, Class::Ambient),
    ("istio.io/eastwest-controller", Class::Ambient),
];

/// Classes that need no object.
const BUILT_IN: [(&str, &str); 5] = [
    ("pilothouse", CONTROLLER),
    ("istio", ISTIO_CONTROLLER),
    ("istio-remote", "istio.io/unmanaged-gateway"),
    ("istio-waypoint", MESH_CONTROLLER),
    ("istio-east-west", "istio.io/eastwest-controller"),
];

impl Objects<'_> {
    /// The class of this name; `None` if it is unknown or another controller's.
    pub(super) fn class(&self, name: &str) -> Option<Class> {
        let controller = match self.classes.get(name) {
            Some(class) => &*class.controller,
            None => BUILT_IN.iter().find(|(built_in, _)| *built_in == name)?.1,
        };
        find(controller)
    }
}

fn find(controller: &str) -> Option<Class> {
    CONTROLLERS.iter().find(|(name, _)| *name == controller).map(|(_, class)| *class)
}

/// Every class of a controller that is served is accepted.
pub(super) fn report(objects: &Objects<'_>, outcome: &mut Outcome) {
    for class in objects.classes.values().filter(|class| find(&class.controller).is_some()) {
        let conditions = vec![holds("Accepted", "Accepted", "Served by Pilothouse".to_owned())];
        let status = ObjectStatus { conditions, ..ObjectStatus::default() };
        outcome.statuses.insert(class.meta.object.clone(), Arc::new(status));
    }
}

/// What a Gateway's Deployment and Service are called where a controller made
/// them.
pub(super) fn default_name(name: &str, class: &str, annotation: Option<&str>) -> Name {
    match annotation {
        Some(name) => name.into(),
        None => format!("{name}-{class}").into(),
    }
}

/// Whether a controller's classes are served here.
pub(super) fn is_ours(controller: &str) -> bool {
    find(controller).is_some()
}
