//! Durations counted in buckets whose width is under one per cent of their value.
//!
//! Values below 256 us have a bucket each; above, every power of two is cut
//! into 128. Recording is an index and an addition: it must not slow the load
//! generator.

use std::time::Duration;

/// Buckets per power of two.
const STEPS: u64 = 128;
/// Enough for 2^40 us, about twelve days.
const BUCKETS: usize = 34 * STEPS as usize;

/// Counted durations, in microseconds.
#[derive(Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Counts one duration; what is past the last bucket counts there.
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    /// Adds what another one counted.
    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The smallest bucket under which `quantile` of the durations lie, in microseconds; 0 where nothing was counted.
    pub(super) fn quantile(&self, quantile: f64) -> u64 {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return value(index);
            }
        }
        0
    }
}

fn bucket(micros: u64) -> usize {
    if micros < 2 * STEPS {
        return micros as usize;
    }
    let shift = u64::from(micros.ilog2() - STEPS.ilog2());
    let index = shift * STEPS + (micros >> shift);
    (index as usize).min(BUCKETS - 1)
}

fn value(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    (index - shift * STEPS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_within_one_per_cent_of_what_it_counts() {
        for micros in [0, 1, 127, 128, 255, 256, 257, 1_000, 44_321, 1_000_000, 123_456_789] {
            let shown = value(bucket(micros));
            assert!(shown <= micros && micros - shown <= micros / 100, "{micros} is shown as {shown}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_recorded_durations() {
        let mut histogram = Histogram::default();
        (1..=100).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        assert_eq!((histogram.quantile(0.5), histogram.quantile(0.99), histogram.total), (50, 99, 100));
    }
}
