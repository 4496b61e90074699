//! Spreads events over time: so many per second, with a second's worth of
//! burst; later ones are told how long to wait.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    /// When the next event would be due if all had been evenly spread.
    next: Mutex<Option<Instant>>,
}

const BURST: Duration = Duration::from_secs(1);

impl Pace {
    /// At most `per_second` events per second; 0 counts as 1.
    pub(super) fn new(per_second: u32) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), next: Mutex::new(None) }
    }

    /// Counts an event and says how long it must wait.
    pub(super) fn wait(&self, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = next.map_or(now, |next| next.max(now));
        *next = Some(at + self.interval);
        (at - now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_one_second_passes_and_the_rest_is_spread() {
        let (pace, now) = (Pace::new(10), Instant::now());
        assert!((0..11).all(|_| pace.wait(now).is_zero()));
        assert_eq!(pace.wait(now), Duration::from_millis(100));
        assert!(pace.wait(now + Duration::from_secs(5)).is_zero());
    }
}
