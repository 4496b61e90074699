//! Header operations. Names and the shape of values are valid by construction;
//! a format command that a proxy does not know is found here, for it would cost
//! the whole route table.

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
    /// Field below the operations, and the format command that no proxy knows.
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
            } else if let Some(command) = unknown_command(value) {
                out.refused.push((format!("{list}.{name}"), command));
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
    out.remove = operations.remove.iter().map(ToString::to_string).collect();
    out
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name == ":authority"
}

/// The first `%COMMAND%` in `value` that is not among [`COMMANDS`].
fn unknown_command(value: &str) -> Option<String> {
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('%') {
        if let Some(next) = after.strip_prefix('%') {
            rest = next;
            continue;
        }
        let (command, next) = after.split_once('%').unwrap_or((after, ""));
        let name = command.split(['(', ':']).next().unwrap_or_default();
        if COMMANDS.binary_search(&name).is_err() {
            return Some(format!("%{command}%"));
        }
        rest = next;
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

    fn check(value: &str, unknown: Option<&str>) {
        assert_eq!(unknown_command(value).as_deref(), unknown, "{value}");
    }

    #[test]
    fn a_command_that_no_proxy_knows_is_found() {
        check("plain", None);
        check("100%%", None);
        check("%REQ(:path)%-%START_TIME%", None);
        check("%REQ(x):10%", None);
        check("%%%NO_SUCH(a)%", Some("%NO_SUCH(a)%"));
    }

    #[test]
    fn commands_are_sorted() {
        assert!(COMMANDS.is_sorted());
    }
}
