//! Istio's annotations: where each may stand, and how far it is.
//!
//! Source: istio/api `annotation/annotations.yaml`.

/// How far a feature is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It may change or go.
    Alpha,
    /// It stays.
    Settled,
    /// It is going.
    AlphaDeprecated,
    /// It stays, and there is something better.
    SettledDeprecated,
}

/// An annotation.
pub(super) struct Annotation {
    pub(super) name: &'static str,
    pub(super) stage: Stage,
    /// Kinds that it means something on; empty: all.
    pub(super) kinds: &'static [&'static str],
}

impl Annotation {
    pub(super) fn is_alpha(&self) -> bool {
        matches!(self.stage, Stage::Alpha | Stage::AlphaDeprecated)
    }

    pub(super) fn is_deprecated(&self) -> bool {
        matches!(self.stage, Stage::AlphaDeprecated | Stage::SettledDeprecated)
    }
}

/// Whether an annotation called `name` is one of Istio's, known or not.
pub(super) fn is_istios(name: &str) -> bool {
    name == "kubernetes.io/ingress.class" || name.split('/').next().is_some_and(|domain| domain.ends_with("istio.io"))
}

pub(super) fn find(name: &str) -> Option<&'static Annotation> {
    ANNOTATIONS.iter().find(|annotation| annotation.name == name)
}

/// Written by the control plane and by injection, on nobody's behalf.
pub(super) const AUTOMATIC: [&str; 3] =
    ["sidecar.istio.io/status", "gateway.istio.io/controller-version", "istio.io/rev"];

const POD: &[&str] = &["Pod"];

const fn alpha(name: &'static str, kinds: &'static [&'static str]) -> Annotation {
    Annotation { name, stage: Stage::Alpha, kinds }
}

const fn settled(name: &'static str, kinds: &'static [&'static str]) -> Annotation {
    Annotation { name, stage: Stage::Settled, kinds }
}

const fn going(name: &'static str, kinds: &'static [&'static str]) -> Annotation {
    Annotation { name, stage: Stage::AlphaDeprecated, kinds }
}

static ANNOTATIONS: &[Annotation] = &[
    going("alpha.istio.io/canonical-serviceaccounts", &["Service"]),
    going("alpha.istio.io/kubernetes-serviceaccounts", &["Service"]),
    alpha("ambient.istio.io/bypass-inbound-capture", POD),
    alpha("ambient.istio.io/dns-capture", POD),
    settled("ambient.istio.io/redirection", POD),
    alpha("ambient.istio.io/waypoint-inbound-binding", &["GatewayClass", "Gateway"]),
    alpha("galley.istio.io/analyze-suppress", &[]),
    alpha("gateway.istio.io/controller-version", &[]),
    alpha("gateway.istio.io/name-override", &["Gateway"]),
    alpha("gateway.istio.io/service-account", &["Gateway"]),
    alpha("inject.istio.io/templates", POD),
    alpha("istio.io/autoRegistrationGroup", &["WorkloadEntry"]),
    alpha("istio.io/connectedAt", &["WorkloadEntry"]),
    alpha("istio.io/disconnectedAt", &["WorkloadEntry"]),
    alpha("istio.io/dry-run", &["AuthorizationPolicy"]),
    alpha("istio.io/reroute-virtual-interfaces", POD),
    alpha("istio.io/rev", POD),
    alpha("istio.io/use-waypoint-canary-weight", &["Service", "ServiceEntry", "Namespace"]),
    alpha("istio.io/workloadController", &["WorkloadEntry"]),
    settled("kubernetes.io/ingress.class", &["Ingress"]),
    alpha("networking.istio.io/exportTo", &["Service"]),
    alpha("networking.istio.io/service-type", &["Gateway"]),
    alpha("networking.istio.io/traffic-distribution", &["Namespace", "Service", "ServiceEntry"]),
    alpha("prometheus.istio.io/merge-metrics", POD),
    settled("proxy.istio.io/config", POD),
    alpha("proxy.istio.io/overrides", POD),
    alpha("readiness.status.sidecar.istio.io/applicationPorts", POD),
    alpha("readiness.status.sidecar.istio.io/failureThreshold", POD),
    alpha("readiness.status.sidecar.istio.io/initialDelaySeconds", POD),
    alpha("readiness.status.sidecar.istio.io/periodSeconds", POD),
    alpha("sidecar.istio.io/agentLogLevel", POD),
    alpha("sidecar.istio.io/bootstrapOverride", POD),
    alpha("sidecar.istio.io/componentLogLevel", POD),
    going("sidecar.istio.io/discoveryAddress", POD),
    going("sidecar.istio.io/extraStatTags", POD),
    Annotation { name: "sidecar.istio.io/inject", stage: Stage::SettledDeprecated, kinds: POD },
    alpha("sidecar.istio.io/interceptionMode", POD),
    alpha("sidecar.istio.io/logLevel", POD),
    alpha("sidecar.istio.io/nativeSidecar", POD),
    alpha("sidecar.istio.io/proxyCPU", POD),
    alpha("sidecar.istio.io/proxyCPULimit", POD),
    alpha("sidecar.istio.io/proxyImage", POD),
    alpha("sidecar.istio.io/proxyImageType", POD),
    alpha("sidecar.istio.io/proxyMemory", POD),
    settled("sidecar.istio.io/proxyMemoryLimit", POD),
    alpha("sidecar.istio.io/rewriteAppHTTPProbers", POD),
    going("sidecar.istio.io/statsCompression", POD),
    alpha("sidecar.istio.io/statsEvictionInterval", POD),
    alpha("sidecar.istio.io/statsFlushInterval", POD),
    alpha("sidecar.istio.io/statsHistogramBins", POD),
    alpha("sidecar.istio.io/statsHistogramBuckets", POD),
    going("sidecar.istio.io/statsInclusionPrefixes", POD),
    going("sidecar.istio.io/statsInclusionRegexps", POD),
    going("sidecar.istio.io/statsInclusionSuffixes", POD),
    alpha("sidecar.istio.io/status", POD),
    alpha("sidecar.istio.io/userVolume", POD),
    settled("sidecar.istio.io/userVolumeMount", POD),
    alpha("status.sidecar.istio.io/port", POD),
    alpha("topology.istio.io/controlPlaneClusters", &["Namespace"]),
    settled("traffic.istio.io/nodeSelector", &["Service"]),
    alpha("traffic.sidecar.istio.io/excludeInboundPorts", POD),
    alpha("traffic.sidecar.istio.io/excludeInterfaces", POD),
    alpha("traffic.sidecar.istio.io/excludeOutboundIPRanges", POD),
    alpha("traffic.sidecar.istio.io/excludeOutboundPorts", POD),
    settled("traffic.sidecar.istio.io/includeInboundPorts", POD),
    alpha("traffic.sidecar.istio.io/includeOutboundIPRanges", POD),
    alpha("traffic.sidecar.istio.io/includeOutboundPorts", POD),
    going("traffic.sidecar.istio.io/kubevirtInterfaces", POD),
];
