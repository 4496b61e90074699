//! The analyzers, one row each.
//!
//! To add one, write `analysis/<name>.rs` with its function, and a row here; the
//! golden of `analyze --list-analyzers` reminds of the document.

use super::finding::Findings;
use super::mesh::Mesh;
use super::*;

/// An analyzer.
pub struct Analyzer {
    /// Its name; Istio's, where Istio has it.
    pub name: &'static str,
    /// The name of its type in Istio's sources, which some people know it by.
    pub alias: &'static str,
    /// What it looks for.
    pub summary: &'static str,
    /// Looks for it.
    pub(super) run: fn(&Mesh, &mut Findings),
}

impl std::fmt::Debug for Analyzer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn row(
    name: &'static str,
    alias: &'static str,
    summary: &'static str,
    run: fn(&Mesh, &mut Findings),
) -> Analyzer {
    Analyzer { name, alias, summary, run }
}

/// A row for the schema of `$kind`.
macro_rules! schema {
    ($kind:literal, $name:ident) => {
        row(
            concat!("schema.ValidationAnalyzer.", $kind),
            concat!("schemaValidation.CollectionValidationAnalyzer(collections.", $kind, ")"),
            concat!("Every ", $kind, " is what its kind allows"),
            |mesh, findings| schemas::run(mesh, object::$name, findings),
        )
    };
}

/// All analyzers, Istio's first.
pub static ANALYZERS: &[Analyzer] = &[
    row(
        "annotations.K8sAnalyzer",
        "",
        "Istio's annotations exist, stand where they mean something, and are valid",
        annotations::run,
    ),
    row(
        "annotations.AlphaAnalyzer",
        "maturity.AlphaAnalyzer",
        "Annotations of alpha features are pointed out",
        alpha_annotations::run,
    ),
    row("authn.BlockedCIDRsAnalyzer", "", "Key sets are fetched from allowed networks only", blocked_cidrs::run),
    row(
        "auth.AuthorizationPoliciesAnalyzer",
        "authz.AuthorizationPoliciesAnalyzer",
        "Policies find workloads and namespaces",
        policies::run,
    ),
    row("conditions.ConditionAnalyzer", "", "No object has a condition that says it does not work", conditions::run),
    row(
        "deployment.MultiServiceAnalyzer",
        "deployment.ServiceAssociationAnalyzer",
        "Services of one Deployment agree on ports",
        deployment_services::run,
    ),
    row(
        "applicationUID.Analyzer",
        "deployment.ApplicationUIDAnalyzer",
        "No application runs as the proxy's user",
        application_uid::run,
    ),
    row(
        "deprecation.DeprecationAnalyzer",
        "deprecation.FieldAnalyzer",
        "Deprecated kinds and fields are not used",
        deprecated_fields::run,
    ),
    row(
        "destinationrule.CaCertificateAnalyzer",
        "",
        "Who uses TLS checks the server's certificate",
        ca_certificates::run,
    ),
    row(
        "destinationrule.SubsetSelectPodAnalyzer",
        "destinationrule.PodNotSelectedAnalyzer",
        "DestinationRules name services, and their subsets select Pods",
        subsets::run,
    ),
    row(
        "envoyfilter.EnvoyPatchAnalyzer",
        "",
        "Patches have an operation that works on what they patch",
        envoy_patches::run,
    ),
    row(
        "externalcontrolplane.ExternalControlPlaneAnalyzer",
        "",
        "Webhooks find an external control plane",
        external_control_plane::run,
    ),
    row("gateway.IngressGatewayPortAnalyzer", "", "A Gateway's ports are ports of its Service", gateway_ports::run),
    row("gateway.CertificateAnalyzer", "", "No two Gateways show one certificate", gateway_certificates::run),
    row("gateway.SecretAnalyzer", "", "A Gateway's Secrets exist and hold a valid certificate", gateway_secrets::run),
    row(
        "gateway.ConflictingGatewayAnalyzer",
        "",
        "No two Gateways of one workload serve one host on one port",
        conflicting_gateways::run,
    ),
    row("injection.Analyzer", "", "Namespaces say whether their Pods get sidecars, and Pods have them", injection::run),
    row("injection.ImageAnalyzer", "", "Sidecars run the image that injection would give them", proxy_images::run),
    row("injection.ImageAutoAnalyzer", "", "What leaves its image to injection is injected", image_auto::run),
    row(
        "k8sgateway.SelectorAnalyzer",
        "",
        "No policy selects the Pods of a Kubernetes Gateway by labels",
        gateway_selectors::run,
    ),
    row("k8sgateway.CRDVersionAnalyzer", "", "The Gateway API's CRDs are new enough", crd_versions::run),
    row(
        "meshnetworks.MeshNetworksAnalyzer",
        "multicluster.MeshNetworksAnalyzer",
        "Networks name registries that exist",
        mesh_networks::run,
    ),
    row(
        "services.MultiClusterServiceAnalyzer",
        "multicluster.ServiceAnalyzer",
        "A service is the same in all clusters",
        multicluster_services::run,
    ),
    row("service.PortNameAnalyzer", "", "Names of ports say their protocol", port_names::run),
    row("sidecar.SelectorAnalyzer", "", "Sidecars select Pods, and no Pod has two", sidecars::run),
    row(
        "virtualservice.ConflictingMeshGatewayHostsAnalyzer",
        "",
        "No two VirtualServices of the mesh have one host",
        mesh_gateway_hosts::run,
    ),
    row(
        "virtualservice.DestinationHostAnalyzer",
        "",
        "Destinations are services with the port that is named",
        destination_hosts::run,
    ),
    row("virtualservice.DestinationRuleAnalyzer", "", "Subsets of destinations are defined", destination_subsets::run),
    row(
        "virtualservice.GatewayAnalyzer",
        "",
        "Gateways exist and serve the rule's hosts",
        virtual_service_gateways::run,
    ),
    row("virtualservice.JWTClaimRouteAnalyzer", "", "Who routes by claims has tokens checked", jwt_claims::run),
    row(
        "serviceentry.Analyzer",
        "serviceentry.ProtocolAddressesAnalyzer",
        "TCP services have addresses",
        service_addresses::run,
    ),
    row(
        "serviceentry.ConflictingServiceEntryProtocolAnalyzer",
        "",
        "ServiceEntries agree on the protocol of a host's port",
        conflicting_protocols::run,
    ),
    row("webhook.Analyzer", "", "No Pod is injected twice, and injectors exist", webhooks::run),
    row("telemetry.ProviderAnalyzer", "", "Access logs have a provider", telemetries::providers),
    row("telemetry.SelectorAnalyzer", "", "Telemetries select Pods, and no Pod has two", telemetries::selectors),
    row(
        "telemetry.DefaultSelectorAnalyzer",
        "",
        "No namespace has two Telemetries without selector",
        telemetries::defaults,
    ),
    row("telemetry.LightstepAnalyzer", "", "The provider Lightstep is not used any more", telemetries::lightstep),
    schema!("AuthorizationPolicy", AUTHORIZATION_POLICY),
    schema!("DestinationRule", DESTINATION_RULE),
    schema!("EnvoyFilter", ENVOY_FILTER),
    schema!("Gateway", GATEWAY),
    schema!("PeerAuthentication", PEER_AUTHENTICATION),
    schema!("ProxyConfig", PROXY_CONFIG),
    schema!("RequestAuthentication", REQUEST_AUTHENTICATION),
    schema!("ServiceEntry", SERVICE_ENTRY),
    schema!("Sidecar", SIDECAR),
    schema!("Telemetry", TELEMETRY),
    schema!("TrafficExtension", TRAFFIC_EXTENSION),
    schema!("VirtualService", VIRTUAL_SERVICE),
    schema!("WasmPlugin", WASM_PLUGIN),
    schema!("WorkloadEntry", WORKLOAD_ENTRY),
    schema!("WorkloadGroup", WORKLOAD_GROUP),
    row("pilothouse.ShadowedAnalyzer", "", "Every route and match of a VirtualService can be reached", shadowed::run),
    row("pilothouse.DelegateAnalyzer", "", "Delegates are used, and rules are bound to something", delegates::run),
    row("pilothouse.WinnerAnalyzer", "", "Where two rules compete, which wins and why", winners::run),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = ANALYZERS.iter().flat_map(|a| [a.name, a.alias]).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
