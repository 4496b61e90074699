//! How traffic is shared between priorities, by their health.
//!
//! Source: Envoy's documentation, "Priority levels", "Panic threshold" and
//! "Degraded endpoints"; integer percentages as there.

/// Shares of traffic by priority, in percent. Over both lists they add up to
/// 100, if there is a host at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PriorityLoad {
    /// To healthy hosts, or in panic to all hosts.
    pub healthy: Vec<u32>,
    /// To degraded hosts.
    pub degraded: Vec<u32>,
    /// Priorities in panic: all hosts are used, whatever their health.
    pub panic: Vec<bool>,
}

/// Hosts of a priority, counted or weighed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) total: u64,
    pub(super) healthy: u64,
    pub(super) degraded: u64,
}

impl PriorityLoad {
    /// Shares for priorities with these hosts. `weighed` decides on spill-over, `counted` on panic.
    pub(super) fn new(counted: &[Tally], weighed: &[Tally], overprovisioning: u32, panic_percent: f64) -> Self {
        let share = |part: u64, total: u64| -> u32 {
            (u64::from(overprovisioning) * part).checked_div(total).map_or(0, |s| s.min(100) as u32)
        };
        let healthy: Vec<u32> = weighed.iter().map(|t| share(t.healthy, t.total)).collect();
        let degraded: Vec<u32> = weighed.iter().map(|t| share(t.degraded, t.total)).collect();
        let available = healthy.iter().chain(&degraded).sum::<u32>().min(100);
        let panic_percent = panic_percent.min(100.0) as u64;
        let mut load = Self::distribute(&healthy, &degraded, available);
        load.panic = counted.iter().map(|t| available < 100 && in_panic(t, panic_percent)).collect();
        if panic_percent > 0 && !load.panic.is_empty() && load.panic.iter().all(|p| *p) {
            load.by_host_count(counted);
        }
        load
    }

    fn distribute(healthy: &[u32], degraded: &[u32], available: u32) -> Self {
        let mut load = Self { healthy: vec![0; healthy.len()], degraded: vec![0; degraded.len()], panic: Vec::new() };
        if available == 0 {
            if let Some(first) = load.healthy.first_mut() {
                *first = 100;
            }
            return load;
        }
        let mut remaining = 100;
        for (shares, loads) in [(healthy, &mut load.healthy), (degraded, &mut load.degraded)] {
            for (share, load) in shares.iter().zip(loads) {
                *load = remaining.min(share * 100 / available);
                remaining -= *load;
            }
        }
        // What rounding left over goes to the first that has anything.
        let first = |shares: &[u32]| shares.iter().position(|s| *s > 0);
        match (first(healthy), first(degraded)) {
            (Some(i), _) => load.healthy[i] += remaining,
            (None, Some(i)) => load.degraded[i] += remaining,
            (None, None) => {}
        }
        load
    }

    /// All priorities are in panic: each gets traffic for as many hosts as it has.
    fn by_host_count(&mut self, counted: &[Tally]) {
        self.degraded.fill(0);
        let total: u64 = counted.iter().map(|t| t.total).sum();
        if total == 0 {
            return;
        }
        let mut remaining = 100;
        for (load, tally) in self.healthy.iter_mut().zip(counted) {
            *load = (100 * tally.total / total) as u32;
            remaining -= *load;
        }
        if let Some(first) = self.healthy.iter_mut().find(|l| **l > 0) {
            *first += remaining;
        }
    }

    /// The priority for `point` (0 to 99), and whether its healthy hosts are meant (else the degraded ones).
    pub(super) fn choose(&self, point: u32) -> Option<(usize, bool)> {
        let all = self.healthy.iter().map(|l| (l, true)).enumerate();
        let all = all.chain(self.degraded.iter().map(|l| (l, false)).enumerate());
        let mut sum = 0;
        for (priority, (load, healthy)) in all {
            sum += load;
            if point < sum {
                return Some((priority, healthy));
            }
        }
        None
    }
}

fn in_panic(tally: &Tally, panic_percent: u64) -> bool {
    let percent = |part: u64| (100 * part).checked_div(tally.total).unwrap_or(0);
    percent(tally.healthy) + percent(tally.degraded) < panic_percent
}
