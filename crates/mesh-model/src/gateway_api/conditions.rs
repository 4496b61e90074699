//! Conditions: how they are made, and what they tell besides being shown.

use super::{Objects, Outcome};
use crate::status::Condition;
use crate::{Code, Diagnostic, Severity};

/// Why something cannot be done, in the API's own word and in ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The reason that a condition carries.
    pub(super) reason: &'static str,
    /// What was found and what was expected.
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Both faults as one; the first one's reason.
    pub(super) fn and(self, other: Option<Fault>) -> Self {
        match other {
            Some(other) => Self { reason: self.reason, message: format!("{}; {}", self.message, other.message) },
            None => self,
        }
    }
}

/// A condition that holds.
pub(super) fn holds(kind: &str, reason: &str, message: String) -> Condition {
    Condition { kind: kind.into(), holds: true, reason: reason.into(), message }
}

/// A condition that does not hold.
pub(super) fn fails(kind: &str, fault: &Fault) -> Condition {
    Condition { kind: kind.into(), holds: false, reason: fault.reason.into(), message: fault.message.clone() }
}

/// A condition that holds unless there is a fault.
pub(super) fn unless(fault: Option<&Fault>, kind: &str, reason: &str, message: &str) -> Condition {
    match fault {
        Some(fault) => fails(kind, fault),
        None => holds(kind, reason, message.to_owned()),
    }
}

/// Whether a condition says that something is wrong.
fn is_bad(condition: &Condition) -> bool {
    match &*condition.kind {
        "Conflicted" | "InsecureFrontendValidationMode" => condition.holds,
        _ => !condition.holds,
    }
}

/// Every condition that says that something is wrong is a diagnostic, too: who
/// works with files sees no statuses. Of a listener's or parent's conditions, and
/// of the object's own, each message is said once.
pub(super) fn diagnose(objects: &Objects<'_>, outcome: &mut Outcome) {
    let mut found = Vec::new();
    for (object, status) in &outcome.statuses {
        let meta = objects.inputs.rules.get(object).map(|rule| &rule.meta);
        let mut one = |field: String, condition: &Condition| {
            let diagnostic = Diagnostic {
                severity: Severity::Warning,
                code: code(&condition.reason),
                object: Some(object.clone()),
                location: meta.and_then(|meta| meta.location.clone()),
                field,
                message: format!("{}: {}", condition.reason, condition.message),
                consequence: consequence(&condition.kind).to_owned(),
            };
            if !found.iter().any(|d: &Diagnostic| d.object == diagnostic.object && d.message == diagnostic.message) {
                found.push(diagnostic);
            }
        };
        for listener in &status.listeners {
            let bad = listener.conditions.iter().filter(|c| is_bad(c));
            bad.for_each(|c| one(format!("spec.listeners[{}]", listener.name), c));
        }
        for parent in &status.parents {
            let bad = parent.conditions.iter().filter(|c| is_bad(c));
            bad.for_each(|c| one(format!("{} {}", parent.parent.target().kind, parent.parent.name), c));
        }
        status.conditions.iter().filter(|c| is_bad(c)).for_each(|c| one(String::new(), c));
    }
    outcome.diagnostics.extend(found);
}

fn code(reason: &str) -> Code {
    match reason {
        "Conflicted" | "HostnameConflict" | "ProtocolConflict" => Code::Conflict,
        "UnsupportedProtocol" | "UnsupportedAddress" | "InvalidKind" | "InvalidFilter" => Code::NotApplied,
        "NotAllowedByListeners" | "NotAllowed" | "RefNotPermitted" | "NoMatchingListenerHostname" => Code::Conflict,
        _ => Code::MissingReference,
    }
}

fn consequence(kind: &str) -> &'static str {
    match kind {
        "Accepted" => "it has no effect there",
        "ResolvedRefs" => "requests that need it are answered with an error",
        "Conflicted" => "the listener that came first stays in force",
        "Programmed" => "no proxy, or not every proxy, serves it",
        _ => "",
    }
}
