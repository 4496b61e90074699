//! New hosts are led up to their share.
//!
//! Source: Envoy's documentation, "Slow start mode".

use std::time::{Duration, Instant};

use crate::cluster::SlowStart;

impl SlowStart {
    /// How much of its weight a host that has been there for `age` has, from
    /// the smallest share to 1.
    pub(crate) fn factor(&self, age: Duration) -> f64 {
        if age >= self.window {
            return 1.0;
        }
        let elapsed = age.max(Duration::from_millis(1)).as_secs_f64() / self.window.as_secs_f64();
        let grown = if self.aggression == 1.0 { elapsed } else { elapsed.powf(1.0 / self.aggression) };
        grown.max(self.min_weight_percent / 100.0).min(1.0)
    }
}

/// The weight of a host that came at `since` (`None`: just now), in parts of
/// which a full weight of 1 has [`PARTS`].
pub(super) fn parts(slow_start: &SlowStart, weight: u32, since: Option<Instant>, now: Option<Instant>) -> u32 {
    let age = match (since, now) {
        (Some(since), Some(now)) => now.saturating_duration_since(since),
        _ => Duration::ZERO,
    };
    let parts = f64::from(weight) * f64::from(PARTS) * slow_start.factor(age);
    (parts.round() as u32).max(1)
}

/// Fine enough to tell a percent of a weight of 1.
const PARTS: u32 = 100;
