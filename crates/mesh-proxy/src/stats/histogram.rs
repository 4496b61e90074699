//! A histogram of whole numbers (milliseconds), in the log-linear buckets that
//! Envoy's have: two significant digits.
//!
//! The buckets are allocated on the first sample: most clusters never see one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    sum: AtomicU64,
    buckets: OnceLock<Box<[AtomicU64]>>,
}

impl Histogram {
    /// Adds one sample. Values past 10^9 count as 10^9.
    pub(crate) fn record(&self, value: u64) {
        let buckets = self.buckets.get_or_init(|| (0..BUCKETS).map(|_| AtomicU64::new(0)).collect());
        self.sum.fetch_add(value, Relaxed);
        buckets[index(value)].fetch_add(1, Relaxed);
    }

    /// Samples so far.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.get().map_or(0, |b| b.iter().map(|c| c.load(Relaxed)).sum())
    }

    /// Sum of all samples.
    pub(crate) fn sum(&self) -> u64 {
        self.sum.load(Relaxed)
    }

    /// For each of `bounds` (ascending), how many samples lie at or below it.
    pub(crate) fn cumulative(&self, bounds: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        if let Some(buckets) = self.buckets.get() {
            for (i, bucket) in buckets.iter().enumerate() {
                let n = bucket.load(Relaxed);
                let at = bounds.partition_point(|b| *b < lower(i) as f64);
                if n > 0 && at < counts.len() {
                    counts[at] += n;
                }
            }
        }
        for i in 1..counts.len() {
            counts[i] += counts[i - 1];
        }
        counts
    }

    /// The values at `quantiles` (0 to 1, ascending), interpolated within the
    /// bucket; `None` if nothing was recorded.
    pub(crate) fn quantiles(&self, quantiles: &[f64]) -> Option<Vec<f64>> {
        let total = self.count();
        let buckets = self.buckets.get().filter(|_| total > 0)?;
        let mut out = Vec::with_capacity(quantiles.len());
        for q in quantiles {
            let wanted = q * total as f64;
            let mut below = 0.0;
            let mut value = 0.0;
            for (i, bucket) in buckets.iter().enumerate() {
                let n = bucket.load(Relaxed) as f64;
                if n == 0.0 {
                    continue;
                }
                value = lower(i) as f64 + width(i) * ((wanted - below) / n).clamp(0.0, 1.0);
                below += n;
                if below >= wanted {
                    break;
                }
            }
            out.push(value);
        }
        Some(out)
    }
}

/// 0; 1 to 9; then 90 buckets for each power of ten up to 10^9.
const BUCKETS: usize = 10 + 90 * 8 + 1;

fn index(value: u64) -> usize {
    if value < 10 {
        return value as usize;
    }
    let mut mantissa = value;
    let mut decade = 0;
    while mantissa >= 100 {
        mantissa /= 10;
        decade += 1;
    }
    (10 + decade * 90 + (mantissa as usize - 10)).min(BUCKETS - 1)
}

fn lower(index: usize) -> u64 {
    match index {
        0..=9 => index as u64,
        _ => ((index - 10) % 90 + 10) as u64 * 10u64.pow(((index - 10) / 90) as u32),
    }
}

/// A value below ten is a whole number of milliseconds: its bucket is a tenth
/// wide, as Envoy's two-digit buckets are.
fn width(index: usize) -> f64 {
    match index {
        0 => 0.0,
        1..=9 => 0.1,
        _ => 10f64.powi(((index - 10) / 90) as i32),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_with_two_right_digits() {
        for value in [0, 1, 9, 10, 99, 100, 101, 999, 1_000, 123_456, 999_999_999] {
            let i = index(value);
            assert!(lower(i) <= value && (value as f64) < lower(i) as f64 * 1.1 + 1.0, "{value}");
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_and_bounds_follow_the_samples() {
        let histogram = Histogram::default();
        assert!(histogram.quantiles(&[0.5]).is_none());
        (1..=100).for_each(|v| histogram.record(v));
        let quantiles = histogram.quantiles(&[0.0, 0.5, 1.0]).unwrap();
        assert!((quantiles[1] - 51.0).abs() <= 1.0, "{quantiles:?}");
        assert_eq!(histogram.cumulative(&[0.5, 1.0, 50.0, 1000.0]), [0, 1, 50, 100]);
        assert_eq!((histogram.count(), histogram.sum()), (100, 5050));
    }
}
