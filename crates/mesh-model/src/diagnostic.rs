//! What is wrong, or worth knowing, about an object, in words for its author.

use std::fmt;

use crate::{ObjectRef, SourceLocation};

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something to know; everything the author wrote is in force.
    Info,
    /// A part of the object is not in force.
    Warning,
    /// The object, or the file, is not in force.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// What kind of finding a diagnostic is. Stable, for filters and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// The file is not YAML, or not one of Kubernetes' shapes.
    Syntax,
    /// A file that could not be read.
    Unreadable,
    /// A value of the wrong type or outside its bounds.
    InvalidValue,
    /// A field that the kind does not have.
    UnknownField,
    /// A required field that is absent.
    MissingField,
    /// A field that still applies and should be written otherwise.
    Deprecated,
    /// A kind that nothing here reads.
    UnknownKind,
    /// A field or kind that is understood and not yet applied.
    NotApplied,
    /// The same object stands in two places.
    Duplicate,
    /// Two objects compete and one loses.
    Conflict,
    /// A reference to something that does not exist.
    MissingReference,
    /// A proxy does not take what was made from the object.
    Refused,
}

impl Code {
    /// The code as it is printed: `invalid-value`, `not-applied`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Syntax => "syntax",
            Code::Unreadable => "unreadable",
            Code::InvalidValue => "invalid-value",
            Code::UnknownField => "unknown-field",
            Code::MissingField => "missing-field",
            Code::Deprecated => "deprecated",
            Code::UnknownKind => "unknown-kind",
            Code::NotApplied => "not-applied",
            Code::Duplicate => "duplicate",
            Code::Conflict => "conflict",
            Code::MissingReference => "missing-reference",
            Code::Refused => "refused",
        }
    }
}

/// One finding. `Display` writes one line:
/// `file:line: VirtualService shop/reviews: spec.http[0].route: message; consequence`
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of finding it is.
    pub code: Code,
    /// The object it is about, unless it is about a whole file.
    pub object: Option<ObjectRef>,
    /// Where the finding is, as exactly as known.
    pub location: Option<SourceLocation>,
    /// Path of the field inside the object, such as `spec.http[0].timeout`;
    /// empty if it is about the object as a whole.
    pub field: String,
    /// What was found and what was expected.
    pub message: String,
    /// What happens now: `the rule is ignored`, `the previous version stays in
    /// force`. Empty if nothing follows from it.
    pub consequence: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)?;
        if !self.consequence.is_empty() {
            write!(f, "; {}", self.consequence)?;
        }
        Ok(())
    }
}
