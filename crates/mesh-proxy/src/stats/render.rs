//! Renders statistics as Envoy's admin interface does: text, JSON, Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use regex::Regex;
use serde_json::{Value as Json, json};

use super::{Histogram, ScopeName, Store, Value};

/// What to show.
#[derive(Default)]
pub(crate) struct Query {
    pub(crate) used_only: bool,
    pub(crate) filter: Option<Regex>,
    pub(crate) invert_filter: bool,
    pub(crate) kind: Option<Kind>,
    /// Prometheus: show text values as gauges of value zero.
    pub(crate) text_readouts: bool,
}

/// A kind of statistic, for `?type=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counters,
    Gauges,
    Histograms,
    TextReadouts,
}

impl Query {
    fn admits(&self, name: &str, value: Value<'_>) -> bool {
        let (kind, used) = match value {
            Value::Counter(c) => (Kind::Counters, c.value() > 0),
            Value::Gauge(v) => (Kind::Gauges, v > 0),
            Value::Histogram(h) => (Kind::Histograms, h.count() > 0),
            Value::Text(t) => (Kind::TextReadouts, !t.is_empty()),
        };
        (self.kind.is_none_or(|k| k == kind))
            && (used || !self.used_only)
            && self.filter.as_ref().is_none_or(|f| f.is_match(name) != self.invert_filter)
    }
}

/// Lines of `name: value`: text first, then counters and gauges, then
/// histograms, each sorted.
pub(crate) fn text(store: &Store, query: &Query) -> String {
    let (mut texts, mut numbers, mut histograms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    collect(store, query, &mut |name, value| match value {
        Value::Text(t) => drop(texts.insert(name, format!("\"{t}\""))),
        Value::Counter(c) => drop(numbers.insert(name, c.value())),
        Value::Gauge(v) => drop(numbers.insert(name, v)),
        Value::Histogram(h) => drop(histograms.insert(name, summary(h))),
    });
    let mut out = String::new();
    for (name, value) in texts {
        let _ = writeln!(out, "{name}: {value}");
    }
    for (name, value) in numbers {
        let _ = writeln!(out, "{name}: {value}");
    }
    for (name, value) in histograms {
        let _ = writeln!(out, "{name}: {value}");
    }
    out
}

/// `{"stats":[{"name","value"}...,{"histograms":{...}}]}`
pub(crate) fn json(store: &Store, query: &Query) -> Json {
    let (mut texts, mut numbers, mut histograms) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    collect(store, query, &mut |name, value| match value {
        Value::Text(t) => drop(texts.insert(name, t.to_owned())),
        Value::Counter(c) => drop(numbers.insert(name, c.value())),
        Value::Gauge(v) => drop(numbers.insert(name, v)),
        Value::Histogram(h) => drop(histograms.insert(name, h.quantiles(&quantiles()))),
    });
    let texts = texts.into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let mut stats: Vec<Json> =
        texts.chain(numbers.into_iter().map(|(name, value)| json!({"name": name, "value": value}))).collect();
    if !histograms.is_empty() {
        let computed: Vec<Json> = histograms
            .into_iter()
            .map(|(name, values)| {
                let values: Vec<Json> = match values {
                    Some(values) => values.iter().map(|v| json!({"interval": null, "cumulative": v})).collect(),
                    None => QUANTILES.iter().map(|_| json!({"interval": null, "cumulative": null})).collect(),
                };
                json!({"name": name, "values": values})
            })
            .collect();
        stats.push(json!({"histograms": {"supported_quantiles": QUANTILES, "computed_quantiles": computed}}));
    }
    json!({ "stats": stats })
}

/// Prometheus exposition text. Names are `envoy_<family>_<name>`, what the
/// name was tagged with becomes labels.
pub(crate) fn prometheus(store: &Store, query: &Query) -> String {
    // Families by kind, since one family's samples must stand together.
    let mut families: [BTreeMap<String, Vec<String>>; 3] = Default::default();
    store.visit(&mut |scope, name, value| {
        if !query.admits(&format!("{}{name}", scope.prefix), value) {
            return;
        }
        let (family, labels) = family(scope, name);
        let labels = labels.join(",");
        match value {
            Value::Counter(c) => push(&mut families[0], &family, format!("{family}{{{labels}}} {}", c.value())),
            Value::Gauge(v) => push(&mut families[1], &family, format!("{family}{{{labels}}} {v}")),
            Value::Text(t) if query.text_readouts => {
                let comma = if labels.is_empty() { "" } else { "," };
                let line = format!("{family}{{{labels}{comma}text_value=\"{}\"}} 0", escape(t));
                push(&mut families[1], &family, line);
            }
            Value::Text(_) => {}
            Value::Histogram(h) => push(&mut families[2], &family, histogram_lines(&family, &labels, h)),
        }
    });
    let mut out = String::new();
    for (kind, families) in ["counter", "gauge", "histogram"].iter().zip(families) {
        for (family, lines) in families {
            let _ = writeln!(out, "# TYPE {family} {kind}");
            for line in lines {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    out
}

fn push(families: &mut BTreeMap<String, Vec<String>>, family: &str, line: String) {
    families.entry(family.to_owned()).or_default().push(line);
}

fn collect(store: &Store, query: &Query, see: &mut dyn FnMut(String, Value<'_>)) {
    store.visit(&mut |scope, name, value| {
        let full = format!("{}{name}", scope.prefix);
        if query.admits(&full, value) {
            see(full, value);
        }
    });
}

fn family(scope: &ScopeName, name: &str) -> (String, Vec<String>) {
    let mut labels: Vec<String> = Vec::new();
    let mut short = name.to_owned();
    if let Some((stem, code)) = name.rsplit_once("rq_") {
        let code_bytes = code.as_bytes();
        if code.len() == 3 && code.ends_with("xx") && code_bytes[0].is_ascii_digit() {
            labels.push(format!("envoy_response_code_class=\"{}\"", &code[..1]));
            short = format!("{stem}rq_xx");
        } else if code.len() == 3 && code_bytes.iter().all(u8::is_ascii_digit) {
            labels.push(format!("envoy_response_code=\"{code}\""));
            short = format!("{stem}rq");
        }
    }
    labels.extend(scope.tags.iter().map(|t| format!("{}=\"{}\"", t.name, escape(&t.value))));
    let clean = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_");
    (format!("envoy_{}{}", clean(&scope.family), clean(&short)), labels)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn histogram_lines(family: &str, labels: &str, histogram: &Histogram) -> String {
    let comma = if labels.is_empty() { "" } else { "," };
    let mut out = String::new();
    for (bound, n) in BOUNDS.iter().zip(histogram.cumulative(&BOUNDS)) {
        let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {n}");
    }
    let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", histogram.count());
    let _ = writeln!(out, "{family}_sum{{{labels}}} {}", histogram.sum());
    let _ = write!(out, "{family}_count{{{labels}}} {}", histogram.count());
    out
}

fn summary(histogram: &Histogram) -> String {
    let Some(values) = histogram.quantiles(&quantiles()) else { return "No recorded values".to_owned() };
    // There is no flush interval here: the first number of each pair is what
    // Envoy shows for an interval without samples.
    let parts: Vec<String> = QUANTILES.iter().zip(values).map(|(q, v)| format!("P{q}(nan,{v})")).collect();
    parts.join(" ")
}

fn quantiles() -> [f64; 10] {
    QUANTILES.map(|q| q / 100.0)
}

const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// Envoy's default Prometheus buckets, in milliseconds.
const BOUNDS: [f64; 19] = [
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0, 30000.0, 60000.0, 300000.0,
    600000.0, 1800000.0, 3600000.0,
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stats::sets::ClusterStats;

    fn store() -> Store {
        let store = Store::default();
        let stats = Arc::new(ClusterStats::default());
        stats.upstream_rq_total.add(3);
        stats.count_status(200);
        stats.upstream_rq_time.record(1);
        store.file("cluster", ScopeName::cluster("outbound|80||a.b"), stats);
        store
    }

    #[test]
    fn text_has_envoys_names_and_order() {
        let text = text(&store(), &Query { used_only: true, ..Query::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "cluster.outbound|80||a.b.upstream_rq_200: 1");
        assert!(lines.contains(&"cluster.outbound|80||a.b.upstream_rq_total: 3"), "{text}");
        assert!(lines.last().is_some_and(|l| l.contains("upstream_rq_time: P0(nan,1)")), "{text}");
    }

    #[test]
    fn prometheus_moves_names_and_codes_into_labels() {
        let text = prometheus(&store(), &Query { used_only: true, ..Query::default() });
        assert!(text.contains("# TYPE envoy_cluster_upstream_rq_total counter\n"), "{text}");
        assert!(
            text.contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"outbound|80||a.b\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name="));
        assert!(text.contains("le=\"1\"} 1\n"), "{text}");
    }

    #[test]
    fn a_filter_can_be_inverted() {
        let query = Query { filter: Regex::new("rq_total").ok(), ..Query::default() };
        assert_eq!(super::text(&store(), &query).lines().count(), 1);
        let query = Query { filter: Regex::new("rq_total").ok(), invert_filter: true, ..Query::default() };
        assert!(!super::text(&store(), &query).contains("rq_total"));
    }
}
