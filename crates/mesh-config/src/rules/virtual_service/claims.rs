//! Conditions on claims of the request's JWT, which stand among the headers.

use mesh_model::Name;
use mesh_model::rules::virtual_service::{ClaimMatch, StringMatch};

use super::matches;
use crate::reader::{Fields, Value};
use crate::yaml;

/// How the key of such a condition begins.
const PREFIX: &str = "@request.auth.claims";

/// Whether a key among the headers is about a claim.
pub(super) fn is_claim(key: &str) -> bool {
    key.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Reads the claims in `headers` and `withoutHeaders`, in the order of their
/// keys. `whole` becomes false if one is not understood.
pub(super) fn read(fields: &Fields<'_>, whole: &mut bool) -> Vec<ClaimMatch> {
    let mut claims = Vec::new();
    for (field, without) in [("headers", false), ("withoutHeaders", true)] {
        let Some(value) = fields.optional(field) else { continue };
        // That it is no map, the reader of headers says.
        let is_map = matches!(value.node().value, yaml::Value::Map(_));
        let entries = if is_map { value.entries() } else { None };
        let mut found: Vec<(Name, Value<'_>)> =
            entries.unwrap_or_default().into_iter().filter(|(key, _)| is_claim(key)).collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, condition) in found {
            let Some(path) = path(&key[PREFIX.len()..]) else {
                condition.error::<()>(format!("found {key:?}, expected {PREFIX}.name or {PREFIX}[name][nested]"));
                continue;
            };
            let value = match condition.node().is_null() {
                true => Some(StringMatch::Present),
                false => matches::string_match(&condition, whole),
            };
            claims.extend(value.map(|value| ClaimMatch { path, value, without }));
        }
    }
    claims
}

/// `.a.b` and `[a][b]` both lead to `b` in `a`; names in brackets may have dots.
///
/// Source: `ToRoutingClaim`, istio `pkg/jwt/routing.go`.
fn path(text: &str) -> Option<Vec<Name>> {
    let names: Vec<Name> = match text.strip_prefix('.') {
        Some(rest) => rest.split('.').map(Into::into).collect(),
        None => text.strip_prefix('[')?.strip_suffix(']')?.split("][").map(Into::into).collect(),
    };
    let right = names.len() <= DEPTH_MAX && names.iter().all(|n| !n.is_empty() && !n.contains(['[', ']']));
    right.then_some(names)
}

/// How deep a claim may be nested.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let got = path(text);
        let got: Option<Vec<&str>> = got.as_ref().map(|p| p.iter().map(|n| &**n).collect());
        assert_eq!(got.as_deref(), expected, "{text}");
    }

    #[test]
    fn dots_and_brackets_lead_to_nested_claims() {
        check(".admin", Some(&["admin"]));
        check(".group.id", Some(&["group", "id"]));
        check("[group][id]", Some(&["group", "id"]));
        check("[https://example.com/x]", Some(&["https://example.com/x"]));
    }

    #[test]
    fn what_names_no_claim_is_refused() {
        check("", None);
        check(".", None);
        check(".a..b", None);
        check("admin", None);
        check("[a", None);
        check("[]", None);
        check("[a][]", None);
        check(&".a".repeat(17), None);
    }
}
