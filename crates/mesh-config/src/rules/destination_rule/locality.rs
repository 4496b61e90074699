//! How the place of endpoints counts, in a rule and for the whole mesh.
//!
//! Source: `ValidateLocalityLbSetting` and `ValidateZoneAwareLbSetting`, istio
//! `pkg/config/validation/agent/validation.go`.

use std::collections::{BTreeMap, BTreeSet};

use mesh_model::rules::destination_rule::{Distribute, Failover, LocalityBalancing, ZoneAware};
use mesh_model::{Code, Locality, Name};

use crate::reader::{Fields, Value};

/// `watched`: whether outlier detection stands beside it; `None` where there is
/// no such place.
pub(crate) fn read(value: &Value<'_>, watched: Option<bool>) -> Option<LocalityBalancing> {
    let fields = value.fields()?;
    let distribute = fields.optional("distribute").and_then(|v| distributions(&v)).unwrap_or_default();
    let failover = fields.optional("failover").and_then(|v| failovers(&v)).unwrap_or_default();
    let failover_priority = fields.optional("failoverPriority").and_then(|v| priorities(&v)).unwrap_or_default();
    if !distribute.is_empty() && !failover.is_empty() {
        fields.error::<()>("found distribute and failover together, expected only one of them".to_owned());
    }
    if !failover.is_empty()
        && let Some(label) = failover_priority.iter().find(|label| TOPOLOGY.contains(&&***label))
    {
        fields.error::<()>(format!(
            "found failover together with {label} in failoverPriority, expected only one of them"
        ));
    }
    let enabled = enabled(&fields);
    if enabled {
        warn_unwatched(&fields, watched, !failover.is_empty() || !failover_priority.is_empty());
    }
    fields.finish();
    Some(LocalityBalancing { enabled, distribute, failover, failover_priority })
}

/// As [`read`], for zones.
pub(crate) fn read_zone_aware(value: &Value<'_>, watched: Option<bool>) -> Option<ZoneAware> {
    let fields = value.fields()?;
    let failover = fields.optional("failover").and_then(|v| failovers(&v)).unwrap_or_default();
    let failover_priority = fields.optional("failoverPriority").and_then(|v| priorities(&v)).unwrap_or_default();
    if let Some(label) = failover_priority.iter().find(|label| TOPOLOGY.contains(&&***label)) {
        fields.error::<()>(format!("found {label} in failoverPriority, expected no place: places count in any case"));
    }
    let enabled = enabled(&fields);
    let size = fields.optional("minClusterSize").and_then(|v| v.integer(1, i64::from(u32::MAX)));
    warn_unwatched(&fields, watched, enabled && (!failover.is_empty() || !failover_priority.is_empty()));
    fields.finish();
    let min_cluster_size = size.and_then(|size| u32::try_from(size).ok());
    Some(ZoneAware { enabled, failover, failover_priority, min_cluster_size })
}

fn enabled(fields: &Fields<'_>) -> bool {
    fields.optional("enabled").and_then(|v| v.boolean()).unwrap_or(true)
}

fn warn_unwatched(fields: &Fields<'_>, watched: Option<bool>, fails_over: bool) {
    if fails_over
        && watched == Some(false)
        && let Some(value) = fields.optional("failover").or_else(|| fields.optional("failoverPriority"))
    {
        let message = "found no outlierDetection beside it, expected one: nothing else tells that endpoints fail";
        value.warn(Code::MissingField, message.to_owned(), "requests do not fail over");
    }
}

fn distributions(value: &Value<'_>) -> Option<Vec<Distribute>> {
    let mut from = Places::default();
    let mut distributions = Vec::new();
    for item in value.items()? {
        let fields = item.fields()?;
        let source = fields.required("from", PLACE).and_then(|v| from.add(&v, &v.text()?));
        let to = fields.required("to", "a map from places to percent").and_then(|v| shares(&v));
        fields.finish();
        if let (Some(from), Some(to)) = (source, to) {
            distributions.push(Distribute { from, to });
        }
    }
    Some(distributions)
}

/// Shares of places, the narrower places first.
fn shares(value: &Value<'_>) -> Option<Vec<(Locality, u32)>> {
    let mut places = Places::default();
    let mut shares = Vec::new();
    for (place, share) in value.entries()? {
        let locality = places.add(&share, &place);
        let share = share.integer(1, 100).and_then(|share| u32::try_from(share).ok());
        shares.push((locality?, share?));
    }
    let total: u32 = shares.iter().map(|(_, share)| share).sum();
    if total != 100 {
        return value.error(format!("found shares that add up to {total}, expected 100"));
    }
    let wide = |part: &str| part.is_empty() || part == "*";
    shares.sort_by_cached_key(|(l, _)| (wide(&l.region), wide(&l.zone), wide(&l.subzone), l.clone()));
    Some(shares)
}

fn failovers(value: &Value<'_>) -> Option<Vec<Failover>> {
    let mut failovers = Vec::new();
    for item in value.items()? {
        let fields = item.fields()?;
        let region = |name| {
            fields.optional(name).map_or(Some(Name::from("")), |v| {
                let region = v.text()?;
                match region.contains(['/', '*']) {
                    true => v.invalid("a region alone, without zone and wildcard"),
                    false => Some(region),
                }
            })
        };
        let (from, to) = (region("from"), region("to"));
        fields.finish();
        let (Some(from), Some(to)) = (from, to) else { continue };
        if from == to {
            item.error::<()>(format!("found region {from:?} on both sides, expected two regions"));
        }
        failovers.push(Failover { from, to });
    }
    Some(failovers)
}

fn priorities(value: &Value<'_>) -> Option<Vec<Name>> {
    value.texts()
}

/// Places of one list, which must not overlap: what a later one means, an
/// earlier one must not have taken.
#[derive(Default)]
struct Places(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Places {
    /// Adds `text`, which stands at `value`.
    fn add(&mut self, value: &Value<'_>, text: &str) -> Option<Locality> {
        let stars = text.matches('*').count();
        if stars > 1 || (stars == 1 && !text.ends_with('*')) {
            return value.error(format!("found place {text:?}, expected at most one * and that at its end"));
        }
        let parts: Vec<&str> = text.splitn(3, '/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return value.error(format!("found place {text:?}, expected {PLACE}"));
        }
        if !self.enter(&parts) {
            return value.error(format!("place {text:?} overlaps with one before it"));
        }
        Some(Locality::parse(text))
    }

    /// Whether nothing before takes it.
    fn enter(&mut self, parts: &[&str]) -> bool {
        if self.0.contains_key("*") {
            return false;
        }
        let zones = match (self.0.get_mut(parts[0]), parts) {
            (None, _) => self.0.entry(parts[0].to_owned()).or_default(),
            (Some(_), [_]) => return false,
            (Some(zones), _) if zones.contains_key("*") => return false,
            (Some(zones), _) => zones,
        };
        let Some(zone) = parts.get(1) else {
            zones.entry("*".to_owned()).or_default();
            return true;
        };
        let subzones = match (zones.get_mut(*zone), parts.get(2)) {
            (None, _) => zones.entry((*zone).to_owned()).or_default(),
            (Some(_), None) => return false,
            (Some(subzones), Some(_)) if subzones.contains("*") => return false,
            (Some(subzones), _) => subzones,
        };
        subzones.insert(parts.get(2).copied().unwrap_or("*").to_owned())
    }
}

/// Labels of a place, from the widest to the narrowest.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];
const PLACE: &str = "a place such as region/zone/*";
