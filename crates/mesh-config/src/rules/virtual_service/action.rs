//! What a route does with a request: route, redirect or direct response.

use mesh_model::rules::virtual_service::{
    Destination, HttpAction, Redirect, RedirectPort, Rewrite, WeightedDestination,
};

use mesh_model::Name;

use super::super::exports;
use super::{Scope, headers};
use crate::reader::{Fields, Value};

/// Reads the action; `None` if there is none or it is wrong. That there is only
/// one is the caller's to check.
pub(super) fn read(fields: &Fields<'_>, scope: &Scope<'_>) -> Option<HttpAction> {
    let rewrite = fields.optional("rewrite").map(|v| rewrite(&v));
    let route = fields.optional("route").map(|v| destinations(&v, scope));
    let redirect = fields.optional("redirect").map(|v| redirect(&v));
    let direct = fields.optional("directResponse").map(|v| direct_response(&v));
    if let Some(value) = fields.optional("delegate") {
        let (namespace, name) = delegate(&value, scope)?;
        return Some(HttpAction::Delegate { namespace, name, rewrite: rewrite.flatten() });
    }
    if let Some(destinations) = route {
        return Some(HttpAction::Route { destinations: destinations?, rewrite: rewrite.flatten() });
    }
    redirect.map(|r| r.map(HttpAction::Redirect)).or(direct)?
}

/// The rule whose routes decide; without a namespace, one of the own.
fn delegate(value: &Value<'_>, scope: &Scope<'_>) -> Option<(Name, Name)> {
    let fields = value.fields()?;
    let name = fields.required("name", "the name of a VirtualService").and_then(|v| v.filled_text("a name"));
    let namespace = fields.optional("namespace").and_then(|v| {
        let namespace = v.text()?;
        if namespace.is_empty() || exports::is_namespace(&namespace) {
            Some(namespace)
        } else {
            v.invalid("a namespace")
        }
    });
    fields.finish();
    let namespace = namespace.filter(|n| !n.is_empty()).unwrap_or_else(|| scope.meta.namespace().clone());
    Some((namespace, name?))
}

pub(super) fn destinations(value: &Value<'_>, scope: &Scope<'_>) -> Option<Vec<WeightedDestination>> {
    let items = value.items()?;
    if items.is_empty() {
        return value.invalid("at least one destination");
    }
    let mut destinations: Vec<_> = items.iter().map(|item| weighted(item, scope)).collect::<Option<_>>()?;
    let total: u64 = destinations.iter().map(|d| u64::from(d.weight)).sum();
    match destinations.as_mut_slice() {
        [only] if only.weight == 0 => only.weight = 100,
        _ if total == 0 => return value.error("weights add up to 0, expected more".to_owned()),
        // The sum is a 32-bit number in xDS.
        _ if total > u64::from(u32::MAX) => {
            return value.error(format!("weights add up to {total}, expected at most {}", u32::MAX));
        }
        _ => {}
    }
    Some(destinations)
}

fn weighted(value: &Value<'_>, scope: &Scope<'_>) -> Option<WeightedDestination> {
    let fields = value.fields()?;
    let destination = fields.required("destination", "a map with a host").and_then(|v| destination(&v, scope));
    let weight = fields.optional("weight").map_or(Some(0), |v| v.count());
    let headers = fields.optional("headers").map_or(Some(Default::default()), |v| headers::read(&v));
    fields.finish();
    Some(WeightedDestination { destination: destination?, weight: weight?, headers: headers? })
}

/// Reads a destination: host, subset, port.
pub(super) fn destination(value: &Value<'_>, scope: &Scope<'_>) -> Option<Destination> {
    let fields = value.fields()?;
    let host = fields.required("host", "a service's host name").and_then(|v| {
        let host = v.resolved_host(scope.meta.namespace(), &scope.mesh.domain)?;
        if host.as_str() == "*" { v.invalid("one service's host name") } else { Some(host) }
    });
    let subset = fields.optional("subset").and_then(|v| v.text()).filter(|s| !s.is_empty());
    let port = match fields.optional("port") {
        Some(port) => Some(port_selector(&port)?),
        None => None,
    };
    fields.finish();
    Some(Destination { host: host?, subset, port })
}

/// `{number: 80}`
fn port_selector(value: &Value<'_>) -> Option<u16> {
    let fields = value.fields()?;
    let number = fields.required("number", "a port number").and_then(|v| v.port());
    fields.finish();
    number
}

fn rewrite(value: &Value<'_>) -> Option<Rewrite> {
    let fields = value.fields()?;
    let text = |name| fields.optional(name).and_then(|v| v.text()).filter(|t| !t.is_empty());
    let (uri, authority) = (text("uri"), text("authority"));
    let regex = fields.optional("uriRegexRewrite");
    let uri_regex = regex.as_ref().and_then(|v| {
        let fields = v.fields()?;
        let pattern = fields.required("match", "a regular expression").and_then(|v| v.regex());
        let substitution = fields.optional("rewrite").and_then(|v| v.text()).unwrap_or_else(|| "".into());
        fields.finish();
        Some((pattern?, substitution))
    });
    if uri.is_some() && regex.is_some() {
        fields.error::<()>("found uri and uriRegexRewrite together, expected only one of them".to_owned());
    }
    if uri.is_none() && authority.is_none() && regex.is_none() {
        fields.error::<()>("found an empty rewrite, expected uri, uriRegexRewrite or authority".to_owned());
    }
    fields.finish();
    Some(Rewrite { uri, authority, uri_regex })
}

/// Istio's word for replacing only the matched prefix.
const PREFIX: &str = "%PREFIX()%";

fn redirect(value: &Value<'_>) -> Option<Redirect> {
    let fields = value.fields()?;
    let text = |name| fields.optional(name).and_then(|v| v.text()).filter(|t| !t.is_empty());
    let uri = text("uri");
    let hidden_prefix = text("prefixRewrite");
    let authority = text("authority");
    let scheme = fields.optional("scheme").filter(|v| v.node().text().is_none_or(|text| !text.is_empty()));
    let scheme = scheme.and_then(|v| v.one_of(&[("http", "http"), ("https", "https")]));
    let number = fields.optional("port").and_then(|v| v.port()).map(RedirectPort::Number);
    let derived = fields.optional("derivePort").and_then(|v| {
        v.one_of(&[
            ("FROM_PROTOCOL_DEFAULT", RedirectPort::FromProtocol),
            ("FROM_REQUEST_PORT", RedirectPort::FromRequest),
        ])
    });
    let code = fields.optional("redirectCode").map_or(Some(301), |v| code(&v));
    if number.is_some() && derived.is_some() {
        fields.error::<()>("found port and derivePort together, expected only one of them".to_owned());
    }
    let (uri, prefix) = match uri.as_deref().and_then(|uri| uri.strip_prefix(PREFIX)) {
        Some(prefix) => (None, Some(prefix.into())),
        None => (uri, hidden_prefix),
    };
    let scheme = scheme.map(Into::into);
    let redirect = Redirect { uri, prefix, authority, port: number.or(derived), scheme, code: code? };
    let says_nothing = redirect.uri.is_none()
        && redirect.prefix.is_none()
        && redirect.authority.is_none()
        && redirect.port.is_none()
        && redirect.scheme.is_none();
    if says_nothing {
        fields.error::<()>("found an empty redirect, expected uri, authority, port or scheme".to_owned());
    }
    fields.finish();
    Some(redirect)
}

fn code(value: &Value<'_>) -> Option<u16> {
    match value.integer(0, 999)? {
        0 => Some(301),
        code @ (301 | 302 | 303 | 307 | 308) => u16::try_from(code).ok(),
        _ => value.invalid("301, 302, 303, 307 or 308"),
    }
}

/// Bytes of a direct response's body: Istio's own limit.
const BODY_BYTES_MAX: usize = 1 << 20;

fn direct_response(value: &Value<'_>) -> Option<HttpAction> {
    let fields = value.fields()?;
    let status = fields.required("status", "a status code").and_then(|v| v.integer(200, 599));
    let body = fields.optional("body").map_or(Some(Vec::new()), |v| body(&v));
    fields.finish();
    Some(HttpAction::DirectResponse { status: u16::try_from(status?).ok()?, body: body? })
}

fn body(value: &Value<'_>) -> Option<Vec<u8>> {
    let fields = value.fields()?;
    let text = fields.optional("string");
    let bytes = fields.optional("bytes");
    if text.is_some() && bytes.is_some() {
        fields.error::<()>("found string and bytes together, expected only one of them".to_owned());
    }
    fields.finish();
    let body = match (text, bytes) {
        (Some(text), _) => text.text()?.as_bytes().to_vec(),
        (None, Some(bytes)) => match crate::base64::decode(&bytes.text()?) {
            Some(decoded) => decoded,
            None => return bytes.invalid("base64"),
        },
        (None, None) => Vec::new(),
    };
    match body.len() {
        0..=BODY_BYTES_MAX => Some(body),
        length => value.error(format!("found a body of {length} bytes, expected at most {BODY_BYTES_MAX}")),
    }
}
