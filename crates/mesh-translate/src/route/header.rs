//! Header operations, checked for what a proxy refuses: one bad value would
//! cost the whole route table.

use mesh_model::rules::virtual_service::HeaderOperations;
use mesh_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use mesh_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};

/// Operations as xDS writes them.
#[derive(Debug, Default)]
pub(super) struct Operations {
    pub(super) add: Vec<HeaderValueOption>,
    pub(super) remove: Vec<String>,
    /// A new authority, which is no header operation in xDS.
    pub(super) authority: Option<String>,
    /// Field below the operations, and what is wrong there.
    pub(super) refused: Vec<(String, String)>,
}

/// `operations` without those that a proxy would refuse. `request`: whether
/// the authority can be set.
pub(super) fn operations(operations: &HeaderOperations, request: bool) -> Operations {
    let mut out = Operations::default();
    let lists = [
        ("set", &operations.set, HeaderAppendAction::OverwriteIfExistsOrAdd),
        ("add", &operations.add, HeaderAppendAction::AppendIfExistsOrAdd),
    ];
    for (list, pairs, append) in lists {
        for (name, value) in pairs {
            if request && list == "set" && is_authority(name) {
                out.authority = Some(value.to_string());
            } else if let Some(why) = refusal(name, Some(value)) {
                out.refused.push((format!("{list}.{name}"), why));
            } else {
                out.add.push(HeaderValueOption {
                    header: Some(HeaderValue {
                        key: name.to_string(),
                        value: value.to_string(),
                        raw_value: Vec::new(),
                    }),
                    append_action: append as i32,
                    keep_empty_value: value.is_empty(),
                    ..Default::default()
                });
            }
        }
    }
    for (i, name) in operations.remove.iter().enumerate() {
        match refusal(name, None) {
            Some(why) => out.refused.push((format!("remove[{i}]"), why)),
            None => out.remove.push(name.to_string()),
        }
    }
    out
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

fn refusal(name: &str, value: Option<&str>) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if is_authority(name) || name.starts_with(':') {
        return Some(format!("found {name:?}, which only a rewrite may change"));
    }
    if name.is_empty() || !name.bytes().all(token) {
        return Some(format!("found {name:?}, expected a header name"));
    }
    let value = value?;
    if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Some("the value contains a line break or a null byte".to_owned());
    }
    bad_command(value).map(|c| format!("found {c:?} in the value, expected %% or a format command such as %PROTOCOL%"))
}

/// The first `%` in `value` that begins no command a proxy knows.
fn bad_command(value: &str) -> Option<String> {
    let mut rest = value;
    while let Some(start) = rest.find('%') {
        let after = &rest[start + 1..];
        if let Some(next) = after.strip_prefix('%') {
            rest = next;
            continue;
        }
        let name_len = after.bytes().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_').count();
        let (name, mut tail) = after.split_at(name_len);
        if tail.starts_with('(') {
            tail = tail.split_once(')').map_or("", |(_, t)| t);
        }
        if let Some(length) = tail.strip_prefix(':') {
            tail = length.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        match tail.strip_prefix('%') {
            Some(next) if COMMANDS.binary_search(&name).is_ok() => rest = next,
            _ => return Some(rest[start..].chars().take(24).collect()),
        }
    }
    None
}

/// Commands that both proxies know, sorted.
const COMMANDS: [&str; 22] = [
    "BYTES_RECEIVED",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "HOSTNAME",
    "PROTOCOL",
    "REQ",
    "REQUESTED_SERVER_NAME",
    "RESP",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "ROUTE_NAME",
    "START_TIME",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_HOST",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str, refused: bool) {
        assert_eq!(refusal(name, Some(value)).is_some(), refused, "{name}: {value}");
    }

    #[test]
    fn what_a_proxy_would_refuse_is_found_before_it_is_sent() {
        check("x-a", "plain", false);
        check("x-a", "100%%", false);
        check("x-a", "%REQ(:path)%-%START_TIME%", false);
        check("x-a", "%REQ(x):10%", false);
        check("x-a", "100%", true);
        check("x-a", "%NO_SUCH%", true);
        check("x-a", "a\nb", true);
        check(":path", "/", true);
        check("host", "a", true);
        check("x a", "b", true);
        check("", "b", true);
    }

    #[test]
    fn commands_are_sorted() {
        assert!(COMMANDS.is_sorted());
    }
}
