//! Why a resource was refused: the text of a NACK.
//!
//! Parsing walks a resource with an [`At`], a list of path segments on the
//! stack that costs nothing until an error is made from it.

use std::fmt;

/// A resource that cannot be honoured, and the one field that makes it so.
///
/// The version that is in force stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {resource}: {}{problem}", if field.is_empty() { String::new() } else { format!("{field}: ") })]
pub struct ConfigError {
    /// What kind of resource it is.
    pub kind: Kind,
    /// Its name; `(unnamed)` if it has none.
    pub resource: String,
    /// Path of the field inside it, as in `filter_chains[0].filters[1].name`;
    /// empty if the resource as a whole is meant.
    pub field: String,
    /// What is wrong.
    pub problem: Problem,
}

/// xDS resource kinds that the engine parses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Route,
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoint,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Cluster => "cluster",
            Self::Endpoint => "endpoints",
            Self::Secret => "secret",
        })
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A required field is not set.
    #[error("is not set, expected {expected}")]
    Missing {
        /// What should be there.
        expected: &'static str,
    },
    /// A value out of bounds or malformed.
    #[error("found {found}, expected {expected}")]
    Invalid {
        /// The value, abbreviated.
        found: String,
        /// What is allowed.
        expected: String,
    },
    /// Valid for Envoy, but this proxy does not do it.
    #[error("is set, but this proxy does not support it")]
    NotSupported,
    /// A value that is valid for Envoy, but that this proxy does not do.
    #[error("{found} is not supported by this proxy, expected {expected}")]
    UnsupportedValue {
        /// The value.
        found: String,
        /// What is supported.
        expected: String,
    },
    /// An extension that is not compiled in. The words are Envoy's.
    #[error("Didn't find a registered implementation for '{name}' with type URL: '{type_name}'")]
    UnknownExtension {
        /// Name in the resource.
        name: String,
        /// Message name.
        type_name: String,
    },
    /// A rule that spans several fields is broken. The words are Envoy's where
    /// Envoy has the rule.
    #[error("{0}")]
    Rule(String),
}

/// Where in a resource the parser stands.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    kind: Kind,
    resource: &'a str,
    parent: Option<&'a At<'a>>,
    segment: Segment<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Root,
    Field(&'a str),
    Index(&'a str, usize),
}

impl<'a> At<'a> {
    /// The root of the resource called `resource`.
    pub fn root(kind: Kind, resource: &'a str) -> Self {
        Self { kind, resource, parent: None, segment: Segment::Root }
    }

    /// The field `name`.
    pub fn field<'b>(&'b self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { kind: self.kind, resource: self.resource, parent: Some(self), segment: Segment::Field(name) }
    }

    /// Element `index` of the repeated field `name`.
    pub fn index<'b>(&'b self, name: &'b str, index: usize) -> At<'b>
    where
        'a: 'b,
    {
        At { kind: self.kind, resource: self.resource, parent: Some(self), segment: Segment::Index(name, index) }
    }

    /// An error at this place.
    pub fn error(&self, problem: Problem) -> ConfigError {
        let mut field = String::new();
        self.write_path(&mut field);
        let resource = if self.resource.is_empty() { "(unnamed)" } else { self.resource };
        ConfigError { kind: self.kind, resource: resource.to_owned(), field, problem }
    }

    /// [`Problem::Missing`] here.
    pub fn missing(&self, expected: &'static str) -> ConfigError {
        self.error(Problem::Missing { expected })
    }

    /// [`Problem::Invalid`] here.
    pub fn invalid(&self, found: impl fmt::Display, expected: impl Into<String>) -> ConfigError {
        self.error(Problem::Invalid { found: abbreviate(&found.to_string()), expected: expected.into() })
    }

    /// [`Problem::NotSupported`] here.
    pub fn unsupported(&self) -> ConfigError {
        self.error(Problem::NotSupported)
    }

    /// [`Problem::UnsupportedValue`] here.
    pub fn unsupported_value(&self, found: impl fmt::Display, expected: impl Into<String>) -> ConfigError {
        self.error(Problem::UnsupportedValue { found: abbreviate(&found.to_string()), expected: expected.into() })
    }

    /// [`Problem::Rule`] here.
    pub fn rule(&self, text: impl Into<String>) -> ConfigError {
        self.error(Problem::Rule(text.into()))
    }

    fn write_path(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write_path(out);
        }
        let dot = if out.is_empty() { "" } else { "." };
        match self.segment {
            Segment::Root => {}
            Segment::Field(name) => out.push_str(&format!("{dot}{name}")),
            Segment::Index(name, index) => out.push_str(&format!("{dot}{name}[{index}]")),
        }
    }
}

/// Longest excerpt of a value that an error repeats, in characters.
const EXCERPT_CHARS_MAX: usize = 120;

fn abbreviate(text: &str) -> String {
    match text.char_indices().nth(EXCERPT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_resource_the_field_and_what_was_expected() {
        let root = At::root(Kind::Listener, "0.0.0.0_8000");
        let chain = root.index("filter_chains", 1);
        let error = chain.field("name").invalid("x", "a name");
        assert_eq!(error.to_string(), "listener 0.0.0.0_8000: filter_chains[1].name: found x, expected a name");
        assert_eq!(root.rule("no").to_string(), "listener 0.0.0.0_8000: no");
    }
}
