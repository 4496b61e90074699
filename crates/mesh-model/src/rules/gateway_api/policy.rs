//! ReferenceGrant, BackendTLSPolicy and XBackendTrafficPolicy.

use std::sync::Arc;

use super::{GroupKind, Reference};
use crate::rules::destination_rule::RetryBudget;
use crate::{Meta, Name};

/// Objects of other namespaces may refer to some of this one.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceGrant {
    /// What every object carries; its namespace is that of the targets.
    pub meta: Arc<Meta>,
    /// Who may: a kind in a namespace.
    pub from: Vec<(GroupKind, Name)>,
    /// To what: a kind, and one name or (`None`) every one.
    pub to: Vec<(GroupKind, Option<Name>)>,
}

/// A part of a Service, or the whole, that a policy is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyTarget {
    /// The object, in the policy's namespace.
    pub reference: Reference,
    /// The name of one of its ports; `None`: all.
    pub section: Option<Name>,
}

/// Connections to a Service are TLS.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendTlsPolicy {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// What it is about.
    pub targets: Vec<PolicyTarget>,
    /// Server name that is asked for and that the certificate must bear.
    pub hostname: Name,
    /// Names of which the certificate must bear one, instead.
    pub subject_alt_names: Vec<Name>,
    /// Certificates of the authorities that must have signed the server's.
    pub authorities: Vec<Reference>,
    /// `System`: those of the operating system.
    pub well_known_authorities: Option<Name>,
}

/// How a Service's backends are treated.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendTrafficPolicy {
    /// What every object carries.
    pub meta: Arc<Meta>,
    /// What it is about.
    pub targets: Vec<PolicyTarget>,
    /// `spec.retryConstraint`
    pub retry_budget: Option<RetryBudget>,
    /// Fields that are asked for and not supported, by name.
    pub unsupported: Vec<Name>,
}
