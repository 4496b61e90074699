//! `loadBalancer`: consistent hashing, localities, warmup.

use std::collections::{HashMap, HashSet};

use super::Report;
use crate::schema::At;

/// Labels that say where a workload is; failover between regions speaks of the
/// same thing.
const TOPOLOGY: [&str; 3] =
    ["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// `has_outlier`: the same policy has outlier detection.
pub(super) fn check(balancer: &At<'_>, has_outlier: bool, report: &Report<'_>) {
    if !balancer.exists() {
        return;
    }
    consistent_hash(&balancer.get("consistentHash"), report);
    let (locality, zone_aware) = (balancer.get("localityLbSetting"), balancer.get("zoneAwareLbSetting"));
    if locality.exists() && zone_aware.exists() {
        report.error(balancer, "found localityLbSetting and zoneAwareLbSetting, expected only one of them");
    }
    locality_setting(&locality, report);
    for priority in zone_aware.get("failoverPriority").items() {
        if TOPOLOGY.contains(&priority.text()) {
            report.invalid(&priority, "a label other than region, zone and subzone, which are followed by themselves");
        }
    }
    for setting in [&locality, &zone_aware] {
        failover(setting, has_outlier, report);
    }
    let aggression = balancer.path(&["warmup", "aggression"]);
    if aggression.number().is_some_and(|value| value <= 0.0) {
        report.invalid(&aggression, "a number greater than 0");
    }
}

/// Larger tables than this take Envoy too long to build.
///
/// Source: Envoy's Maglev load balancer, `table_size`.
const TABLE_SIZE_MAX: i64 = 5_000_011;

fn consistent_hash(hash: &At<'_>, report: &Report<'_>) {
    let cookie = hash.get("httpCookie");
    if cookie.exists() && cookie.get("name").text().is_empty() {
        report.invalid(&cookie.get("name"), "the name of a cookie");
    }
    let mut names = HashSet::new();
    for name in cookie.get("attributes").items().iter().map(|attribute| attribute.get("name")) {
        if name.text().is_empty() {
            report.invalid(&name, "the name of an attribute");
        } else if !names.insert(name.text()) {
            report.error(&name, format!("found attribute {} a second time, expected each once", name.text()));
        }
    }
    let older = hash.get("minimumRingSize");
    if older.int().is_some_and(|size| size != 0) && (hash.get("maglev").exists() || hash.get("ringHash").exists()) {
        report.error(&older, "found minimumRingSize beside ringHash or maglev, expected only one of them");
    }
    if hash.get("maglev").exists() {
        let size = hash.path(&["maglev", "tableSize"]);
        let value = size.int().unwrap_or(0);
        if !(1..TABLE_SIZE_MAX).contains(&value) || !is_prime(value) {
            report.invalid(&size, &format!("a prime number below {TABLE_SIZE_MAX}"));
        }
    }
}

fn is_prime(number: i64) -> bool {
    number > 1 && (2..).take_while(|factor| factor * factor <= number).all(|factor| number % factor != 0)
}

fn locality_setting(setting: &At<'_>, report: &Report<'_>) {
    let (distribute, failover) = (setting.get("distribute"), setting.get("failover"));
    if !distribute.is_empty() && !failover.is_empty() {
        return report.error(setting, "found distribute and failover, expected only one of them");
    }
    if !failover.is_empty() {
        for priority in setting.get("failoverPriority").items() {
            if TOPOLOGY.contains(&priority.text()) {
                return report.invalid(&priority, "a label that says no place: failover names regions already");
            }
        }
    }
    let mut sources = Places::default();
    for from in distribute.items() {
        sources.add(&from.get("from"), from.get("from").text(), report);
        let mut targets = Places::default();
        let mut total = 0;
        for (place, weight) in from.get("to").entries() {
            let value = weight.int().unwrap_or(0);
            if !(1..=100).contains(&value) {
                report.invalid(&weight, "a weight from 1 to 100");
            }
            total += value;
            targets.add(&weight, place, report);
        }
        if total != 100 {
            report.error(&from.get("to"), format!("found weights that add up to {total}, expected 100"));
        }
    }
}

fn failover(setting: &At<'_>, has_outlier: bool, report: &Report<'_>) {
    let asks = !setting.get("failover").is_empty() || !setting.get("failoverPriority").is_empty();
    if asks && !has_outlier {
        report.warn(
            setting,
            "found failover without outlierDetection, expected both: without it nothing is ever known to fail",
        );
    }
    for pair in setting.get("failover").items() {
        let (from, to) = (pair.get("from"), pair.get("to"));
        if from.text() == to.text() {
            report.error(&pair, format!("found failover from {:?} to itself, expected another region", from.text()));
        }
        for region in [&from, &to] {
            if region.text().contains(['/', '*']) {
                report.invalid(region, "the name of a region, without zone and wildcard");
            }
        }
    }
}

/// Localities such as `region/zone/*`, none of which may take in another.
#[derive(Default)]
struct Places<'a> {
    seen: HashMap<&'a str, &'a str>,
}

impl<'a> Places<'a> {
    fn add(&mut self, at: &At<'_>, place: &'a str, report: &Report<'_>) {
        let stars = place.matches('*').count();
        if stars > 1 || (stars == 1 && !place.ends_with('*')) {
            return report.error(at, format!("found locality {place:?}, expected at most one *, at its end"));
        }
        let trimmed = place.strip_suffix("/*").unwrap_or(place);
        if trimmed.split('/').any(str::is_empty) || place.splitn(4, '/').count() > 3 {
            return report
                .error(at, format!("found locality {place:?}, expected region, region/zone or region/zone/subzone"));
        }
        let clashes = |other: &str| {
            let (a, b) = (trimmed, other);
            a == "*" || b == "*" || a == b || is_inside(a, b) || is_inside(b, a)
        };
        if let Some((_, other)) = self.seen.iter().find(|(other, _)| clashes(other)) {
            report.error(
                at,
                format!("found locality {place:?} beside {other:?}, expected localities that do not overlap"),
            );
        }
        self.seen.insert(trimmed, place);
    }
}

fn is_inside(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'))
}
