//! WasmPlugin and TrafficExtension.

use super::{Report, selectors};
use crate::schema::At;

pub(super) fn wasm_plugin(spec: &At<'_>, report: &Report<'_>) {
    selectors::policy(spec, report);
    module(spec, report);
}

pub(super) fn traffic_extension(spec: &At<'_>, report: &Report<'_>) {
    selectors::policy(spec, report);
    match (spec.get("wasm").exists(), spec.get("lua").exists()) {
        (true, true) => report.error(spec, "found wasm and lua, expected only one of them"),
        (false, false) => report.missing(spec, "one of wasm and lua"),
        (true, false) => module(&spec.get("wasm"), report),
        (false, true) => {}
    }
}

/// Where a module comes from, and its environment.
fn module(wasm: &At<'_>, report: &Report<'_>) {
    let url = wasm.get("url");
    if !is_module_url(url.text()) {
        report.invalid(&url, "a URL whose scheme is one of oci, http, https and file, or none");
    }
    for variable in wasm.path(&["vmConfig", "env"]).items() {
        if variable.get("valueFrom").text() == "HOST" && variable.get("value").exists() {
            report.error(&variable.get("value"), "found a value with valueFrom HOST, expected it with INLINE only");
        }
    }
}

fn is_module_url(url: &str) -> bool {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:@[]".contains(&b);
    // `host:x` reads as a host with a port that is none.
    let port = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    matches!(scheme, "" | "http" | "https" | "file" | "oci")
        && (!authority.is_empty() || (scheme == "file" && rest.len() > 1))
        && authority.bytes().all(plain)
        && port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()))
        && !rest.contains(|c: char| c.is_whitespace() || c.is_control())
        && rest.split('%').skip(1).all(|after| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
}

#[cfg(test)]
mod tests {
    use super::is_module_url;

    #[test]
    fn modules_come_from_registries_servers_and_files() {
        for right in ["oci://reg.io/a:1", "reg.io:5000/a", "http://a/b%20c", "https://a", "file:///opt/a.wasm", "a"] {
            assert!(is_module_url(right), "{right}");
        }
        for wrong in ["", "ftp://a", "#a", "a b", "http://", "http://a/%zz", "reg:x/a", "file://"] {
            assert!(!is_module_url(wrong), "{wrong}");
        }
    }
}
