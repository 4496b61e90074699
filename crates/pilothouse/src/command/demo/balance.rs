//! How even a load is: calls per replica, their coefficient of variation, and
//! latencies.

use std::time::Duration;

use serde::Serialize;

use super::client::Call;

/// One run of calls, summed up. The JSON keys are part of the command's output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Balance {
    /// Calls that each replica answered.
    pub(super) per_replica: Vec<u64>,
    /// Coefficient of variation of `per_replica`: standard deviation (of the
    /// population) over mean. 0 is even; with everything on one of n replicas
    /// it is the root of n - 1.
    pub(super) cov: f64,
    /// The busiest replica's calls over the mean; 1 is even.
    pub(super) max_over_mean: f64,
    /// Median latency in milliseconds.
    pub(super) p50_ms: f64,
    /// The latency in milliseconds that 99 % of the calls stay within.
    pub(super) p99_ms: f64,
}

/// A run's figures, and what went wrong in it.
#[derive(Debug)]
pub(super) struct Run {
    /// Of the calls that were answered.
    pub(super) balance: Balance,
    /// Calls without an answer.
    pub(super) failed: u64,
    /// Why the first of them failed.
    pub(super) first_failure: Option<String>,
}

impl Run {
    /// Sums up `calls`; `replicas` are all there are, in the order shown.
    pub(super) fn new(calls: Vec<Call>, replicas: &[String]) -> Self {
        let mut per_replica = vec![0; replicas.len()];
        let mut latencies = Vec::with_capacity(calls.len());
        let (mut failed, mut first_failure) = (0, None);
        for call in calls {
            let position = match &call.outcome {
                Ok(name) => replicas.iter().position(|r| r == name).ok_or_else(|| format!("an answer from {name:?}")),
                Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
            };
            match position {
                Ok(index) => {
                    per_replica[index] += 1;
                    latencies.push(call.elapsed);
                }
                Err(why) => {
                    failed += 1;
                    first_failure.get_or_insert(why);
                }
            }
        }
        latencies.sort_unstable();
        let balance = Balance {
            cov: round(variation(&per_replica)),
            max_over_mean: round(max_over_mean(&per_replica)),
            p50_ms: round(milliseconds(percentile(&latencies, 50))),
            p99_ms: round(milliseconds(percentile(&latencies, 99))),
            per_replica,
        };
        Run { balance, failed, first_failure }
    }
}

/// Coefficient of variation; 0 if there are no calls.
fn variation(counts: &[u64]) -> f64 {
    let mean = mean(counts);
    if mean == 0.0 {
        return 0.0;
    }
    let variance = counts.iter().map(|&c| (c as f64 - mean).powi(2)).sum::<f64>() / counts.len() as f64;
    variance.sqrt() / mean
}

/// The greatest count over the mean; 0 if there are no calls.
fn max_over_mean(counts: &[u64]) -> f64 {
    let mean = mean(counts);
    if mean == 0.0 { 0.0 } else { counts.iter().copied().max().unwrap_or(0) as f64 / mean }
}

fn mean(counts: &[u64]) -> f64 {
    if counts.is_empty() { 0.0 } else { counts.iter().sum::<u64>() as f64 / counts.len() as f64 }
}

/// The least of `sorted` that at least `percent` of them do not exceed
/// (nearest rank); zero if there are none.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Microseconds, and four digits of a ratio, are all that these figures hold.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(answers: &[(&str, u64)]) -> Run {
        let replicas = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let call = |(name, ms): &(&str, u64)| {
            let outcome =
                if name.is_empty() { Err(tonic::Status::unavailable("gone")) } else { Ok((*name).to_owned()) };
            Call { outcome, elapsed: Duration::from_millis(*ms) }
        };
        Run::new(answers.iter().map(call).collect(), &replicas)
    }

    #[test]
    fn an_even_load_does_not_vary() {
        let balance = run(&[("a", 1), ("b", 2), ("c", 3)]).balance;
        assert_eq!(balance.per_replica, [1, 1, 1]);
        assert_eq!((balance.cov, balance.max_over_mean), (0.0, 1.0));
    }

    #[test]
    fn everything_on_one_of_three_varies_by_the_root_of_two() {
        let balance = run(&[("b", 1), ("b", 1), ("b", 1)]).balance;
        assert_eq!(balance.per_replica, [0, 3, 0]);
        assert_eq!((balance.cov, balance.max_over_mean), (round(2f64.sqrt()), 3.0));
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let calls: Vec<_> = (1..=200).map(|ms| ("a", ms)).collect();
        let balance = run(&calls).balance;
        assert_eq!((balance.p50_ms, balance.p99_ms), (100.0, 198.0));
        assert_eq!(run(&[("a", 7)]).balance.p99_ms, 7.0);
    }

    #[test]
    fn failed_calls_are_counted_apart_and_the_first_reason_is_kept() {
        let run = run(&[("a", 1), ("", 1), ("nobody", 1)]);
        assert_eq!((run.failed, run.balance.per_replica), (2, vec![1, 0, 0]));
        assert_eq!(run.first_failure.as_deref(), Some("Unavailable: gone"));
    }

    #[test]
    fn no_answer_at_all_gives_zeros_not_nan() {
        let balance = run(&[("", 1)]).balance;
        assert_eq!((balance.cov, balance.max_over_mean, balance.p99_ms), (0.0, 0.0, 0.0));
    }
}
