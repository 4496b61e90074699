//! Cross-origin resource sharing.

use mesh_model::Name;
use mesh_model::rules::virtual_service::{Cors, StringMatch};

use super::matches;
use crate::reader::{Fields, Value};

/// Reads `corsPolicy`.
///
/// Source: `validateCORSPolicy`, istio `pkg/config/validation/validation.go`.
pub(super) fn read(value: &Value<'_>) -> Option<Cors> {
    let fields = value.fields()?;
    let older = fields.optional("allowOrigin").and_then(|v| v.texts()).unwrap_or_default();
    let origins = match fields.optional("allowOrigins") {
        Some(origins) => self::origins(&origins),
        None => older.into_iter().map(StringMatch::Exact).collect(),
    };
    let unmatched = fields.optional("unmatchedPreflights");
    let unmatched = unmatched.and_then(|v| v.one_of(&[("UNSPECIFIED", false), ("FORWARD", false), ("IGNORE", true)]));
    let max_age = fields.optional("maxAge").and_then(|v| {
        let age = v.duration()?;
        if age.subsec_nanos() == 0 { Some(age) } else { v.invalid("whole seconds") }
    });
    let cors = Cors {
        allow_origins: origins,
        allow_methods: words(&fields, "allowMethods", |w| is_token(w) && w.bytes().all(|b| !b.is_ascii_lowercase())),
        allow_headers: words(&fields, "allowHeaders", is_token),
        expose_headers: words(&fields, "exposeHeaders", is_token),
        max_age,
        allow_credentials: fields.optional("allowCredentials").and_then(|v| v.boolean()),
        ignore_unmatched_preflights: unmatched.unwrap_or(false),
    };
    fields.finish();
    Some(cors)
}

fn origins(value: &Value<'_>) -> Vec<StringMatch> {
    let items = value.items().unwrap_or_default();
    let mut whole = true;
    // An origin condition with an unknown field allows more than was meant: it
    // is left out, and the unknown field is reported.
    let read = |item: &Value<'_>| {
        let found = matches::string_match(item, &mut whole);
        std::mem::replace(&mut whole, true).then_some(found?)
    };
    items.iter().filter_map(read).collect()
}

/// A list of names; `*` stands for all of them.
fn words(fields: &Fields<'_>, name: &'static str, right: fn(&str) -> bool) -> Vec<Name> {
    let Some(value) = fields.optional(name) else { return Vec::new() };
    let mut words = Vec::new();
    for item in value.items().unwrap_or_default() {
        let Some(word) = item.text() else { continue };
        if !right(&word) {
            item.invalid::<()>("a name as HTTP writes it, or *");
        }
        words.push(word);
    }
    words
}

/// Source: RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
