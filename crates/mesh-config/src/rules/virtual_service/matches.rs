//! The conditions of an HTTP route.
//!
//! Invariant: what is read here matches no request that the author's words do
//! not match. A condition that is not understood takes its whole match away.

use mesh_model::Name;
use mesh_model::rules::virtual_service::{HttpMatch, StringMatch};

use super::{Scope, claims, gateways, headers};
use crate::reader::{Fields, Value};

/// What became of a route's `match`.
pub(super) enum Read {
    /// It is empty: any request matches.
    Any,
    /// Any of these, at least one.
    Some(Vec<HttpMatch>),
    /// None of the conditions can be applied.
    SetAside,
}

pub(super) fn read(value: &Value<'_>, scope: &Scope<'_>) -> Read {
    let items = value.items().unwrap_or_default();
    if items.is_empty() {
        return Read::Any;
    }
    let matches: Vec<HttpMatch> = items.iter().filter_map(|item| one(item, scope)).collect();
    if matches.is_empty() { Read::SetAside } else { Read::Some(matches) }
}

pub(super) const SET_ASIDE: &str = "the match is set aside, lest it catch more than was meant";

/// Reads one set of conditions; `None` if it is wrong or set aside.
fn one(value: &Value<'_>, scope: &Scope<'_>) -> Option<HttpMatch> {
    let fields = value.fields()?;
    let mut whole = true;
    let mut text = |name: &'static str| {
        let value = fields.optional(name)?;
        string_match(&value, &mut whole).filter(|m| *m != StringMatch::Present)
    };
    let (uri, scheme, method, authority) = (text("uri"), text("scheme"), text("method"), text("authority"));
    let matched = HttpMatch {
        name: fields.optional("name").and_then(|v| v.text()).unwrap_or_else(|| "".into()),
        uri,
        ignore_uri_case: fields.optional("ignoreUriCase").and_then(|v| v.boolean()).unwrap_or(false),
        scheme,
        method,
        authority,
        headers: keyed(&fields, "headers", &mut whole, header_name),
        without_headers: keyed(&fields, "withoutHeaders", &mut whole, header_name),
        claims: claims::read(&fields, &mut whole),
        query_params: keyed(&fields, "queryParams", &mut whole, |key| Some(key.clone())),
        port: fields.optional("port").and_then(|v| v.port()),
        source_labels: fields.optional("sourceLabels").and_then(|v| v.labels()).unwrap_or_default(),
        source_namespace: fields.optional("sourceNamespace").and_then(|v| v.text()).filter(|n| !n.is_empty()),
        gateways: fields.optional("gateways").and_then(|v| gateways(&v, scope)).unwrap_or_default(),
    };
    fields.not_applied(&["statPrefix"]);
    whole &= fields.unknown().is_empty();
    fields.finish_with(SET_ASIDE);
    whole.then_some(matched)
}

fn header_name(key: &Name) -> Option<Name> {
    headers::name(key)
}

/// The entries of a map of conditions, sorted; `name` checks and normalises a
/// key.
fn keyed(
    fields: &Fields<'_>,
    field: &'static str,
    whole: &mut bool,
    name: impl Fn(&Name) -> Option<Name>,
) -> Vec<(Name, StringMatch)> {
    let Some(value) = fields.optional(field) else { return Vec::new() };
    let mut matches: Vec<(Name, StringMatch)> = Vec::new();
    for (key, condition) in value.entries().unwrap_or_default() {
        if field != "queryParams" && claims::is_claim(&key) {
            continue;
        }
        let Some(key) = name(&key) else {
            value.error::<()>(format!("found the name {key:?}, expected a header's name"));
            continue;
        };
        if matches.iter().any(|(other, _)| *other == key) {
            value.error::<()>(format!("header {key} stands twice, expected each name once"));
            continue;
        }
        match condition.node().is_null() {
            true => matches.push((key, StringMatch::Present)),
            false => matches.extend(string_match(&condition, whole).map(|m| (key, m))),
        }
    }
    matches.sort_by(|(a, _), (b, _)| a.cmp(b));
    matches
}

/// Reads a StringMatch; an empty one, or one that every string matches, is
/// [`StringMatch::Present`]. `whole` becomes false if it has a field that is not
/// known.
pub(super) fn string_match(value: &Value<'_>, whole: &mut bool) -> Option<StringMatch> {
    let fields = value.fields()?;
    let exact = fields.optional("exact").and_then(|v| v.text()).map(StringMatch::Exact);
    let prefix = fields.optional("prefix").and_then(|v| v.text()).map(|prefix| match prefix.is_empty() {
        true => StringMatch::Present,
        false => StringMatch::Prefix(prefix),
    });
    let regex = fields.optional("regex").and_then(|v| match v.node().text() {
        // Istio's own word for any value, though it is no expression.
        Some(text) if &**text == "*" => Some(StringMatch::Present),
        Some(text) if text.is_empty() => v.invalid("a regular expression"),
        _ => v.regex().map(StringMatch::Regex),
    });
    let given = ["exact", "prefix", "regex"].iter().filter(|name| fields.has(name)).count();
    if given > 1 {
        value.error::<()>("found several of exact, prefix and regex, expected one".to_owned());
    }
    *whole &= fields.unknown().is_empty();
    fields.finish_with(SET_ASIDE);
    match exact.or(prefix).or(regex) {
        Some(found) => Some(found),
        // A value that was there and is wrong has been reported.
        None if given > 0 => None,
        None => Some(StringMatch::Present),
    }
}
