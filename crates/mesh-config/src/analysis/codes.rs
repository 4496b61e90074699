//! Codes of findings, with their levels: Istio's, and ours beyond them.

use std::fmt;

/// How much a finding matters. Errors sort first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Something does not work.
    Error,
    /// Something may not work as meant.
    Warning,
    /// Something to know.
    Info,
}

impl Level {
    /// All levels, as they are written.
    pub const ALL: [Level; 3] = [Level::Info, Level::Warning, Level::Error];

    /// The level as it is printed: `Error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "Error",
            Level::Warning => "Warning",
            Level::Info => "Info",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `IST0101`; `PLT0001` if it is ours.
    pub id: &'static str,
    /// What it is called.
    pub name: &'static str,
    /// How much it matters.
    pub level: Level,
}

macro_rules! codes {
    ($($constant:ident = $level:ident $id:literal $name:literal;)*) => {
        $(pub(super) static $constant: Code = Code { id: $id, name: $name, level: Level::$level };)*
        /// All codes that an analyzer may issue, in order.
        pub static CODES: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    DEPRECATED = Warning "IST0002" "Deprecated";
    NOT_FOUND = Error "IST0101" "ReferencedResourceNotFound";
    NAMESPACE_NOT_INJECTED = Info "IST0102" "NamespaceNotInjected";
    POD_MISSING_PROXY = Warning "IST0103" "PodMissingProxy";
    SCHEMA_ERROR = Error "IST0106" "SchemaValidationError";
    MISPLACED_ANNOTATION = Warning "IST0107" "MisplacedAnnotation";
    UNKNOWN_ANNOTATION = Warning "IST0108" "UnknownAnnotation";
    MESH_HOST_CONFLICT = Error "IST0109" "ConflictingMeshGatewayVirtualServiceHosts";
    SIDECAR_CONFLICT = Error "IST0110" "ConflictingSidecarWorkloadSelectors";
    SIDECARS_WITHOUT_SELECTOR = Error "IST0111" "MultipleSidecarsWithoutWorkloadSelectors";
    PORT_REQUIRED = Error "IST0112" "VirtualServiceDestinationPortSelectorRequired";
    PROTOCOLS_OF_DEPLOYMENT = Warning "IST0116" "DeploymentAssociatedToMultipleServices";
    PORT_NAME = Info "IST0118" "PortNameIsNotUnderNamingConvention";
    INJECTION_LABELS = Warning "IST0123" "NamespaceMultipleInjectionLabels";
    INVALID_ANNOTATION = Warning "IST0125" "InvalidAnnotation";
    UNKNOWN_REGISTRY = Error "IST0126" "UnknownMeshNetworksServiceRegistry";
    NO_WORKLOADS = Warning "IST0127" "NoMatchingWorkloadsFound";
    NO_VERIFICATION = Warning "IST0128" "NoServerCertificateVerificationDestinationLevel";
    NO_VERIFICATION_OF_PORT = Warning "IST0129" "NoServerCertificateVerificationPortLevel";
    UNREACHABLE_RULE = Warning "IST0130" "VirtualServiceUnreachableRule";
    INEFFECTIVE_MATCH = Info "IST0131" "VirtualServiceIneffectiveMatch";
    HOST_NOT_IN_GATEWAY = Warning "IST0132" "VirtualServiceHostNotFoundInGateway";
    SCHEMA_WARNING = Warning "IST0133" "SchemaWarning";
    ADDRESSES_REQUIRED = Warning "IST0134" "ServiceEntryAddressesRequired";
    DEPRECATED_ANNOTATION = Info "IST0135" "DeprecatedAnnotation";
    ALPHA_ANNOTATION = Info "IST0136" "AlphaAnnotation";
    PORTS_OF_DEPLOYMENT = Warning "IST0137" "DeploymentConflictingPorts";
    DUPLICATE_CERTIFICATE = Warning "IST0138" "GatewayDuplicateCertificate";
    INVALID_WEBHOOK = Error "IST0139" "InvalidWebhook";
    NO_EFFECT_ON_INGRESS = Warning "IST0140" "IngressRouteRulesNotAffected";
    RESERVED_UID = Warning "IST0144" "InvalidApplicationUID";
    GATEWAY_CONFLICT = Error "IST0145" "ConflictingGateways";
    IMAGE_AUTO_WARNING = Warning "IST0146" "ImageAutoWithoutInjectionWarning";
    IMAGE_AUTO_ERROR = Error "IST0147" "ImageAutoWithoutInjectionError";
    INJECTED_BY_DEFAULT = Info "IST0148" "NamespaceInjectionEnabledByDefault";
    CLAIMS_WITHOUT_AUTHENTICATION = Error "IST0149" "JwtClaimBasedRoutingWithoutRequestAuthN";
    EXTERNAL_NAME_PORT = Warning "IST0150" "ExternalNameServiceTypeInvalidPortName";
    RELATIVE_PATCH = Warning "IST0151" "EnvoyFilterUsesRelativeOperation";
    REPLACE_PATCH = Error "IST0152" "EnvoyFilterUsesReplaceOperationIncorrectly";
    ADD_PATCH = Error "IST0153" "EnvoyFilterUsesAddOperationIncorrectly";
    REMOVE_PATCH = Error "IST0154" "EnvoyFilterUsesRemoveOperationIncorrectly";
    RELATIVE_PATCH_OF_VERSION = Warning "IST0155" "EnvoyFilterUsesRelativeOperationWithProxyVersion";
    TELEMETRY_PROVIDER = Warning "IST0157" "InvalidTelemetryProvider";
    PROXY_IMAGE = Warning "IST0158" "PodsIstioProxyImageMismatchInNamespace";
    TELEMETRY_CONFLICT = Error "IST0159" "ConflictingTelemetryWorkloadSelectors";
    TELEMETRIES_WITHOUT_SELECTOR = Error "IST0160" "MultipleTelemetriesWithoutWorkloadSelectors";
    GATEWAY_CREDENTIAL = Error "IST0161" "InvalidGatewayCredential";
    GATEWAY_PORT = Warning "IST0162" "GatewayPortNotDefinedOnService";
    EXTERNAL_CONTROL_PLANE = Warning "IST0163" "InvalidExternalControlPlaneConfig";
    EXTERNAL_ADDRESS = Info "IST0164" "ExternalControlPlaneAddressIsNotAHostname";
    INTERNAL_GATEWAY = Warning "IST0165" "ReferencedInternalGateway";
    INEFFECTIVE_SELECTOR = Warning "IST0166" "IneffectiveSelector";
    INEFFECTIVE_POLICY = Warning "IST0167" "IneffectivePolicy";
    INCONSISTENT_SERVICE = Warning "IST0170" "MultiClusterInconsistentService";
    NEGATIVE_CONDITION = Warning "IST0171" "NegativeConditionStatus";
    SUBSET_WITHOUT_PODS = Error "IST0173" "DestinationRuleSubsetNotSelectPods";
    UNKNOWN_HOST = Warning "IST0174" "UnknownDestinationRuleHost";
    JWKS_UNRESTRICTED = Warning "IST0175" "JwksUriFetchUnrestricted";
    GATEWAY_API_VERSION = Warning "IST0176" "GatewayAPICRDVersionBelowMinimum";
    PROTOCOL_CONFLICT = Warning "IST0177" "ConflictingServiceEntryProtocol";
    SHADOWED_ROUTE = Warning "PLT0001" "RouteNeverMatches";
    SHADOWED_MATCH = Warning "PLT0002" "MatchNeverMatches";
    IMPOSSIBLE_MATCH = Warning "PLT0003" "MatchIsImpossible";
    UNUSED_DELEGATE = Warning "PLT0004" "DelegateNotReferenced";
    DELEGATE_WITHOUT_ROUTE = Warning "PLT0005" "DelegateNotUsable";
    UNBOUND_ROUTE = Warning "PLT0006" "VirtualServiceBoundToNothing";
    ROUTE_HOST_LOSES = Warning "PLT0010" "VirtualServiceHostLoses";
    POLICY_LOSES = Warning "PLT0011" "DestinationRulePolicyLoses";
    SUBSET_LOSES = Warning "PLT0012" "DestinationRuleSubsetLoses";
    SIDECAR_LOSES = Warning "PLT0013" "SidecarLoses";
    SERVER_LOSES = Warning "PLT0014" "GatewayServerLoses";
    PEER_AUTHENTICATION_LOSES = Warning "PLT0015" "PeerAuthenticationLoses";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_stand_in_order_and_once() {
        assert!(CODES.windows(2).all(|pair| pair[0].id < pair[1].id));
    }
}
