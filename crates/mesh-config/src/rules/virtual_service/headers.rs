//! Header operations.

use mesh_model::Name;
use mesh_model::rules::virtual_service::{HeaderOperations, Headers};

use crate::reader::{Fields, Value};

pub(super) fn read(value: &Value<'_>) -> Option<Headers> {
    let fields = value.fields()?;
    let headers = Headers {
        request: fields.optional("request").and_then(|v| operations(&v)).unwrap_or_default(),
        response: fields.optional("response").and_then(|v| operations(&v)).unwrap_or_default(),
    };
    fields.finish();
    Some(headers)
}

fn operations(value: &Value<'_>) -> Option<HeaderOperations> {
    let fields = value.fields()?;
    let operations =
        HeaderOperations { set: pairs(&fields, "set"), add: pairs(&fields, "add"), remove: removals(&fields) };
    fields.finish();
    Some(operations)
}

fn pairs(fields: &Fields<'_>, field: &'static str) -> Vec<(Name, Name)> {
    let Some(value) = fields.optional(field) else { return Vec::new() };
    let mut pairs: Vec<(Name, Name)> = Vec::new();
    for (key, item) in value.entries().unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        if let Err(why) = check_value(&text) {
            item.error::<()>(why);
        }
        let pseudo = key.starts_with(':') && (field != "set" || &*key != ":authority");
        match name(&key) {
            Some(_) if pseudo => {
                item.error::<()>(format!("found {key}, expected no pseudo-header (only :authority may be set)"));
            }
            Some(key) if pairs.iter().any(|(other, _)| *other == key) => {
                item.error::<()>(format!("header {key} stands twice, expected each name once"));
            }
            Some(key) => pairs.push((key, text)),
            None => {
                item.error::<()>(format!("found the name {key:?}, expected a header's name"));
            }
        }
    }
    pairs.sort();
    pairs
}

fn removals(fields: &Fields<'_>) -> Vec<Name> {
    let Some(value) = fields.optional("remove") else { return Vec::new() };
    let mut names = Vec::new();
    for item in value.items().unwrap_or_default() {
        let Some(text) = item.text() else { continue };
        match name(&text) {
            // Without its host a request goes nowhere.
            Some(name) if name.starts_with(':') || &*name == "host" => {
                item.invalid::<()>("a header's name other than Host and pseudo-headers");
            }
            Some(name) => names.push(name),
            None => {
                item.invalid::<()>("a header's name");
            }
        }
    }
    names
}

/// A header's name in lower case; `None` if it is none. Pseudo-headers count.
pub(in crate::rules) fn name(text: &str) -> Option<Name> {
    let token = text.strip_prefix(':').unwrap_or(text);
    let right = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!token.is_empty() && text.len() <= NAME_BYTES_MAX && token.bytes().all(right))
        .then(|| text.to_ascii_lowercase().into())
}

/// Longer names no peer accepts.
const NAME_BYTES_MAX: usize = 256;
/// Bytes of a header's value; all headers of a request may have 60 KiB.
const VALUE_BYTES_MAX: usize = 16 << 10;

/// A value holds no control characters, and its `%` are doubled or enclose one
/// of Envoy's commands: anything else the proxy refuses.
pub(in crate::rules) fn check_value(text: &str) -> Result<(), String> {
    if text.len() > VALUE_BYTES_MAX {
        return Err(format!("found {} bytes, expected at most {VALUE_BYTES_MAX}", text.len()));
    }
    if let Some(bad) = text.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("found the control character {bad:?}, expected text"));
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        rest = match after.strip_prefix('%') {
            Some(rest) => rest,
            None => match after.split_once('%') {
                Some((command, rest)) if is_command(command) => rest,
                _ => {
                    return Err(format!(
                        "found a single % before {after:?}, expected %% or a command such as %PROTOCOL%"
                    ));
                }
            },
        };
    }
    Ok(())
}

/// Like `REQ(x-id):10` or `PROTOCOL`.
fn is_command(text: &str) -> bool {
    let name = text.split(['(', ':']).next().unwrap_or_default();
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
