//! Prometheus' text format.
//!
//! The library writes OpenMetrics, where a counter's name must end in `_total`;
//! Istio's counters do not, so the ending is taken off again, and the result is
//! the older text format, which every scraper reads.
//!
//! Invariant: what is called `pilot_xds_pushes` in Istio is called so here.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// The content type of what [`render`] returns.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn render(registry: &Registry) -> String {
    let mut encoded = String::new();
    if encode_registry(&mut encoded, registry).is_err() {
        // Writing to a string does not fail; a metric that refuses to be
        // encoded ends the text early, and what is there is still true.
        tracing::error!("A metric could not be encoded; the metrics page is cut short.");
    }
    without_total(&encoded)
}

fn without_total(encoded: &str) -> String {
    let mut out = String::with_capacity(encoded.len());
    let mut counter = None;
    for line in encoded.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            counter = rest.strip_suffix(" counter");
        }
        let sample = counter.filter(|_| !line.starts_with('#')).and_then(|name| {
            let rest = line.strip_prefix(name)?.strip_prefix("_total")?;
            Some((name, rest))
        });
        match sample {
            Some((name, rest)) => {
                out.push_str(name);
                out.push_str(rest);
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}
