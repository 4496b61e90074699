//! What the agent counts, under Istio's names.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one agent.
#[derive(Debug, Default)]
pub struct Metrics {
    scrapes: AtomicU64,
    envoy_failures: AtomicU64,
    application_failures: AtomicU64,
    starts: AtomicU64,
    startup_ms: AtomicU64,
}

impl Metrics {
    pub(super) fn count_scrape(&self) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_scrape_failure(&self, kind: &str) {
        let counter = if kind == "envoy" { &self.envoy_failures } else { &self.application_failures };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_start(&self) {
        self.starts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn set_startup(&self, took: Duration) {
        self.startup_ms.store(took.as_millis().try_into().unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn render(&self) -> String {
        let mut page = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, values: &[(&str, f64)]| {
            let _ = writeln!(page, "# HELP istio_agent_{name} {help}\n# TYPE istio_agent_{name} {kind}");
            for (labels, value) in values {
                let _ = writeln!(page, "istio_agent_{name}{labels} {value}");
            }
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        metric("scrapes_total", "counter", "The total number of scrapes.", &[("", read(&self.scrapes))]);
        metric(
            "scrape_failures_total",
            "counter",
            "The total number of failed scrapes.",
            &[
                ("{type=\"application\"}", read(&self.application_failures)),
                ("{type=\"envoy\"}", read(&self.envoy_failures)),
            ],
        );
        metric("proxy_starts_total", "counter", "How often the proxy has been started.", &[("", read(&self.starts))]);
        metric(
            "startup_duration_seconds",
            "gauge",
            "The time from when the agent starts to when the proxy is ready.",
            &[("", read(&self.startup_ms) / 1e3)],
        );
        page
    }
}
