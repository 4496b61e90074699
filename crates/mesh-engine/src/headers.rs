//! Header mutations of routes: add, overwrite, remove, with format operators
//! in values.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_proto::envoy::config::core::v3 as core;

use crate::error::{At, ConfigError};
use crate::format::{Facts, Template};
use crate::matcher::header_name;
use crate::parse::honour;

#[cfg(test)]
mod tests;

/// Mutations of one level (weighted cluster, route, virtual host, table).
#[derive(Debug, Clone, Default)]
pub struct HeaderMutations {
    /// Removed first.
    pub remove: Vec<HeaderName>,
    /// Then added, in order.
    pub add: Vec<HeaderAddition>,
}

/// One header to set.
#[derive(Debug, Clone)]
pub struct HeaderAddition {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: Template,
    /// The value, if it has no operators.
    literal: Option<HeaderValue>,
    /// What if there is one already.
    pub action: AppendAction,
    /// Add it even if the value turns out empty.
    pub keep_empty_value: bool,
}

/// `HeaderValueOption.HeaderAppendAction`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendAction {
    /// Another value beside those that are there.
    AppendIfExistsOrAdd,
    /// Only if there is none.
    AddIfAbsent,
    /// Instead of those that are there.
    OverwriteIfExistsOrAdd,
    /// Only if there is one, instead of it.
    OverwriteIfExists,
}

impl HeaderMutations {
    /// Reads the mutations whose fields are called `{prefix}_headers_to_add` and `..._to_remove`.
    pub(crate) fn parse(
        at: &At<'_>,
        prefix: &str,
        add: &[core::HeaderValueOption],
        remove: &[String],
    ) -> Result<Self, ConfigError> {
        let add_field = format!("{prefix}_headers_to_add");
        let remove_field = format!("{prefix}_headers_to_remove");
        if add.len() > ADDITIONS_MAX {
            return Err(at.field(&add_field).invalid(add.len(), format!("at most {ADDITIONS_MAX} items")));
        }
        let mut parsed = Self::default();
        for (i, option) in add.iter().enumerate() {
            parsed.add.push(addition(&at.index(&add_field, i), option)?);
        }
        for (i, name) in remove.iter().enumerate() {
            let at = at.index(&remove_field, i);
            refuse_essential(&at, name, ":-prefixed or host headers may not be removed")?;
            parsed.remove.push(at_name(&at, name)?);
        }
        Ok(parsed)
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Carries them out on `headers`. A value that is not valid in a header is left out.
    pub fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        let values = self.values(facts);
        self.set(headers, values);
    }

    /// The values of the additions: all are worked out before any header changes.
    pub(crate) fn values(&self, facts: &Facts<'_>) -> Vec<Option<HeaderValue>> {
        self.add.iter().map(|a| a.value_for(facts)).collect()
    }

    /// Removes, then adds `values`.
    pub(crate) fn set(&self, headers: &mut HeaderMap, values: Vec<Option<HeaderValue>>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (addition, value) in self.add.iter().zip(values) {
            if let Some(value) = value {
                addition.set(headers, value);
            }
        }
    }
}

impl HeaderAddition {
    fn value_for(&self, facts: &Facts<'_>) -> Option<HeaderValue> {
        let value = match &self.literal {
            Some(value) => value.clone(),
            None => {
                let mut text = String::new();
                self.value.write_or(facts, &mut text, "");
                HeaderValue::try_from(text).ok()?
            }
        };
        (!value.is_empty() || self.keep_empty_value).then_some(value)
    }

    fn set(&self, headers: &mut HeaderMap, value: HeaderValue) {
        match (self.action, headers.contains_key(&self.name)) {
            (AppendAction::AppendIfExistsOrAdd, _) => {
                headers.append(&self.name, value);
            }
            (AppendAction::AddIfAbsent, false)
            | (AppendAction::OverwriteIfExistsOrAdd, _)
            | (AppendAction::OverwriteIfExists, true) => {
                headers.insert(&self.name, value);
            }
            (AppendAction::AddIfAbsent, true) | (AppendAction::OverwriteIfExists, false) => {}
        }
    }
}

fn addition(at: &At<'_>, option: &core::HeaderValueOption) -> Result<HeaderAddition, ConfigError> {
    honour!(at, option, core::HeaderValueOption =>
        honour [header append append_action keep_empty_value]
        ignore []
        refuse []
    );
    let at = at.field("header");
    let header = option.header.as_ref().ok_or_else(|| at.missing("a key and a value"))?;
    refuse_essential(&at, &header.key, ":-prefixed or host headers may not be modified")?;
    let text = match (header.value.is_empty(), header.raw_value.is_empty()) {
        (false, false) => return Err(at.rule("only one of value and raw_value may be set")),
        (true, false) => std::str::from_utf8(&header.raw_value)
            .map_err(|_| at.field("raw_value").unsupported_value("bytes that are not UTF-8", "UTF-8"))?,
        _ => &header.value,
    };
    if text.len() > VALUE_BYTES_MAX {
        return Err(at
            .field("value")
            .invalid(format!("{} bytes", text.len()), format!("at most {VALUE_BYTES_MAX} bytes")));
    }
    let value = Template::parse(&at.field("value"), text)?;
    let literal = match value.as_literal() {
        Some(text) => {
            Some(HeaderValue::from_str(text).map_err(|_| at.field("value").invalid(text, "a valid header value"))?)
        }
        None => None,
    };
    let action = match (option.append.as_ref().map(|a| a.value), option.append_action) {
        (Some(_), 1..) => return Err(at.rule("Both append and append_action are set and it's not allowed")),
        (Some(false), _) => AppendAction::OverwriteIfExistsOrAdd,
        (Some(true), _) | (None, 0) => AppendAction::AppendIfExistsOrAdd,
        (None, 1) => AppendAction::AddIfAbsent,
        (None, 2) => AppendAction::OverwriteIfExistsOrAdd,
        (None, 3) => AppendAction::OverwriteIfExists,
        (_, other) => return Err(at.invalid(other, "an append_action")),
    };
    Ok(HeaderAddition {
        name: at_name(&at, &header.key)?,
        value,
        literal,
        action,
        keep_empty_value: option.keep_empty_value,
    })
}

fn refuse_essential(at: &At<'_>, name: &str, rule: &'static str) -> Result<(), ConfigError> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") { Err(at.rule(rule)) } else { Ok(()) }
}

fn at_name(at: &At<'_>, name: &str) -> Result<HeaderName, ConfigError> {
    header_name(at, "key", name)
}

/// Envoy's bound.
const ADDITIONS_MAX: usize = 1000;
/// Envoy's bound.
const VALUE_BYTES_MAX: usize = 16 * 1024;
