//! An explanation for people: readable at 40 columns and in a pipe.

use clap::builder::styling::Style;

use super::{Because, Endpoint, Explanation, Outcome, OutcomeKind, Step, StepKind};
use crate::terminal::{ERROR, FAINT, GOOD, NAME, WARNING, paint, wrap};

/// `explanation` in lines of at most `width` columns where names allow it.
/// Colours are in it; printing takes them out where they are not wanted.
pub(crate) fn render(explanation: &Explanation, width: usize) -> String {
    let mut page = Page { text: String::new(), width };
    page.wrapped("", &explanation.from, NAME);
    page.wrapped("-> ", &explanation.to, NAME);
    page.text.push('\n');
    for (index, step) in explanation.steps.iter().enumerate() {
        page.step(index + 1, step);
        if step.kind == StepKind::Endpoints {
            explanation.endpoints.iter().for_each(|endpoint| page.endpoint(endpoint));
        }
    }
    if !explanation.steps.is_empty() {
        page.text.push('\n');
    }
    page.outcome(&explanation.outcome);
    page.text
}

struct Page {
    text: String,
    width: usize,
}

impl Page {
    fn step(&mut self, number: usize, step: &Step) {
        let first = format!("{number}. {}", step.kind.as_str());
        if step.name.is_empty() {
            self.line(&first, FAINT);
        } else if first.chars().count() + 1 + step.name.chars().count() <= self.width {
            self.text.push_str(&format!("{} {}\n", paint(FAINT, &first), paint(NAME, &step.name)));
        } else {
            self.line(&first, FAINT);
            self.wrapped(INDENT, &step.name, NAME);
        }
        self.wrapped(INDENT, &step.detail, PLAIN);
        for rejected in &step.rejected {
            self.wrapped(&format!("{INDENT}not "), &format!("{}: {}", rejected.name, rejected.reason), FAINT);
        }
        for because in &step.because {
            self.wrapped(&format!("{INDENT}by "), &origin(because), GOOD);
        }
    }

    fn endpoint(&mut self, endpoint: &Endpoint) {
        let Endpoint { address, port, health, weight, probability } = endpoint;
        let place = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        let style = if *probability > 0.0 { PLAIN } else { FAINT };
        let chance = format!("{INDENT}{:5.1} % ", probability * 100.0);
        self.wrapped(&chance, &format!("{place} {health}, weight {weight}"), style);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let status = outcome.status.map(|s| format!(" with status {s}")).unwrap_or_default();
        match outcome.kind {
            OutcomeKind::Forward => self.wrapped("", "It is forwarded.", GOOD),
            OutcomeKind::Respond => self.wrapped("", &format!("The proxy answers it{status}."), WARNING),
            OutcomeKind::Refuse => {
                let why = outcome.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
                self.wrapped("", &format!("It is refused{status}{why}."), ERROR);
            }
        }
        let total: u64 = outcome.clusters.iter().map(|c| u64::from(c.weight)).sum();
        for cluster in &outcome.clusters {
            let share = f64::from(cluster.weight) * 100.0 / total.max(1) as f64;
            let share = if outcome.clusters.len() > 1 { format!(" ({share:.1} %)") } else { String::new() };
            self.wrapped(&format!("{INDENT}to "), &format!("{}{share}", cluster.name), PLAIN);
        }
        let facts = [
            ("authority", outcome.authority.clone()),
            ("path", outcome.path.clone()),
            ("timeout", outcome.timeout_ms.map(milliseconds)),
            ("retries", outcome.retries.map(|n| if n == 0 { "none".to_owned() } else { format!("up to {n}") })),
        ];
        for (what, value) in facts {
            self.wrapped(&format!("{INDENT}{what} "), &value.unwrap_or_default(), PLAIN);
        }
        for (name, value) in &outcome.headers {
            self.wrapped(&format!("{INDENT}header "), &format!("{name}: {value}"), PLAIN);
        }
    }

    /// Nothing if `text` is empty.
    fn wrapped(&mut self, first: &str, text: &str, style: Style) {
        if text.is_empty() {
            return;
        }
        for line in wrap(first, text, self.width) {
            self.line(line.trim_end(), style);
        }
    }

    fn line(&mut self, text: &str, style: Style) {
        self.text.push_str(&paint(style, text));
        self.text.push('\n');
    }
}

/// `Kind namespace/name (file:line)`
fn origin(because: &Because) -> String {
    let Because { kind, namespace, name, file, line } = because;
    let object = if namespace.is_empty() { format!("{kind} {name}") } else { format!("{kind} {namespace}/{name}") };
    match (file, line) {
        (Some(file), Some(line)) => format!("{object} ({file}:{line})"),
        (Some(file), None) => format!("{object} ({file})"),
        _ => object,
    }
}

fn milliseconds(ms: u64) -> String {
    if ms >= 1000 && ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{ms} ms") }
}

const INDENT: &str = "   ";
const PLAIN: Style = Style::new();

#[cfg(test)]
mod tests {
    use super::super::{Rejected, WeightedCluster};
    use super::*;

    fn step(kind: StepKind, name: &str, detail: &str, because: &[(&str, &str, u32)]) -> Step {
        let because = because.iter().map(|(kind, file, line)| Because {
            kind: (*kind).to_owned(),
            namespace: "default".to_owned(),
            name: "backend".to_owned(),
            file: Some((*file).to_owned()),
            line: Some(*line),
        });
        let because = because.collect();
        Step { kind, name: name.to_owned(), detail: detail.to_owned(), rejected: Vec::new(), because }
    }

    fn forwarded() -> Explanation {
        let mut route = step(StepKind::Route, "default", "prefix /", &[("Service", "backend.yaml", 2)]);
        route.rejected = vec![Rejected { name: "canary".into(), reason: "header x-user is absent".into() }];
        let endpoint = |last: u8, health: &str, probability| Endpoint {
            address: format!("127.0.0.{last}"),
            port: 8000,
            health: health.to_owned(),
            weight: 1,
            probability,
        };
        let cluster = "outbound|8000||backend.default.svc.cluster.local";
        Explanation {
            from: "frontend.default".into(),
            to: "grpc://backend.default.svc.cluster.local:8000/pkg.Svc/Method".into(),
            steps: vec![
                step(StepKind::Listener, "127.0.0.11_8000", "", &[("Service", "backend.yaml", 2)]),
                step(StepKind::FilterChain, "", "the only one", &[]),
                route,
                step(StepKind::Cluster, cluster, "ROUND_ROBIN", &[("DestinationRule", "rules.yaml", 7)]),
                step(StepKind::Endpoints, "", "", &[]),
            ],
            outcome: Outcome {
                clusters: vec![WeightedCluster { name: cluster.into(), weight: 1 }],
                headers: [("x-a".to_owned(), "1".to_owned())].into(),
                path: Some("/pkg.Svc/Method".into()),
                timeout_ms: Some(15_000),
                retries: Some(2),
                ..Outcome::new(OutcomeKind::Forward)
            },
            endpoints: vec![endpoint(21, "healthy", 1.0), endpoint(22, "unhealthy", 0.0)],
        }
    }

    fn check(explanation: &Explanation, width: usize, expected: &str) {
        let text = anstream::adapter::strip_str(&render(explanation, width)).to_string();
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn every_step_says_what_shaped_it_and_where_that_stands() {
        check(
            &forwarded(),
            100,
            "\
frontend.default
-> grpc://backend.default.svc.cluster.local:8000/pkg.Svc/Method

1. listener 127.0.0.11_8000
   by Service default/backend (backend.yaml:2)
2. filter chain
   the only one
3. route default
   prefix /
   not canary: header x-user is absent
   by Service default/backend (backend.yaml:2)
4. cluster outbound|8000||backend.default.svc.cluster.local
   ROUND_ROBIN
   by DestinationRule default/backend (rules.yaml:7)
5. endpoints
   100.0 % 127.0.0.21:8000 healthy, weight 1
     0.0 % 127.0.0.22:8000 unhealthy, weight 1

It is forwarded.
   to outbound|8000||backend.default.svc.cluster.local
   path /pkg.Svc/Method
   timeout 15 s
   retries up to 2
   header x-a: 1
",
        );
    }

    #[test]
    fn a_refusal_is_one_sentence_that_wraps() {
        let refused = Explanation {
            from: "a.b".into(),
            to: "tcp://c:1".into(),
            steps: Vec::new(),
            endpoints: Vec::new(),
            outcome: Outcome {
                reason: Some("no listener has this address".into()),
                ..Outcome::new(OutcomeKind::Refuse)
            },
        };
        check(&refused, 30, "a.b\n-> tcp://c:1\n\nIt is refused: no listener has\nthis address.\n");
        let json = serde_json::to_value(&refused).unwrap_or_default();
        let expected = serde_json::json!({
            "from": "a.b", "to": "tcp://c:1", "steps": [],
            "outcome": {"kind": "refuse", "reason": "no listener has this address"},
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn only_names_go_past_forty_columns() {
        let text = anstream::adapter::strip_str(&render(&forwarded(), 40)).to_string();
        for line in text.lines().filter(|l| l.chars().count() > 40) {
            let words = line.trim_start().trim_start_matches("-> ").trim_start_matches("to ");
            assert!(!words.contains(' '), "{line:?} could have been wrapped\n{text}");
        }
    }
}
