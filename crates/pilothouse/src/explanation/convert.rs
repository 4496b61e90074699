//! From the engine's answer to the document: names the rule objects' places
//! and puts values into the forms of the output.

use std::collections::BTreeMap;

use mesh_engine::explain as engine;
use mesh_model::{ObjectRef, SourceLocation};
use mesh_proto::origin::Origin;

use super::{Because, Endpoint, Explanation, Outcome, OutcomeKind, Rejected, Step, StepKind, WeightedCluster};

/// Where objects stand, by what their resources' metadata calls them.
pub(crate) type Locations = BTreeMap<Origin, SourceLocation>;

/// `object` as resources' metadata calls it.
pub(crate) fn key(object: &ObjectRef) -> Origin {
    Origin { kind: object.kind.to_string(), namespace: object.namespace.to_string(), name: object.name.to_string() }
}

/// The document for `answer`.
pub(crate) fn explanation(from: &str, to: &str, answer: engine::Explanation, locations: &Locations) -> Explanation {
    Explanation {
        from: from.to_owned(),
        to: to.to_owned(),
        steps: answer.steps.into_iter().map(|s| step(s, locations)).collect(),
        outcome: outcome(answer.outcome),
        endpoints: answer.endpoints.into_iter().map(endpoint).collect(),
    }
}

fn step(step: engine::Step, locations: &Locations) -> Step {
    let because = |origin: Origin| {
        let place = locations.get(&origin);
        Because {
            file: place.map(|p| p.file.to_string()),
            line: place.map(|p| p.line),
            kind: origin.kind,
            namespace: origin.namespace,
            name: origin.name,
        }
    };
    Step {
        kind: kind(step.kind),
        name: step.name,
        detail: step.detail,
        rejected: step.rejected.into_iter().map(|r| Rejected { name: r.name, reason: r.why }).collect(),
        because: step.because.into_iter().map(because).collect(),
    }
}

fn kind(kind: engine::StepKind) -> StepKind {
    match kind {
        engine::StepKind::Listener => StepKind::Listener,
        engine::StepKind::FilterChain => StepKind::FilterChain,
        engine::StepKind::VirtualHost => StepKind::VirtualHost,
        engine::StepKind::Route => StepKind::Route,
        engine::StepKind::Cluster => StepKind::Cluster,
        engine::StepKind::Endpoints => StepKind::Endpoints,
    }
}

fn outcome(outcome: engine::Outcome) -> Outcome {
    match outcome {
        engine::Outcome::Forward(forward) => {
            let http = !forward.path.is_empty();
            Outcome {
                clusters: forward.clusters.into_iter().map(|(name, weight)| WeightedCluster { name, weight }).collect(),
                headers: headers(&forward.headers),
                path: http.then_some(forward.path),
                authority: http.then_some(forward.authority),
                timeout_ms: forward.timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX)),
                retries: http.then_some(forward.retries),
                ..Outcome::new(OutcomeKind::Forward)
            }
        }
        engine::Outcome::Respond { status, headers: answered } => {
            Outcome { status: Some(status.as_u16()), headers: headers(&answered), ..Outcome::new(OutcomeKind::Respond) }
        }
        engine::Outcome::Refuse { status, why } => {
            Outcome { status: status.map(|s| s.as_u16()), reason: Some(why), ..Outcome::new(OutcomeKind::Refuse) }
        }
    }
}

/// Several values of one name are joined by commas, as HTTP allows.
fn headers(map: &http::HeaderMap) -> BTreeMap<String, String> {
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in map {
        let value = String::from_utf8_lossy(value.as_bytes());
        headers
            .entry(name.to_string())
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    headers
}

fn endpoint(chance: engine::EndpointChance) -> Endpoint {
    let health =
        if chance.ejected { "ejected".to_owned() } else { format!("{:?}", chance.health).to_ascii_lowercase() };
    Endpoint {
        address: chance.address.ip().to_string(),
        port: chance.address.port(),
        health,
        weight: chance.weight,
        probability: (chance.probability * ROUNDING).round() / ROUNDING,
    }
}

/// Six digits of a probability are more than anyone reads.
const ROUNDING: f64 = 1e6;
