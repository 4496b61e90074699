//! Outlier detection at work.
//!
//! Source: Envoy's documentation, "Outlier detection"; the counting of results
//! follows its table of events.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngCore;

use super::{Event, Outcome, OutlierConfig, Reason};
use crate::balance::Host;

/// What outlier detection keeps about a host. Workers only count; the rest is
/// the writer's.
#[derive(Debug, Default)]
pub(crate) struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway: AtomicU32,
    consecutive_local: AtomicU32,
    external: Tally,
    local: Tally,
    /// Bits of the last success rate; `NO_RATE` if unknown.
    success_rate: Rate,
    ejection: Mutex<Ejection>,
}

/// Successes and requests in the current interval.
#[derive(Debug, Default)]
struct Tally {
    total: AtomicU64,
    success: AtomicU64,
}

#[derive(Debug)]
struct Rate(AtomicU64);

impl Default for Rate {
    fn default() -> Self {
        Self(AtomicU64::new(NO_RATE))
    }
}

#[derive(Debug, Default)]
struct Ejection {
    /// When it began.
    since: Option<Instant>,
    /// How many base times it lasts.
    multiplier: u32,
    jitter: Duration,
}

impl Tally {
    fn add(&self, success: bool) {
        self.total.fetch_add(1, Ordering::Relaxed);
        if success {
            self.success.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Successes and requests since the last call.
    fn take(&self) -> (u64, u64) {
        let total = self.total.swap(0, Ordering::Relaxed);
        (self.success.swap(0, Ordering::Relaxed).min(total), total)
    }
}

impl Monitor {
    pub(crate) fn success_rate(&self) -> Option<f64> {
        match self.success_rate.0.load(Ordering::Relaxed) {
            NO_RATE => None,
            bits => Some(f64::from_bits(bits)),
        }
    }

    /// Counts one result; says why the host is an outlier, if this made it one.
    pub(crate) fn record(&self, config: &OutlierConfig, outcome: Outcome) -> Option<Reason> {
        let split = config.split_external_local_origin_errors;
        let status = match outcome {
            Outcome::Status(status) => {
                if split {
                    self.local_success();
                }
                status
            }
            Outcome::Connected if split => {
                self.local_success();
                return None;
            }
            Outcome::ConnectFailure | Outcome::Reset | Outcome::Timeout if split => {
                self.local.add(false);
                let limit = config.consecutive_local_origin_failure;
                return reached(&self.consecutive_local, limit).then_some(Reason::ConsecutiveLocalOriginFailure);
            }
            Outcome::Connected => 200,
            Outcome::ConnectFailure => 503,
            Outcome::Reset => 500,
            Outcome::Timeout => 504,
        };
        self.record_status(config, status)
    }

    fn local_success(&self) {
        self.local.add(true);
        clear(&self.consecutive_local);
    }

    fn record_status(&self, config: &OutlierConfig, status: u16) -> Option<Reason> {
        self.external.add(status < 500);
        if status < 500 {
            clear(&self.consecutive_5xx);
            clear(&self.consecutive_gateway);
            return None;
        }
        let gateway = if matches!(status, 502..=504) {
            reached(&self.consecutive_gateway, config.consecutive_gateway_failure)
        } else {
            clear(&self.consecutive_gateway);
            false
        };
        let any = reached(&self.consecutive_5xx, config.consecutive_5xx);
        // Gateway failures are errors too: if both limits are reached, the one that is enforced counts.
        match (gateway && config.enforcing_consecutive_gateway_failure > 0, any, gateway) {
            (true, ..) => Some(Reason::ConsecutiveGatewayFailure),
            (_, true, _) => Some(Reason::Consecutive5xx),
            (_, _, true) => Some(Reason::ConsecutiveGatewayFailure),
            _ => None,
        }
    }

    fn reset(&self) {
        clear(&self.consecutive_5xx);
        clear(&self.consecutive_gateway);
        clear(&self.consecutive_local);
    }
}

/// Counts one more; starts again at zero when `limit` is reached.
fn reached(counter: &AtomicU32, limit: u32) -> bool {
    let hit = counter.fetch_add(1, Ordering::Relaxed).saturating_add(1) == limit;
    if hit {
        counter.store(0, Ordering::Relaxed);
    }
    hit
}

/// Written only if it changes: successes are the rule, and all workers share it.
fn clear(counter: &AtomicU32) {
    if counter.load(Ordering::Relaxed) != 0 {
        counter.store(0, Ordering::Relaxed);
    }
}

impl OutlierConfig {
    fn enforcing(&self, reason: Reason) -> u32 {
        match reason {
            Reason::Consecutive5xx => self.enforcing_consecutive_5xx,
            Reason::ConsecutiveGatewayFailure => self.enforcing_consecutive_gateway_failure,
            Reason::ConsecutiveLocalOriginFailure => self.enforcing_consecutive_local_origin_failure,
            Reason::SuccessRate => self.enforcing_success_rate,
            Reason::SuccessRateLocalOrigin => self.enforcing_local_origin_success_rate,
            Reason::FailurePercentage => self.enforcing_failure_percentage,
            Reason::FailurePercentageLocalOrigin => self.enforcing_failure_percentage_local_origin,
        }
    }
}

/// Ejects `host`, if the shares allow it. `None` if it is out already.
pub(crate) fn eject(
    config: &OutlierConfig,
    reason: Reason,
    host: &Arc<Host>,
    hosts: &HashMap<SocketAddr, Arc<Host>>,
    now: Instant,
    rng: &mut impl RngCore,
) -> Option<Event> {
    if host.is_ejected() || !hosts.contains_key(&host.address) {
        return None;
    }
    let out = hosts.values().filter(|h| h.is_ejected()).count();
    let below_share = 100 * out < config.max_ejection_percent as usize * hosts.len();
    let allowed = below_share || (out == 0 && config.always_eject_one_host);
    if !allowed || rng.next_u32() % 100 >= config.enforcing(reason) {
        return Some(Event::NotEnforced(reason));
    }
    let mut ejection = host.monitor.ejection.lock();
    ejection.since = Some(now);
    ejection.jitter = match config.max_ejection_time_jitter.as_millis() {
        0 => Duration::ZERO,
        ms => Duration::from_millis(rng.next_u64() % (ms as u64).saturating_add(1)),
    };
    let lasts = config.base_ejection_time.saturating_mul(ejection.multiplier);
    if lasts < config.max_ejection_time.saturating_add(config.base_ejection_time) {
        ejection.multiplier += 1;
    }
    host.set_ejected(true);
    Some(Event::Ejected(reason))
}

/// When the next analysis is due.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    last: Option<Instant>,
}

impl Timer {
    /// Un-ejects hosts whose time is over and, once an interval, looks for outliers by rate.
    pub(crate) fn tick(
        &mut self,
        config: &OutlierConfig,
        hosts: &HashMap<SocketAddr, Arc<Host>>,
        now: Instant,
        rng: &mut impl RngCore,
    ) -> Vec<(Arc<Host>, Event)> {
        let last = *self.last.get_or_insert(now);
        let due = now.saturating_duration_since(last) >= config.interval;
        let mut events = Vec::new();
        for host in hosts.values() {
            if returns(config, host, now, due) {
                events.push((host.clone(), Event::Returned));
            }
        }
        if due {
            self.last = Some(now);
            let mut out = |outliers: Vec<(Arc<Host>, Reason)>| {
                for (host, reason) in outliers {
                    if let Some(event) = eject(config, reason, &host, hosts, now, rng) {
                        events.push((host, event));
                    }
                }
            };
            out(analyse(config, hosts, false));
            if config.split_external_local_origin_errors {
                out(analyse(config, hosts, true));
            }
        }
        events
    }
}

/// Ends the host's ejection if its time is over. An interval without an
/// ejection makes the next one shorter.
fn returns(config: &OutlierConfig, host: &Host, now: Instant, interval_over: bool) -> bool {
    let mut ejection = host.monitor.ejection.lock();
    let Some(since) = ejection.since.filter(|_| host.is_ejected()) else {
        if interval_over {
            ejection.multiplier = ejection.multiplier.saturating_sub(1);
        }
        return false;
    };
    let time = config.base_ejection_time.saturating_mul(ejection.multiplier).min(config.max_ejection_time);
    if now.saturating_duration_since(since) < time.saturating_add(ejection.jitter) {
        return false;
    }
    ejection.since = None;
    host.monitor.reset();
    host.set_ejected(false);
    true
}

/// Hosts whose rates of the interval that just ended make them outliers.
fn analyse(config: &OutlierConfig, hosts: &HashMap<SocketAddr, Arc<Host>>, local: bool) -> Vec<(Arc<Host>, Reason)> {
    let (by_rate, by_percentage) = match local {
        false => (Reason::SuccessRate, Reason::FailurePercentage),
        true => (Reason::SuccessRateLocalOrigin, Reason::FailurePercentageLocalOrigin),
    };
    let mut rated = Vec::with_capacity(hosts.len());
    for host in hosts.values() {
        let tally = if local { &host.monitor.local } else { &host.monitor.external };
        let (success, total) = tally.take();
        let rate = if total == 0 { 100.0 } else { 100.0 * success as f64 / total as f64 };
        if !local {
            let enough = total > 0 && total >= u64::from(config.success_rate_request_volume);
            let bits = if enough { rate.to_bits() } else { NO_RATE };
            host.monitor.success_rate.0.store(bits, Ordering::Relaxed);
        }
        if !host.is_ejected() && total > 0 {
            rated.push((host, rate, total));
        }
    }
    // In a stable order, so that the maximum share does not pick at random.
    rated.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.address.cmp(&b.0.address)));
    let mut outliers = Vec::new();
    let with_volume = |volume: u32| rated.iter().filter(move |(_, _, total)| *total >= u64::from(volume));
    let rates: Vec<f64> = with_volume(config.success_rate_request_volume).map(|(_, rate, _)| *rate).collect();
    if !rates.is_empty() && rates.len() >= config.success_rate_minimum_hosts as usize {
        let threshold = threshold(&rates, config.success_rate_stdev_factor);
        let low = with_volume(config.success_rate_request_volume).filter(|(_, rate, _)| *rate < threshold);
        outliers.extend(low.map(|(host, ..)| ((*host).clone(), by_rate)));
    }
    let candidates = with_volume(config.failure_percentage_request_volume);
    if candidates.clone().count() >= config.failure_percentage_minimum_hosts as usize {
        let failing = candidates.filter(|(_, rate, _)| 100.0 - rate >= f64::from(config.failure_percentage_threshold));
        outliers.extend(failing.map(|(host, ..)| ((*host).clone(), by_percentage)));
    }
    outliers
}

/// The mean less so many standard deviations.
fn threshold(rates: &[f64], stdev_factor: u32) -> f64 {
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let variance = rates.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / rates.len() as f64;
    mean - variance.sqrt() * f64::from(stdev_factor) / 1000.0
}

/// A bit pattern that is no rate.
const NO_RATE: u64 = u64::MAX;
