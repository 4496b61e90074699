//! Percentages.

use mesh_model::rules::virtual_service::Millionths;

use crate::reader::Value;

/// `{value: 0.1}`: percent, down to a ten-thousandth of one.
pub(super) fn percent(value: &Value<'_>) -> Option<Millionths> {
    let fields = value.fields()?;
    let percent = fields.optional("value").map_or(Some(0.0), |v| v.number(0.0, 100.0));
    fields.finish();
    // At most 1,000,000.
    percent.map(|percent| Millionths((percent * 10_000.0).round() as u32))
}

/// Whole percent.
pub(super) fn whole(value: &Value<'_>) -> Option<Millionths> {
    value.integer(0, 100).and_then(|percent| u32::try_from(percent).ok()).map(|percent| Millionths(percent * 10_000))
}
