//! What is done to requests and responses on the way, in a VirtualService's
//! terms.
//!
//! Source: `createHeadersFilter`, `createRedirectFilter`, `createRewriteFilter`,
//! `createMirrorFilter` and `createCorsFilter`, istio
//! `pilot/pkg/config/kube/gateway/conversion.go`.

use std::time::Duration;

use mesh_model::rules::gateway_api::route::Filter;
use mesh_model::rules::virtual_service::{
    Cors, HeaderOperations, Millionths, Redirect, RedirectPort, Rewrite, StringMatch,
};
use mesh_model::{Kind, Name};

use super::matches::lower;
use super::{items, route, text};
use crate::reader::{Fields, Value};
use crate::rules::virtual_service::{check_header_value, header_name};

pub(super) fn read(kind: Kind, fields: &Fields<'_>) -> Vec<Filter> {
    items(fields, "filters").iter().filter_map(|item| one(kind, item)).collect()
}

fn one(kind: Kind, value: &Value<'_>) -> Option<Filter> {
    let fields = value.fields()?;
    let name = fields.required("type", "a filter's type such as RequestHeaderModifier")?.text()?;
    let (part, read): (_, fn(Kind, &Fields<'_>) -> Option<Filter>) = match (&*name, kind) {
        ("RequestHeaderModifier", _) => ("requestHeaderModifier", |_, f| Some(headers(f, Filter::RequestHeaders))),
        ("ResponseHeaderModifier", _) => ("responseHeaderModifier", |_, f| Some(headers(f, Filter::ResponseHeaders))),
        ("RequestMirror", _) => ("requestMirror", mirror),
        ("RequestRedirect", Kind::HttpRoute) => ("requestRedirect", |_, f| redirect(f)),
        ("URLRewrite", Kind::HttpRoute) => ("urlRewrite", |_, f| rewrite(f)),
        ("CORS", Kind::HttpRoute) => ("cors", |_, f| Some(Filter::Cors(cors(f)))),
        _ => {
            fields.not_applied(&["extensionRef", "externalAuth"]);
            return Some(Filter::Unsupported(name));
        }
    };
    let inner = fields.required(part, "a map, as the filter's type says")?.fields()?;
    let filter = read(kind, &inner);
    inner.finish();
    fields.finish();
    filter
}

fn headers(fields: &Fields<'_>, filter: fn(HeaderOperations) -> Filter) -> Filter {
    let mut bad = None;
    let (set, add) = (pairs(fields, "set", &mut bad), pairs(fields, "add", &mut bad));
    let mut remove: Vec<Name> = Vec::new();
    for item in items(fields, "remove") {
        match item.text().map(|text| header_name(&text)) {
            // Without its host a request goes nowhere.
            Some(Some(name)) if !name.starts_with(':') && &*name != "host" => remove.push(name),
            Some(_) => drop(item.invalid::<()>("a header's name other than Host")),
            None => {}
        }
    }
    match bad {
        Some(name) => Filter::InvalidHeader(name),
        None => filter(HeaderOperations { set, add, remove }),
    }
}

/// Of several entries with one name the first holds, as the API says. `bad`
/// becomes the name of a header whose value no header may have.
fn pairs(fields: &Fields<'_>, field: &'static str, bad: &mut Option<Name>) -> Vec<(Name, Name)> {
    let mut pairs: Vec<(Name, Name)> = Vec::new();
    for item in items(fields, field) {
        let Some(fields) = item.fields() else { continue };
        let key = fields.required("name", "a header's name").and_then(|v| v.text());
        let value = fields.required("value", "a header's value").and_then(|v| v.text());
        fields.finish();
        let Some((key, value)) = key.zip(value) else { continue };
        let Some(key) = header_name(&key).filter(|key| !key.starts_with(':')) else {
            item.error::<()>(format!("found the name {key:?}, expected a header's name"));
            continue;
        };
        if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
            bad.get_or_insert_with(|| key.clone());
        }
        // A `%` that begins no command of the proxy is meant as it stands.
        let value = if check_header_value(&value).is_ok() { value } else { value.replace('%', "%%").into() };
        if !pairs.iter().any(|(other, _)| *other == key) {
            pairs.push((key, value));
        }
    }
    pairs.sort();
    pairs
}

fn mirror(kind: Kind, fields: &Fields<'_>) -> Option<Filter> {
    let backend = fields.required("backendRef", "a Service").and_then(|v| route::backend(kind, &v));
    let percent = fields.optional("percent").map(|v| v.number(0.0, 100.0).map(|p| p / 100.0));
    let fraction = fields.optional("fraction").map(|v| fraction(&v));
    let share = match (fraction, percent) {
        (Some(part), _) | (None, Some(part)) => part?,
        (None, None) => 1.0,
    };
    let share = Millionths((share * f64::from(Millionths::ALL.0)).round() as u32);
    Some(Filter::Mirror { backend: Box::new(backend?), share })
}

/// Percents, where no denominator is given.
const DENOMINATOR: f64 = 100.0;

fn fraction(value: &Value<'_>) -> Option<f64> {
    let fields = value.fields()?;
    let numerator = fields.required("numerator", "a number")?.number(0.0, f64::from(i32::MAX))?;
    let denominator = fields.optional("denominator").map_or(Some(DENOMINATOR), |v| v.number(1.0, f64::from(i32::MAX)));
    fields.finish();
    let denominator = denominator?;
    if numerator > denominator {
        return value.error(format!("found {numerator} of {denominator}, expected at most all of them"));
    }
    Some(numerator / denominator)
}

#[derive(Clone, Copy, PartialEq)]
enum PathType {
    Full,
    Prefix,
}

/// The path that is put in, and in place of what.
fn path(fields: &Fields<'_>) -> Option<Option<(PathType, Name)>> {
    let Some(value) = fields.optional("path") else { return Some(None) };
    let fields = value.fields()?;
    let types = [("ReplaceFullPath", PathType::Full), ("ReplacePrefixMatch", PathType::Prefix)];
    let kind = fields.required("type", "ReplaceFullPath or ReplacePrefixMatch")?.one_of(&types)?;
    let (full, prefix) = (text(&fields, "replaceFullPath"), text(&fields, "replacePrefixMatch"));
    fields.finish();
    match (kind, full, prefix) {
        (PathType::Full, Some(path), None) | (PathType::Prefix, None, Some(path)) => Some(Some((kind, path))),
        _ => value.invalid("the path of that type"),
    }
}

fn redirect(fields: &Fields<'_>) -> Option<Filter> {
    let scheme = fields.optional("scheme").and_then(|v| v.one_of(&[("http", "http"), ("https", "https")]));
    let port = fields.optional("port").map(|v| v.port());
    let code = fields.optional("statusCode").map_or(Some(REDIRECT_CODE), |v| v.integer(300, 399)?.try_into().ok());
    let authority = lower(fields, "hostname").filter(|h| !h.is_empty());
    let (mut uri, mut prefix) = (None, None);
    match path(fields)? {
        Some((PathType::Full, path)) => uri = Some(path),
        Some((PathType::Prefix, path)) => prefix = Some(path),
        None => {}
    }
    let port = match (port, scheme) {
        (Some(port), _) => RedirectPort::Number(port?),
        (None, Some(_)) => RedirectPort::FromProtocol,
        (None, None) => RedirectPort::FromRequest,
    };
    Some(Filter::Redirect(Redirect {
        uri,
        prefix,
        authority,
        port: Some(port),
        scheme: scheme.map(Into::into),
        code: code?,
    }))
}

/// Found.
const REDIRECT_CODE: u16 = 302;

fn rewrite(fields: &Fields<'_>) -> Option<Filter> {
    let authority = lower(fields, "hostname").filter(|h| !h.is_empty());
    let mut rewrite = Rewrite { uri: None, authority, uri_regex: None };
    match path(fields)? {
        Some((PathType::Prefix, path)) => {
            // `/` and nothing both mean that the prefix goes.
            let path = path.strip_suffix('/').unwrap_or(&path);
            rewrite.uri = Some(if path.is_empty() { "/".into() } else { path.into() });
        }
        Some((PathType::Full, path)) => rewrite.uri_regex = Some(("/.*".into(), path)),
        None => {}
    }
    Some(Filter::Rewrite(rewrite))
}

fn cors(fields: &Fields<'_>) -> Cors {
    let list = |name| fields.optional(name).and_then(|v| v.texts()).unwrap_or_default();
    let max_age = fields.optional("maxAge").and_then(|v| v.count()).filter(|seconds| *seconds > 0);
    Cors {
        allow_origins: list("allowOrigins").iter().filter(|o| !o.is_empty()).map(|o| origin(o)).collect(),
        allow_methods: list("allowMethods"),
        allow_headers: list("allowHeaders"),
        expose_headers: list("exposeHeaders"),
        max_age: max_age.map(|seconds| Duration::from_secs(seconds.into())),
        allow_credentials: fields.optional("allowCredentials").and_then(|v| v.boolean()).filter(|allow| *allow),
        ignore_unmatched_preflights: true,
    }
}

/// An origin, in which `*` stands for any text.
fn origin(text: &str) -> StringMatch {
    match text.split_once('*') {
        Some(("", "")) => StringMatch::Regex(ANY_ORIGIN.into()),
        None => StringMatch::Exact(text.into()),
        Some((prefix, "")) => StringMatch::Prefix(prefix.into()),
        Some(_) => StringMatch::Regex(format!("^{}$", regex::escape(text).replace("\\*", ".*")).into()),
    }
}

/// `scheme://host(:port)`, RFC 6454.
const ANY_ORIGIN: &str = r"^[a-zA-Z][a-zA-Z0-9+.-]*://[^/\s?#]+$";
