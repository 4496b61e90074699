//! GatewayClass, Gateway and ListenerSet.

use mesh_model::Hostname;
use mesh_model::rules::gateway_api::gateway::{FrontendTls, GatewayAddress, ListenerTls, Namespaces};
use mesh_model::rules::gateway_api::{GROUP, Gateway, GatewayClass, Listener, ListenerSet};

use super::{NOTHING, SECRET, Scope, group_kind, items, label_selector, text, whole_reference};
use crate::reader::{Fields, Value, is_wildcard_domain};

/// Listeners of one object; the CRDs allow 64.
const LISTENERS_MAX: usize = 64;

pub(super) fn read_class(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<GatewayClass> {
    let expected = "a controller's name such as istio.io/gateway-controller";
    let controller = spec.required("controllerName", expected)?.filled_text(expected)?;
    spec.ignore(&["description"]);
    spec.not_applied(&["parametersRef"]);
    Some(GatewayClass { meta: scope.meta.clone(), controller })
}

pub(super) fn read(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<Gateway> {
    let class = spec.required("gatewayClassName", "a GatewayClass")?.filled_text("a GatewayClass");
    let addresses = items(spec, "addresses").iter().filter_map(address).collect();
    let listeners = listeners(spec, true);
    let allowed = spec.optional("allowedListeners").and_then(|v| v.fields());
    let allowed_listeners = allowed.map_or(Namespaces::None, |fields| {
        let namespaces = namespaces(&fields, Namespaces::None);
        fields.finish();
        namespaces
    });
    let mut gateway = Gateway {
        meta: scope.meta.clone(),
        class: class?,
        addresses,
        listeners,
        allowed_listeners,
        frontend: FrontendTls::default(),
        frontend_ports: Vec::new(),
        client_certificate: None,
        parameters: None,
    };
    if let Some(tls) = spec.optional("tls").and_then(|v| v.fields()) {
        gateway_tls(&tls, &mut gateway);
    }
    if let Some(infrastructure) = spec.optional("infrastructure").and_then(|v| v.fields()) {
        gateway.parameters = infrastructure.optional("parametersRef").and_then(|v| whole_reference(&v, NOTHING));
        // They are for the objects that a controller deploys.
        infrastructure.not_applied(&["labels", "annotations"]);
        infrastructure.finish();
    }
    spec.not_applied(&["defaultScope"]);
    Some(gateway)
}

pub(super) fn read_set(spec: &Fields<'_>, scope: &Scope<'_>) -> Option<ListenerSet> {
    let parent = whole_reference(&spec.required("parentRef", "the Gateway that it belongs to")?, (GROUP, "Gateway"));
    let listeners = listeners(spec, false);
    Some(ListenerSet { meta: scope.meta.clone(), parent: parent?, listeners })
}

fn address(value: &Value<'_>) -> Option<GatewayAddress> {
    let fields = value.fields()?;
    let address =
        GatewayAddress { kind: text(&fields, "type"), value: text(&fields, "value").unwrap_or_else(|| "".into()) };
    fields.finish();
    Some(address)
}

fn gateway_tls(tls: &Fields<'_>, gateway: &mut Gateway) {
    if let Some(backend) = tls.optional("backend").and_then(|v| v.fields()) {
        if let Some(certificate) = backend.optional("clientCertificateRef") {
            certificate.not_applied();
            gateway.client_certificate = whole_reference(&certificate, SECRET);
        }
        backend.finish();
    }
    if let Some(frontend) = tls.optional("frontend").and_then(|v| v.fields()) {
        gateway.frontend = frontend.optional("default").and_then(|v| frontend_tls(&v.fields()?)).unwrap_or_default();
        for item in items(&frontend, "perPort") {
            let Some(fields) = item.fields() else { continue };
            let port = fields.required("port", "a port number").and_then(|v| v.port());
            let settings = fields.required("tls", "a map").and_then(|v| frontend_tls(&v.fields()?));
            fields.finish();
            gateway.frontend_ports.extend(port.zip(settings));
        }
        frontend.finish();
    }
    tls.finish();
}

fn frontend_tls(fields: &Fields<'_>) -> Option<FrontendTls> {
    let mut settings = FrontendTls::default();
    if let Some(validation) = fields.optional("validation").and_then(|v| v.fields()) {
        let references = items(&validation, "caCertificateRefs");
        settings.authorities = references.iter().filter_map(|item| whole_reference(item, NOTHING)).collect();
        let modes = [("AllowValidOnly", false), ("AllowInsecureFallback", true)];
        settings.insecure_fallback = validation.optional("mode").and_then(|v| v.one_of(&modes)).unwrap_or(false);
        validation.finish();
    }
    fields.finish();
    Some(settings)
}

fn listeners(spec: &Fields<'_>, has_port: bool) -> Vec<Listener> {
    let Some(value) = spec.optional("listeners") else { return Vec::new() };
    let items = value.items().unwrap_or_default();
    if items.len() > LISTENERS_MAX {
        value.error::<()>(format!("found {} listeners, expected at most {LISTENERS_MAX}", items.len()));
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for item in items.iter().take(LISTENERS_MAX) {
        let Some(listener) = listener(item, has_port) else { continue };
        if listeners.iter().any(|other| other.name == listener.name) {
            item.error::<()>(format!("listener {} stands twice, expected each name once", listener.name));
        }
        listeners.push(listener);
    }
    listeners
}

fn listener(value: &Value<'_>, has_port: bool) -> Option<Listener> {
    let fields = value.fields()?;
    let name = fields.required("name", "a name").and_then(|v| v.filled_text("a name"));
    let hostname = fields.optional("hostname").and_then(|v| hostname(&v));
    let port = match has_port {
        true => fields.required("port", "a port number").and_then(|v| v.port()),
        false => fields.optional("port").map_or(Some(0), |v| v.integer(0, 65535)?.try_into().ok()),
    };
    let expected = "a protocol such as HTTP, HTTPS, TLS or TCP";
    let protocol = fields.required("protocol", expected).and_then(|v| v.filled_text(expected));
    let tls = fields.optional("tls").and_then(|v| tls(&v));
    let (mut allowed, mut kinds) = (Namespaces::Same, Vec::new());
    if let Some(routes) = fields.optional("allowedRoutes").and_then(|v| v.fields()) {
        allowed = namespaces(&routes, Namespaces::Same);
        for item in items(&routes, "kinds") {
            let Some(fields) = item.fields() else { continue };
            kinds.push(group_kind(&fields, (GROUP, "")));
            fields.finish();
        }
        routes.finish();
    }
    fields.finish();
    Some(Listener { name: name?, hostname, port: port?, protocol: protocol?, tls, namespaces: allowed, kinds })
}

/// A host, exact or with a wildcard; none if it is empty.
pub(super) fn hostname(value: &Value<'_>) -> Option<Hostname> {
    let text = value.text()?;
    match &*text {
        "" => None,
        text if is_wildcard_domain(text) => Some(Hostname::new(text)),
        _ => value.invalid("a host name such as a.example.com or *.example.com"),
    }
}

fn tls(value: &Value<'_>) -> Option<ListenerTls> {
    let fields = value.fields()?;
    let modes = [("Terminate", false), ("Passthrough", true)];
    let tls = ListenerTls {
        passthrough: fields.optional("mode").and_then(|v| v.one_of(&modes)),
        certificates: items(&fields, "certificateRefs").iter().filter_map(|v| whole_reference(v, SECRET)).collect(),
        options: fields.optional("options").and_then(|v| v.labels()).unwrap_or_default(),
    };
    fields.finish();
    Some(tls)
}

/// `namespaces` of `allowedRoutes` or `allowedListeners`.
fn namespaces(fields: &Fields<'_>, default: Namespaces) -> Namespaces {
    let Some(fields) = fields.optional("namespaces").and_then(|v| v.fields()) else { return default };
    let words = [("Same", 's'), ("All", 'a'), ("None", 'n'), ("Selector", 'l')];
    let from = fields.optional("from").and_then(|v| v.one_of(&words));
    let selector = fields.optional("selector").map(|v| label_selector(&v));
    fields.finish();
    match (from, selector) {
        (Some('s'), _) => Namespaces::Same,
        (Some('a'), _) => Namespaces::All,
        (Some('n'), _) => Namespaces::None,
        (Some(_), Some(Some(selector))) => Namespaces::Selector(selector),
        (Some(_), None) => {
            fields.missing("selector", "a selector, since from is Selector");
            Namespaces::None
        }
        // A selector that cannot be read selects nothing; that is reported.
        (_, Some(None)) => Namespaces::None,
        (None, _) => default,
    }
}
