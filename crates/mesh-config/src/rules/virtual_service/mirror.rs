//! Who gets a copy of the requests.

use mesh_model::rules::virtual_service::{Millionths, Mirror};

use super::{Scope, action, share};
use crate::reader::{Fields, Value};

/// Reads `mirror` with its percentage, or `mirrors`.
///
/// Source: `validateHTTPMirrors`, istio `pkg/config/validation/validation.go`;
/// `MirrorPercent`, `pilot/pkg/networking/core/route/route.go`.
pub(super) fn read(fields: &Fields<'_>, scope: &Scope<'_>) -> Vec<Mirror> {
    let one = fields.optional("mirror");
    let several = fields.optional("mirrors");
    let percentage = fields.optional("mirrorPercentage").map(|v| share::percent(&v));
    let whole = ["mirrorPercent", "mirror_percent"].map(|name| fields.optional(name).map(|v| share::whole(&v)));
    if one.is_some() && several.is_some() {
        fields.error::<()>("found mirror and mirrors together, expected only one of them".to_owned());
    }
    let share = whole.into_iter().fold(percentage, Option::or).map_or(Some(Millionths::ALL), |share| share);
    let one = one.and_then(|v| action::destination(&v, scope));
    let one = one.zip(share).map(|(destination, share)| Mirror { destination, share });
    let items = several.and_then(|v| v.items()).unwrap_or_default();
    if items.len() > MIRRORS_MAX {
        fields.error::<()>(format!("found {} mirrors, expected at most {MIRRORS_MAX}", items.len()));
    }
    one.into_iter().chain(items.iter().take(MIRRORS_MAX).filter_map(|item| policy(item, scope))).collect()
}

fn policy(value: &Value<'_>, scope: &Scope<'_>) -> Option<Mirror> {
    let fields = value.fields()?;
    let destination = fields.required("destination", "a map with a host").and_then(|v| action::destination(&v, scope));
    let share = fields.optional("percentage").map_or(Some(Millionths::ALL), |v| share::percent(&v));
    fields.finish();
    Some(Mirror { destination: destination?, share: share? })
}

/// Each request costs its caller's proxy one more for each mirror.
const MIRRORS_MAX: usize = 16;
