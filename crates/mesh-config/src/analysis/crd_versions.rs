//! CRDs of the Gateway API that are too old to be read.

use super::codes::GATEWAY_API_VERSION;
use super::finding::Findings;
use super::mesh::Mesh;
use super::object::CUSTOM_RESOURCE;

const BUNDLE_VERSION: &str = "gateway.networking.k8s.io/bundle-version";

/// Source: istio `pkg/config/schema/gatewayapi/minimumversions.go`.
const MINIMUM: [(&str, [u64; 3]); 4] = [
    ("grpcroutes.gateway.networking.k8s.io", [1, 1, 0]),
    ("backendtlspolicies.gateway.networking.k8s.io", [1, 4, 0]),
    ("tlsroutes.gateway.networking.k8s.io", [1, 5, 0]),
    ("tcproutes.gateway.networking.k8s.io", [1, 6, 0]),
];

pub(super) fn run(mesh: &Mesh, findings: &mut Findings) {
    for definition in mesh.all(CUSTOM_RESOURCE) {
        let Some((_, minimum)) = MINIMUM.iter().find(|(name, _)| *name == &*definition.name) else { continue };
        let Some(text) = definition.annotations.get(BUNDLE_VERSION) else { continue };
        let Some(version) = version(text) else { continue };
        if version < *minimum {
            let [major, minor, patch] = minimum;
            let message = format!(
                "The CRD {} is of version {text}, expected at least {major}.{minor}.{patch}: objects of this kind are not read",
                definition.name
            );
            findings.push(&GATEWAY_API_VERSION, definition, message);
        }
    }
}

/// `v1.2.3-rc.1` without what follows the numbers.
fn version(text: &str) -> Option<[u64; 3]> {
    let plain = text.strip_prefix('v').unwrap_or(text).split(['-', '+']).next()?;
    let mut numbers = plain.split('.').map(str::parse::<u64>);
    let first = numbers.next()?.ok()?;
    let rest = [numbers.next(), numbers.next()].map(|number| number.unwrap_or(Ok(0)).ok());
    (numbers.next().is_none()).then_some([first, rest[0]?, rest[1]?])
}
