//! Telemetry.

use super::{Report, selectors};
use crate::schema::At;

pub(super) fn check(spec: &At<'_>, report: &Report<'_>) {
    selectors::policy(spec, report);
    let tracing = spec.get("tracing");
    if tracing.len() > 1 {
        report.warn(&tracing, format!("found {} tracing settings, expected one: the first is used", tracing.len()));
    }
    for setting in tracing.items() {
        if setting.get("providers").len() > 1 {
            report.warn(&setting.get("providers"), "found several providers, expected one: the first is used");
        }
        for (name, tag) in setting.get("customTags").entries() {
            if name.is_empty() {
                report.error(&tag, "found an empty name, expected a tag's name");
            }
            if tag.is_empty() {
                report.missing(&tag, "one of literal, environment, header and formatter");
            }
        }
    }
    for change in spec.get("metrics").items().iter().flat_map(|metrics| metrics.get("overrides").items()) {
        for (name, tag) in change.get("tagOverrides").entries() {
            tag_override(name, &tag, report);
        }
    }
    for logging in spec.get("accessLogging").items() {
        filter(&logging.path(&["filter", "expression"]), report);
    }
}

fn tag_override(name: &str, tag: &At<'_>, report: &Report<'_>) {
    if name.is_empty() {
        report.warn(tag, "found an empty name, expected a tag's name");
    }
    let value = tag.get("value");
    match tag.get("operation").text() {
        "REMOVE" if value.exists() => report.error(&value, "found a value with operation REMOVE, expected none"),
        "REMOVE" => {}
        _ if value.text().is_empty() => report.missing(&value, "a value: operation UPSERT sets one"),
        _ => {}
    }
}

/// Bytes of a filter's expression; nobody writes longer ones.
const EXPRESSION_BYTES_MAX: usize = 10_000;

/// The expression's brackets and quotes pair up. Whether its names exist, the
/// proxy says.
fn filter(at: &At<'_>, report: &Report<'_>) {
    let text = at.text();
    if text.len() > EXPRESSION_BYTES_MAX {
        return report.error(
            at,
            format!("found an expression of {} bytes, expected at most {EXPRESSION_BYTES_MAX}", text.len()),
        );
    }
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for c in text.chars() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => open.push(')'),
            (None, '[') => open.push(']'),
            (None, '{') => open.push('}'),
            (None, ')' | ']' | '}') if open.pop() != Some(c) => {
                return report.invalid(at, "an expression whose brackets pair up");
            }
            (None, _) => {}
        }
    }
    if quote.is_some() || !open.is_empty() {
        report.invalid(at, "an expression whose brackets and quotes end");
    }
}
