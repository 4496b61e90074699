//! Delegation: a rule leaves a part of its requests to the routes of another.
//!
//! [`resolve`] puts the delegate's routes where the root delegates, each with
//! the conditions of both. What the delegate leaves out, such as a timeout, it
//! has from the root.
//!
//! Invariant: what comes out has hosts and no [`HttpAction::Delegate`]; a merged
//! route matches nothing that the root's own route does not match. Chains of
//! delegates do not exist: a delegate has no hosts, and a rule without hosts may
//! not delegate (the parser refuses it).
//!
//! Source: `mergeVirtualServicesIfNeeded`, istio `pilot/pkg/model/virtualservice.go`.

mod conditions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::VirtualService;
use super::virtual_service::{HttpAction, HttpRoute, Rewrite, RouteOrigin};
use crate::{Code, Diagnostic, Kind, Meta, Name, ObjectRef, Severity};

/// The rules that have hosts, in the order of `rules`, with all delegation
/// resolved; and what of it could not be.
///
/// `before` is what came out last time: a merged rule that is equal is the same
/// `Arc` again.
pub fn resolve(
    rules: Vec<Arc<VirtualService>>,
    before: &[Arc<VirtualService>],
) -> (Vec<Arc<VirtualService>>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    if !rules.iter().any(|r| r.is_delegate() || delegates(r)) {
        return (rules, diagnostics);
    }
    let named = rules.iter().filter(|r| r.meta.object.kind == Kind::VirtualService);
    let by_name: BTreeMap<(Name, Name), Arc<VirtualService>> =
        named.map(|r| ((r.meta.namespace().clone(), r.meta.name().clone()), r.clone())).collect();
    let before: BTreeMap<&ObjectRef, &Arc<VirtualService>> = before.iter().map(|r| (&r.meta.object, r)).collect();
    let resolved = rules.into_iter().filter(|r| !r.is_delegate()).map(|rule| {
        if !delegates(&rule) {
            return rule;
        }
        let merged = merge(&rule, &by_name, &mut diagnostics);
        match before.get(&merged.meta.object) {
            Some(before) if ***before == merged => (*before).clone(),
            _ => Arc::new(merged),
        }
    });
    let resolved = resolved.collect();
    (resolved, diagnostics)
}

fn delegates(rule: &VirtualService) -> bool {
    rule.http.iter().any(|route| matches!(route.action, HttpAction::Delegate { .. }))
}

fn merge(
    root: &VirtualService,
    rules: &BTreeMap<(Name, Name), Arc<VirtualService>>,
    diagnostics: &mut Vec<Diagnostic>,
) -> VirtualService {
    let mut http = Vec::new();
    for (index, route) in root.http.iter().enumerate() {
        let HttpAction::Delegate { namespace, name, rewrite } = &route.action else {
            http.push(HttpRoute { origin: origin_of(route, &root.meta, index), ..route.clone() });
            continue;
        };
        let key = (namespace.clone(), name.clone());
        match usable(root, &key, rules.get(&key)) {
            Err(why) => diagnostics.push(unusable(&root.meta, index, why)),
            Ok(delegate) => {
                for (place, leaf) in delegate.http.iter().enumerate() {
                    match merged(route, rewrite.as_ref(), leaf) {
                        Some(found) => {
                            http.push(HttpRoute { origin: origin_of(leaf, &delegate.meta, place), ..found });
                        }
                        None => diagnostics.push(contradicts(delegate, place, &root.meta.object)),
                    }
                }
            }
        }
    }
    VirtualService { http, ..root.clone() }
}

fn origin_of(route: &HttpRoute, meta: &Arc<Meta>, index: usize) -> Option<RouteOrigin> {
    Some(route.origin.clone().unwrap_or_else(|| RouteOrigin { meta: meta.clone(), index }))
}

fn usable<'a>(
    root: &VirtualService,
    (namespace, name): &(Name, Name),
    found: Option<&'a Arc<VirtualService>>,
) -> Result<&'a Arc<VirtualService>, String> {
    let Some(delegate) = found else {
        return Err(format!("found {namespace}/{name}, which does not exist or is not in force"));
    };
    if !delegate.is_delegate() {
        return Err(format!("found {namespace}/{name}, which has hosts of its own, expected a rule without hosts"));
    }
    if !delegate.export_to.includes(root.meta.namespace()) {
        return Err(format!("found {namespace}/{name}, which is not exported to namespace {}", root.meta.namespace()));
    }
    Ok(delegate)
}

/// The delegate's route with what the root's says; `None` if no request can
/// meet the conditions of both.
fn merged(root: &HttpRoute, root_rewrite: Option<&Rewrite>, leaf: &HttpRoute) -> Option<HttpRoute> {
    let matches = conditions::all(&root.matches, &leaf.matches)?;
    let mut action = leaf.action.clone();
    if let HttpAction::Route { rewrite, .. } = &mut action
        && rewrite.is_none()
    {
        *rewrite = root_rewrite.cloned();
    }
    Some(HttpRoute {
        name: conditions::joined(&root.name, &leaf.name),
        matches,
        action,
        timeout: leaf.timeout.or(root.timeout),
        retries: leaf.retries.clone().or_else(|| root.retries.clone()),
        headers: if leaf.headers == Default::default() { root.headers.clone() } else { leaf.headers.clone() },
        fault: leaf.fault.clone().or_else(|| root.fault.clone()),
        mirrors: if leaf.mirrors.is_empty() { root.mirrors.clone() } else { leaf.mirrors.clone() },
        cors: leaf.cors.clone().or_else(|| root.cors.clone()),
        origin: leaf.origin.clone(),
    })
}

fn unusable(root: &Arc<Meta>, index: usize, message: String) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::MissingReference,
        object: Some(root.object.clone()),
        location: root.location.clone(),
        field: format!("spec.http[{index}].delegate"),
        message,
        consequence: "the route is left out, the routes after it apply".to_owned(),
    }
}

fn contradicts(delegate: &VirtualService, index: usize, root: &ObjectRef) -> Diagnostic {
    Diagnostic {
        severity: Severity::Warning,
        code: Code::Conflict,
        object: Some(delegate.meta.object.clone()),
        location: delegate.meta.location.clone(),
        field: format!("spec.http[{index}].match"),
        message: format!("its conditions are not within those under which {root} delegates here"),
        consequence: format!("the route is not used for the hosts of {root}"),
    }
}
