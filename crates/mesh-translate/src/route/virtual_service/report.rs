//! What is said to the author of a route, and where it stands.

use mesh_model::rules::VirtualService;
use mesh_model::rules::virtual_service::{HttpMatch, HttpRoute};
use mesh_model::{Code, Diagnostic, Meta, Severity};

use crate::proxy::Generator;
use crate::route::{action, header};

/// A place in an object.
#[derive(Clone)]
pub(super) struct Place<'a> {
    meta: &'a Meta,
    field: String,
}

impl<'a> Place<'a> {
    /// Where the route at `index` of `rule` was written.
    pub(super) fn of(rule: &'a VirtualService, http: &'a HttpRoute, index: usize) -> Self {
        match &http.origin {
            Some(origin) => Self { meta: &origin.meta, field: format!("spec.http[{}]", origin.index) },
            None => Self { meta: &rule.meta, field: format!("spec.http[{index}]") },
        }
    }

    pub(super) fn below(&self, field: &str) -> Self {
        Self { meta: self.meta, field: format!("{}.{field}", self.field) }
    }

    /// A destination that is not there.
    pub(super) fn missing(&self, field: &str, message: String) -> Diagnostic {
        let consequence = "requests that are routed there are answered with 503";
        self.warning(Code::MissingReference, field, message, consequence)
    }

    /// Header operations that a proxy would refuse.
    pub(super) fn refused(&self, operations: &header::Operations, field: &str, diagnostics: &mut Vec<Diagnostic>) {
        for (place, command) in &operations.refused {
            let message = format!("found {command}, expected %% or a format command such as %PROTOCOL%");
            let consequence = "this header operation is left out";
            diagnostics.push(self.warning(Code::InvalidValue, &format!("{field}.{place}"), message, consequence));
        }
    }

    pub(super) fn check_body(&self, body: &[u8], diagnostics: &mut Vec<Diagnostic>) {
        if body.len() > action::BODY_BYTES_MAX as usize {
            let message = format!("found {} bytes, expected at most {}", body.len(), action::BODY_BYTES_MAX);
            let consequence = "the answer is sent without a body";
            diagnostics.push(self.warning(Code::InvalidValue, "directResponse.body", message, consequence));
        }
    }

    /// What a gRPC library cannot do by itself.
    pub(super) fn not_for_libraries(
        &self,
        http: &HttpRoute,
        matched: Option<&HttpMatch>,
        generator: Generator,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if generator == Generator::Envoy {
            return;
        }
        let mut say = |field: &str, found: bool, consequence: &str| {
            if found {
                let message = "gRPC clients without a proxy do not know it".to_owned();
                diagnostics.push(self.warning(Code::NotApplied, field, message, consequence));
            }
        };
        say("mirrors", !http.mirrors.is_empty(), "such clients send no copies");
        say("corsPolicy", http.cors.is_some(), "such clients do not look at origins");
        let claims = matched.is_some_and(|m| m.claims.iter().any(|c| c.without));
        say("match.withoutHeaders", claims, "such clients take the route whatever the claims");
    }

    fn warning(&self, code: Code, field: &str, message: String, consequence: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            code,
            object: Some(self.meta.object.clone()),
            location: self.meta.location.clone(),
            field: format!("{}.{field}", self.field),
            message,
            consequence: consequence.to_owned(),
        }
    }
}
