//! One HTTP route.

use mesh_model::Code;
use mesh_model::rules::virtual_service::{HttpAction, HttpRoute};

use super::{Scope, action, cors, fault, headers, matches, mirror, retries};
use crate::reader::{Fields, Value};

/// Reads a route. `None` if it is wrong (then there is an error) or set aside
/// (then there is a warning).
pub(super) fn read(value: &Value<'_>, scope: &Scope<'_>) -> Option<HttpRoute> {
    let fields = value.fields()?;
    let name = fields.optional("name").and_then(|v| v.text()).unwrap_or_else(|| "".into());
    let matches = fields.optional("match").map_or(matches::Read::Any, |v| matches::read(&v, scope));
    let action = action::read(&fields, scope);
    // Zero is no limit, as Envoy has it and much of what is written for Istio.
    let timeout = fields.optional("timeout").and_then(|v| v.duration_or_zero());
    let retries = fields.optional("retries").and_then(|v| retries::read(&v));
    let headers = fields.optional("headers").and_then(|v| headers::read(&v)).unwrap_or_default();
    let fault = fields.optional("fault").and_then(|v| fault::read(&v));
    let mirrors = mirror::read(&fields, scope);
    let cors = fields.optional("corsPolicy").and_then(|v| cors::read(&v));
    check_one_action(&fields, action.is_some());
    fields.finish();
    let action = action?;
    if matches!(action, HttpAction::Redirect(_)) && retries.is_some() {
        value.warn(Code::Conflict, "found retries beside redirect".to_owned(), "the retries have no effect");
    }
    if matches!(action, HttpAction::Redirect(_) | HttpAction::DirectResponse { .. }) && !mirrors.is_empty() {
        value.warn(Code::Conflict, "found a mirror where nothing is sent on".to_owned(), "no copies are sent");
    }
    let matches = match matches {
        matches::Read::Any => Vec::new(),
        matches::Read::Some(matches) => matches,
        matches::Read::SetAside => {
            let message = "none of its match conditions can be applied".to_owned();
            value.warn(Code::NotApplied, message, "the route is set aside, the others apply");
            return None;
        }
    };
    Some(HttpRoute { name, matches, action, timeout, retries, headers, fault, mirrors, cors, origin: None })
}

fn check_one_action(fields: &Fields<'_>, has_action: bool) {
    let actions = ["route", "redirect", "directResponse", "delegate"];
    let found: Vec<&str> = actions.into_iter().filter(|name| fields.has(name)).collect();
    match found.as_slice() {
        [] if !has_action => fields.missing("route", "route, redirect, directResponse or delegate"),
        [_, _, ..] => {
            fields.error::<()>(format!("found {} together, expected only one of them", found.join(" and ")));
        }
        _ => {}
    }
    let answers = fields.has("redirect") || fields.has("directResponse");
    if answers && fields.has("rewrite") {
        fields.error::<()>("found rewrite beside redirect or directResponse, expected it beside route".to_owned());
    }
}
