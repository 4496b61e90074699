//! What HTTPRoutes and GRPCRoutes match, in a VirtualService's terms.
//!
//! Source: `createURIMatch`, `createGRPCURIMatch` and their neighbours, istio
//! `pilot/pkg/config/kube/gateway/conversion.go`.

use mesh_model::Name;
use mesh_model::rules::virtual_service::{HttpMatch, StringMatch};

use super::{items, text};
use crate::reader::{Fields, Value};
use crate::rules::virtual_service::header_name;

pub(super) fn http(value: &Value<'_>) -> Option<HttpMatch> {
    let fields = value.fields()?;
    let path = match fields.optional("path") {
        Some(path) => path_match(&path),
        None => Some(StringMatch::Prefix("/".into())),
    };
    let headers = keyed(&fields, "headers", header_name);
    let query_params = keyed(&fields, "queryParams", |name| (!name.is_empty()).then(|| name.into()));
    let method = fields.optional("method").map(|v| v.filled_text("a method such as GET"));
    fields.finish();
    let method = match method {
        Some(method) => Some(StringMatch::Exact(method?)),
        None => None,
    };
    Some(HttpMatch { uri: Some(path?), headers: headers?, query_params: query_params?, method, ..HttpMatch::default() })
}

#[derive(Clone, Copy, PartialEq)]
enum PathType {
    Exact,
    Prefix,
    Regex,
}

fn path_match(value: &Value<'_>) -> Option<StringMatch> {
    let fields = value.fields()?;
    let types = [("Exact", PathType::Exact), ("PathPrefix", PathType::Prefix), ("RegularExpression", PathType::Regex)];
    let kind = fields.optional("type").map_or(Some(PathType::Prefix), |v| v.one_of(&types))?;
    let value = fields.optional("value");
    fields.finish();
    let Some(value) = value else {
        return Some(match kind {
            PathType::Exact => StringMatch::Exact("/".into()),
            PathType::Prefix => StringMatch::Prefix("/".into()),
            PathType::Regex => StringMatch::Regex("/".into()),
        });
    };
    if kind == PathType::Regex {
        return value.regex().map(StringMatch::Regex);
    }
    let text = value.text()?;
    if !text.starts_with('/') {
        return value.invalid("a path that begins with /");
    }
    Some(match kind {
        PathType::Exact => StringMatch::Exact(text),
        // A trailing slash is ignored.
        _ => match text.strip_suffix('/') {
            Some(rest) if !rest.is_empty() => StringMatch::Prefix(rest.into()),
            _ => StringMatch::Prefix(text),
        },
    })
}

/// A list of conditions on named values, sorted; of several for one name the
/// first holds, as the API says. `None` if one cannot be read.
fn keyed(
    fields: &Fields<'_>,
    field: &'static str,
    name: impl Fn(&str) -> Option<Name>,
) -> Option<Vec<(Name, StringMatch)>> {
    let mut found: Vec<(Name, StringMatch)> = Vec::new();
    for item in items(fields, field) {
        let fields = item.fields()?;
        let regex = fields.optional("type").map_or(Some(false), |v| v.one_of(&WORDS))?;
        let key = fields.required("name", "a name")?;
        let value = fields.required("value", "a value")?;
        fields.finish();
        let Some(key) = name(&key.text()?) else { return key.invalid("a header's or parameter's name") };
        let value = match regex {
            true => StringMatch::Regex(value.regex()?),
            false => StringMatch::Exact(value.text()?),
        };
        if !found.iter().any(|(other, _)| *other == key) {
            found.push((key, value));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Some(found)
}

/// Whether a condition is a regular expression.
const WORDS: [(&str, bool); 2] = [("Exact", false), ("RegularExpression", true)];

pub(super) fn grpc(value: &Value<'_>) -> Option<HttpMatch> {
    let fields = value.fields()?;
    let uri = match fields.optional("method") {
        Some(method) => Some(method_match(&method)?),
        None => None,
    };
    let headers = keyed(&fields, "headers", header_name);
    fields.finish();
    Some(HttpMatch { uri, headers: headers?, ..HttpMatch::default() })
}

/// A gRPC method is the path `/SERVICE/METHOD`.
fn method_match(value: &Value<'_>) -> Option<StringMatch> {
    let fields = value.fields()?;
    let regex = fields.optional("type").map_or(Some(false), |v| v.one_of(&WORDS))?;
    let part = |name| match (fields.optional(name), regex) {
        (None, _) => Some(None),
        (Some(value), true) => value.regex().map(Some),
        (Some(value), false) => value.filled_text("a name").map(Some),
    };
    let (service, method) = (part("service"), part("method"));
    fields.finish();
    let regex_of = |text: String| Some(StringMatch::Regex(text.into()));
    match (service?, method?, regex) {
        (None, None, _) => value.invalid("service, method or both"),
        (Some(service), None, false) => Some(StringMatch::Prefix(format!("/{service}/").into())),
        (Some(service), Some(method), false) => Some(StringMatch::Exact(format!("/{service}/{method}").into())),
        (None, Some(method), false) => regex_of(format!("/[^/]+/{}", regex::escape(&method))),
        (Some(service), None, true) => regex_of(format!("/{service}/.+")),
        (Some(service), Some(method), true) => regex_of(format!("/{service}/{method}")),
        (None, Some(method), true) => regex_of(format!("/[^/]+/{method}")),
    }
}

/// The text of a field that names a host, whose case does not count.
pub(super) fn lower(fields: &Fields<'_>, name: &'static str) -> Option<Name> {
    text(fields, name).map(|text| text.to_ascii_lowercase().into())
}
