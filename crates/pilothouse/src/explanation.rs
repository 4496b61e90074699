//! What `explain` answers: one document, whose keys are the command's output.
//!
//! It is what the proxy's engine found, with each step's rule objects looked up
//! in the files they stand in. Invariant: a key is absent where it does not
//! apply; none is ever null.

pub(crate) mod convert;
pub(crate) mod text;

use std::collections::BTreeMap;

use serde::Serialize;

/// The path of one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Explanation {
    /// Who asks, as `workload.namespace`.
    pub(crate) from: String,
    /// The URL that was asked for.
    pub(crate) to: String,
    /// What the request meets, in order.
    pub(crate) steps: Vec<Step>,
    /// What becomes of it.
    pub(crate) outcome: Outcome,
    /// Where it may go; empty where it goes nowhere.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) endpoints: Vec<Endpoint>,
}

/// One thing that the request meets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Step {
    /// What it is.
    pub(crate) kind: StepKind,
    /// Its name in the proxy's configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Why this one, and how it behaves, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) detail: String,
    /// Those of the same kind that did not match, in the order tried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rejected: Vec<Rejected>,
    /// The rule objects that shaped it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) because: Vec<Because>,
}

/// The kinds of step, in the order in which a request meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the variants are Envoy's words")]
pub(crate) enum StepKind {
    Listener,
    FilterChain,
    VirtualHost,
    Route,
    Cluster,
    Endpoints,
}

impl StepKind {
    /// The kind as people write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            StepKind::Listener => "listener",
            StepKind::FilterChain => "filter chain",
            StepKind::VirtualHost => "virtual host",
            StepKind::Route => "route",
            StepKind::Cluster => "cluster",
            StepKind::Endpoints => "endpoints",
        }
    }
}

/// What was tried and did not match.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Rejected {
    /// Its name, or its position if it has none.
    pub(crate) name: String,
    /// What about it did not match.
    pub(crate) reason: String,
}

/// A rule object, and where it stands if that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Because {
    /// `Service`, `VirtualService`, ...
    pub(crate) kind: String,
    /// Empty for objects without one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The line, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
}

impl Because {
    /// Whether it is the object that a resource's metadata calls so.
    pub(crate) fn is(&self, origin: &mesh_proto::origin::Origin) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&origin.kind, &origin.namespace, &origin.name)
    }
}

/// What becomes of the request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Outcome {
    /// What is done with it.
    pub(crate) kind: OutcomeKind,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Where it is forwarded to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) clusters: Vec<WeightedCluster>,
    /// The status that the proxy itself answers with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Header changes, sorted by name: the headers of the request as it is
    /// forwarded, or of the answer that the proxy gives.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, String>,
    /// The path that the endpoint sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The authority that the endpoint sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) authority: Option<String>,
    /// The route's timeout in milliseconds; absent if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout_ms: Option<u64>,
    /// How often it is tried again at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retries: Option<u32>,
}

impl Outcome {
    /// One of which nothing is known but its kind.
    pub(crate) fn new(kind: OutcomeKind) -> Self {
        Outcome {
            kind,
            reason: None,
            clusters: Vec::new(),
            status: None,
            headers: BTreeMap::new(),
            path: None,
            authority: None,
            timeout_ms: None,
            retries: None,
        }
    }
}

/// What is done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OutcomeKind {
    /// It is forwarded to an endpoint.
    Forward,
    /// The proxy answers it.
    Respond,
    /// It goes nowhere.
    Refuse,
}

/// A cluster and its share of the requests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct WeightedCluster {
    /// Its name.
    pub(crate) name: String,
    /// Its share relative to the others'.
    pub(crate) weight: u32,
}

/// Where a request may go.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Endpoint {
    /// Its IP address.
    pub(crate) address: String,
    /// Its port.
    pub(crate) port: u16,
    /// What the control plane says of it, or `ejected`.
    pub(crate) health: String,
    /// Its share relative to the others'.
    pub(crate) weight: u32,
    /// The chance that this request is sent there, from 0 to 1.
    pub(crate) probability: f64,
}
