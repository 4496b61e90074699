//! Patches of route tables, virtual hosts and routes.
//!
//! Source: istio `pilot/pkg/networking/core/envoyfilter/rc_patch.go`.

use mesh_model::rules::envoy_filter::{ActionMatch, ApplyTo, Context, Object, Operation, RouteMatch};
use mesh_proto::envoy::config::route::v3::route::Action;
use mesh_proto::envoy::config::route::v3::{Route, RouteConfiguration, VirtualHost};

use super::compile::Patch;
use super::list::Edit;
use super::{Patches, merge};

/// The port that a table is for, and of a gateway's table its gateway and the
/// name of the server's port.
struct Place {
    context: Context,
    port: Option<u32>,
    port_name: String,
    gateway: String,
}

impl Patches {
    /// Whether any patch is about routes there.
    pub(crate) fn touches_routes(&self, context: Context) -> bool {
        ROUTES.iter().any(|to| self.of(*to, context).next().is_some())
    }

    /// Patches one table. Its name stays: it is what proxies ask for.
    pub(crate) fn routes(&self, context: Context, table: &mut RouteConfiguration) {
        self.patch_routes(context, table);
    }

    /// As [`Patches::routes`]; returns the patches that changed something.
    pub(super) fn patch_routes(&self, context: Context, table: &mut RouteConfiguration) -> Vec<&Patch> {
        let mut by: Vec<&Patch> = Vec::new();
        let place = Place::of(context, &table.name);
        let here = |p: &&Patch| place.matches(p, &table.name);
        let [tables, hosts, routes] = ROUTES.map(|to| self.of(to, context).filter(here).collect::<Vec<_>>());
        for patch in tables {
            if let (Some(lists), Some(value)) = (patch.merges(), patch.value()) {
                let name = table.name.clone();
                merge::merge(table, value, lists);
                table.name = name;
                by.push(patch);
            }
        }
        let before = std::mem::take(&mut table.virtual_hosts);
        for host in before {
            table.virtual_hosts.extend(patch_host(host, &hosts, &routes, &mut by));
        }
        for patch in hosts.iter().filter(|p| p.operation == Operation::Add) {
            if let Some(host) = patch.added::<VirtualHost>() {
                table.virtual_hosts.push(host);
                by.push(patch);
            }
        }
        by.iter().for_each(|patch| super::add_origin(&mut table.metadata, patch));
        by
    }
}

/// A host as it is patched, `None` if it goes.
fn patch_host<'a>(
    mut host: VirtualHost,
    hosts: &[&'a Patch],
    routes: &[&'a Patch],
    by: &mut Vec<&'a Patch>,
) -> Option<VirtualHost> {
    for patch in hosts {
        if !is_host(&host, patch) {
            continue;
        }
        match (patch.operation, patch.merges(), patch.value()) {
            (Operation::Remove, ..) => {
                by.push(patch);
                return None;
            }
            (Operation::Replace, ..) => match patch.added() {
                Some(new) => host = new,
                None => continue,
            },
            (_, Some(lists), Some(value)) => merge::merge(&mut host, value, lists),
            _ => continue,
        }
        by.push(patch);
    }
    let routes: Vec<&Patch> = routes.iter().filter(|p| is_host(&host, p)).copied().collect();
    patch_routes(&mut host, &routes, by);
    Some(host)
}

fn patch_routes<'a>(host: &mut VirtualHost, patches: &[&'a Patch], by: &mut Vec<&'a Patch>) {
    let mut changed = |patch: &'a Patch| {
        if !by.iter().any(|p| std::ptr::eq(*p, patch)) {
            by.push(patch);
        }
    };
    host.routes.retain_mut(|route| {
        for patch in patches.iter().filter(|p| p.operation == Operation::Remove || p.merges().is_some()) {
            if !is_route(route, patch) {
                continue;
            }
            changed(patch);
            match (patch.merges(), patch.value()) {
                (Some(lists), Some(value)) => merge::merge(route, value, lists),
                (None, _) => return false,
                _ => {}
            }
        }
        true
    });
    for patch in patches.iter().filter(|p| p.operation != Operation::Remove) {
        let is_it = |route: &Route| is_route(route, patch);
        let named = wanted(patch).and_then(|w| w.host.as_ref()).is_some_and(|h| h.route.is_some());
        if named && patch.operation == Operation::InsertFirst && !host.routes.iter().any(is_it) {
            continue;
        }
        let edit =
            Edit { operation: patch.operation, named: if named { Some(&is_it) } else { None }, end: host.routes.len() };
        if patch.operation != Operation::Replace && edit.apply(&mut host.routes, || patch.added()) {
            changed(patch);
        }
    }
}

impl Place {
    fn of(context: Context, name: &str) -> Self {
        let mut place = Self { context, port: None, port_name: String::new(), gateway: String::new() };
        if context == Context::Gateway {
            // `http.80`, or `https.443.PORT-NAME.GATEWAY.NAMESPACE`.
            let parts: Vec<&str> = name.splitn(5, '.').collect();
            place.port = parts.get(1).and_then(|p| p.parse().ok());
            if let [_, _, port_name, gateway, namespace] = parts[..] {
                place.port_name = port_name.to_owned();
                place.gateway = format!("{namespace}/{gateway}");
            }
        } else if let Some(rest) = name.strip_prefix("inbound|") {
            place.port = rest.split('|').next().and_then(|p| p.parse().ok());
        } else {
            // `80`, or `host:80` where a port leaves open what it speaks.
            place.port = name.rsplit(':').next().and_then(|p| p.parse().ok());
        }
        place
    }

    fn matches(&self, patch: &Patch, name: &str) -> bool {
        let Some(asked) = wanted(patch) else { return matches!(patch.object, Object::Any) };
        let gateway = self.context == Context::Gateway;
        asked.port.is_none_or(|p| self.port == Some(p))
            && (asked.name.is_empty() || *asked.name == *name)
            && (!gateway || asked.port_name.is_empty() || *asked.port_name == *self.port_name)
            && (!gateway || asked.gateway.is_empty() || *asked.gateway == *self.gateway)
    }
}

fn wanted(patch: &Patch) -> Option<&RouteMatch> {
    match &patch.object {
        Object::Routes(asked) => Some(asked),
        _ => None,
    }
}

fn is_host(host: &VirtualHost, patch: &Patch) -> bool {
    let Some(asked) = wanted(patch).and_then(|w| w.host.as_ref()) else { return true };
    (asked.name.is_empty() || *asked.name == *host.name)
        && (asked.domain.is_empty() || host.domains.iter().any(|d| **d == *asked.domain))
}

fn is_route(route: &Route, patch: &Patch) -> bool {
    let asked = wanted(patch).and_then(|w| w.host.as_ref()).and_then(|h| h.route.as_ref());
    let Some((name, action)) = asked else { return true };
    let kind = match &route.action {
        Some(Action::Route(_)) => Some(ActionMatch::Route),
        Some(Action::Redirect(_)) => Some(ActionMatch::Redirect),
        Some(Action::DirectResponse(_)) => Some(ActionMatch::DirectResponse),
        _ => None,
    };
    (name.is_empty() || **name == *route.name) && (*action == ActionMatch::Any || kind.is_none_or(|k| k == *action))
}

const ROUTES: [ApplyTo; 3] = [ApplyTo::RouteConfiguration, ApplyTo::VirtualHost, ApplyTo::HttpRoute];
