//! Names and values of headers, as matches and as operations have them.

use super::{Report, text};
use crate::schema::At;

/// `headers` of a route or a destination: what to set, add and remove.
pub(super) fn operations(headers: &At<'_>, report: &Report<'_>) {
    for (side, may_set_authority) in [("request", true), ("response", false)] {
        let side = headers.get(side);
        for (name, value) in side.get("add").entries().into_iter().chain(side.get("set").entries()) {
            operation_name(name, may_set_authority, &value, report);
            header_value(&value, report);
        }
        for item in side.get("remove").items() {
            operation_name(item.text(), false, &item, report);
        }
    }
}

fn operation_name(name: &str, may_set_authority: bool, at: &At<'_>, report: &Report<'_>) {
    if name.is_empty() {
        report.error(at, "found an empty name, expected a header's name");
    } else if is_authority(name) && may_set_authority {
    } else if name.eq_ignore_ascii_case("host") || name.starts_with(':') {
        report.error(at, format!("found header {name:?}, expected one that is neither Host nor begins with a colon"));
    }
}

/// Whether `name` is the header that says which host is meant.
pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// A header's value: no control characters, and Envoy's `%COMMANDS%` complete.
fn header_value(at: &At<'_>, report: &Report<'_>) {
    let value = at.text();
    if value.bytes().any(|b| (b < 0x20 && b != b'\t') || b == 0x7f) {
        return report.invalid(at, "a header's value without control characters");
    }
    if let Some(problem) = command_problem(value) {
        report.invalid(at, problem);
    }
}

/// What is wrong with the `%COMMANDS%` in `value`. A literal `%` is `%%`.
///
/// Source: Envoy's header formatting, `%NAME%` and `%NAME(arguments)%`.
fn command_problem(value: &str) -> Option<&'static str> {
    const UNENDED: &str = "a header's value whose %COMMAND% ends with % (a literal one is %%)";
    let mut rest = value;
    while let Some(at) = rest.find('%') {
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            rest = after;
            continue;
        }
        let Some(end) = rest.find(['%', '(']) else { return Some(UNENDED) };
        if rest.as_bytes()[end] == b'%' {
            rest = &rest[end + 1..];
            continue;
        }
        let inside = &rest[end + 1..];
        let Some(close) = inside.find(')') else { return Some(UNENDED) };
        let Some(after) = inside[close + 1..].trim_start_matches(' ').strip_prefix('%') else { return Some(UNENDED) };
        rest = after;
    }
    None
}

/// The name of a header in a match.
pub(super) fn match_name(name: &str, at: &At<'_>, report: &Report<'_>) {
    let pseudo = [":method", ":scheme", ":authority", ":path", ":status"];
    if !(text::is_jwt_claim(name) || pseudo.contains(&name) || is_token(name)) {
        report.error(at, format!("found header {name:?}, expected a header's name"));
    }
}

/// The name of a header in a CORS policy.
pub(super) fn cors_name(at: &At<'_>, report: &Report<'_>) {
    if at.text() != "*" && !is_token(at.text()) {
        report.invalid(at, "a header's name, or *");
    }
}

/// A token of HTTP.
///
/// Source: RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::command_problem;

    #[test]
    fn commands_in_values_must_end() {
        for right in ["", "a", "100%%", "%START_TIME%", "%REQ(x-a)%", "%DYNAMIC_METADATA([\"a\", \"b\"])% b"] {
            assert_eq!(command_problem(right), None, "{right}");
        }
        for wrong in ["%", "%REQ", "%REQ(x", "%REQ(x)", "%REQ(x) a%"] {
            assert!(command_problem(wrong).is_some(), "{wrong}");
        }
    }
}
