//! Rules that are derived from objects of the Gateway API and Ingress, with the
//! statuses of those objects.
//!
//! Invariant: a derived rule that is as it was keeps its identity, so that
//! readers see no change.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::gateway_api::{self, Inputs, Outcome};
use crate::status::Statuses;
use crate::{Diagnostic, ObjectRef, Rule, ServiceKey};

/// What the conversion yielded last time.
#[derive(Debug, Default)]
pub(super) struct Derived {
    pub(super) rules: Vec<Arc<Rule>>,
    pub(super) statuses: Arc<Statuses>,
    pub(super) diagnostics: Vec<Diagnostic>,
    /// Services whose endpoints count.
    pub(super) watched: BTreeSet<ServiceKey>,
    /// Whether workloads count.
    pub(super) watches_workloads: bool,
}

impl Derived {
    /// Whether it came of no object at all.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.statuses.is_empty() && self.diagnostics.is_empty()
    }

    /// Converts anew. Yields whether the rules are different.
    pub(super) fn refresh(&mut self, inputs: &Inputs<'_>) -> bool {
        let Outcome { rules, mut statuses, mut diagnostics, watched, watches_workloads } = gateway_api::convert(inputs);
        let mut before: HashMap<&ObjectRef, Vec<&Arc<Rule>>> = HashMap::new();
        for rule in &self.rules {
            before.entry(rule.object()).or_default().push(rule);
        }
        let same =
            |rule: &Arc<Rule>| before.get(rule.object())?.iter().find(|old| ***old == *rule).map(|r| Arc::clone(r));
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(|rule| same(&rule).unwrap_or(rule)).collect();
        let changed =
            rules.len() != self.rules.len() || rules.iter().zip(&self.rules).any(|(new, old)| !Arc::ptr_eq(new, old));
        for (object, status) in &mut statuses {
            if let Some(old) = self.statuses.get(object).filter(|old| *old == status) {
                *status = old.clone();
            }
        }
        if *self.statuses != statuses {
            self.statuses = Arc::new(statuses);
        }
        diagnostics.sort();
        diagnostics.dedup();
        (self.rules, self.diagnostics, self.watched, self.watches_workloads) =
            (rules, diagnostics, watched, watches_workloads);
        changed
    }
}
