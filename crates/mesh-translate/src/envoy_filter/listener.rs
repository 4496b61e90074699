//! Patches of listeners and of what is in them.
//!
//! One listener goes through the levels from the outside in: itself, its
//! listener filters, each chain, the chain's network filters, and in a
//! connection manager the HTTP filters and routes; chains are added last.
//!
//! Source: istio `pilot/pkg/networking/core/envoyfilter/listener_patch.go`.

use mesh_model::rules::envoy_filter::{ApplyTo, ChainMatch, Context, ListenerMatch, Object, Operation};
use mesh_model::{Code, Diagnostic, Severity};
use mesh_proto::Message;
use mesh_proto::envoy::config::core::v3::address::Address;
use mesh_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use mesh_proto::envoy::config::listener::v3::{FilterChain, Listener, ListenerFilter, listener_filter};
use mesh_proto::resource::Resource;

use super::compile::Patch;
use super::list::Edit;
use super::{Patches, filters, merge};

/// The patches of one side, by what they change.
pub(super) struct Levels<'a> {
    pub(super) patches: &'a Patches,
    pub(super) context: Context,
    listeners: Vec<&'a Patch>,
    listener_filters: Vec<&'a Patch>,
    chains: Vec<&'a Patch>,
    pub(super) network: Vec<&'a Patch>,
    pub(super) http: Vec<&'a Patch>,
    pub(super) routes: bool,
}

impl Patches {
    /// `listeners` as patched, and those that patches add.
    pub(crate) fn listeners(
        &self,
        context: Context,
        listeners: Vec<Resource>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Resource> {
        let levels = Levels::new(self, context);
        if levels.is_empty() {
            return listeners;
        }
        let mut out: Vec<(Resource, Option<Listener>)> = Vec::with_capacity(listeners.len());
        for resource in listeners {
            match Listener::decode(resource.body.clone()) {
                Ok(listener) => out.extend(levels.patched(resource, listener, diagnostics)),
                Err(_) => out.push((resource, None)),
            }
        }
        for patch in levels.listeners.iter().filter(|p| p.operation == Operation::Add && super::adds_in(p, context)) {
            let Some(mut added) = patch.added::<Listener>() else { continue };
            super::add_origin(&mut added.metadata, patch);
            if let Some(taken) = taken(&added, &out) {
                diagnostics.push(repeated(patch, &added, taken));
            } else {
                out.push((Resource::new(added.name.as_str(), &added), Some(added)));
            }
        }
        out.into_iter().map(|(resource, _)| resource).collect()
    }
}

impl<'a> Levels<'a> {
    fn new(patches: &'a Patches, context: Context) -> Self {
        let of = |to| patches.of(to, context).collect();
        Self {
            patches,
            context,
            listeners: of(ApplyTo::Listener),
            listener_filters: of(ApplyTo::ListenerFilter),
            chains: of(ApplyTo::FilterChain),
            network: of(ApplyTo::NetworkFilter),
            http: of(ApplyTo::HttpFilter),
            // Outbound and on gateways, tables come by RDS.
            routes: context == Context::SidecarInbound && patches.touches_routes(context),
        }
    }

    fn is_empty(&self) -> bool {
        let lists = [&self.listeners, &self.listener_filters, &self.chains, &self.network, &self.http];
        lists.iter().all(|list| list.is_empty()) && !self.routes
    }

    fn patched(
        &self,
        resource: Resource,
        before: Listener,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Option<(Resource, Option<Listener>)> {
        let mut listener = before.clone();
        let mut by: Vec<&Patch> = Vec::new();
        for patch in &self.listeners {
            if !is_listener(&listener, patch) {
                continue;
            }
            match (patch.operation, patch.merges(), patch.value()) {
                (Operation::Remove, ..) => return None,
                (_, Some(lists), Some(value)) => {
                    merge::merge(&mut listener, value, lists);
                    by.push(patch);
                }
                _ => {}
            }
        }
        for patch in &self.listener_filters {
            if is_listener(&listener, patch) && patch_listener_filters(&mut listener.listener_filters, patch) {
                by.push(patch);
            }
        }
        self.patch_chains(&mut listener, &mut by);
        if listener == before {
            return Some((resource, Some(listener)));
        }
        if listener.filter_chains.is_empty() && listener.default_filter_chain.is_none() && has_chains(&before) {
            diagnostics.extend(by.last().map(|patch| emptied(patch, &before.name)));
            return None;
        }
        by.iter().for_each(|patch| super::add_origin(&mut listener.metadata, patch));
        Some((Resource::new(listener.name.as_str(), &listener), Some(listener)))
    }

    fn patch_chains(&self, listener: &mut Listener, by: &mut Vec<&'a Patch>) {
        let shell = Listener { filter_chains: Vec::new(), default_filter_chain: None, ..listener.clone() };
        let chains = std::mem::take(&mut listener.filter_chains);
        listener.filter_chains = chains.into_iter().filter_map(|chain| self.patch_chain(&shell, chain, by)).collect();
        let default = listener.default_filter_chain.take();
        listener.default_filter_chain = default.and_then(|chain| self.patch_chain(&shell, chain, by));
        for patch in self.chains.iter().filter(|p| p.operation == Operation::Add && is_listener(&shell, p)) {
            if let Some(chain) = patch.added::<FilterChain>() {
                listener.filter_chains.push(chain);
                by.push(patch);
            }
        }
    }

    fn patch_chain(&self, shell: &Listener, mut chain: FilterChain, by: &mut Vec<&'a Patch>) -> Option<FilterChain> {
        for patch in self.chains.iter().filter(|p| is_listener(shell, p)) {
            if !is_chain(shell, &chain, patch) {
                continue;
            }
            match (patch.operation, patch.merges(), patch.value()) {
                (Operation::Remove, ..) => {
                    by.push(patch);
                    return None;
                }
                (_, Some(lists), Some(value)) => {
                    merge::merge(&mut chain, value, lists);
                    by.push(patch);
                }
                _ => {}
            }
        }
        let here = |list: &[&'a Patch]| -> Vec<&'a Patch> {
            list.iter().filter(|p| is_listener(shell, p) && is_chain(shell, &chain, p)).copied().collect()
        };
        let (network, http) = (here(&self.network), here(&self.http));
        let before = chain.filters.len();
        filters::patch(self, &network, &http, &mut chain.filters, by);
        // A chain whose filters were all taken out is taken out.
        (before == 0 || !chain.filters.is_empty()).then_some(chain)
    }
}

fn patch_listener_filters(list: &mut Vec<ListenerFilter>, patch: &Patch) -> bool {
    let named = listener_match(patch).filter(|m| !m.listener_filter.is_empty()).map(|m| &*m.listener_filter);
    let is_it = |filter: &ListenerFilter| named.is_none_or(|name| filter.name == name);
    if patch.merges().is_some() {
        let Some(value) = patch.added::<ListenerFilter>() else { return false };
        let mut changed = false;
        for filter in list.iter_mut().filter(|f| is_it(f)) {
            use listener_filter::ConfigType as C;
            match (&mut filter.config_type, &value.config_type) {
                (Some(C::TypedConfig(old)), Some(C::TypedConfig(new)))
                    if named.is_some() || old.type_url == new.type_url =>
                {
                    merge::merge_any(old, new);
                    changed = true;
                }
                (_, None) if named.is_some() => changed = true,
                _ => continue,
            }
            if !value.name.is_empty() {
                filter.name.clone_from(&value.name);
            }
            if value.filter_disabled.is_some() {
                filter.filter_disabled.clone_from(&value.filter_disabled);
            }
        }
        return changed;
    }
    let edit =
        Edit { operation: patch.operation, named: if named.is_some() { Some(&is_it) } else { None }, end: list.len() };
    edit.apply(list, || patch.added())
}

fn listener_match(patch: &Patch) -> Option<&ListenerMatch> {
    match &patch.object {
        Object::Listener(asked) => Some(asked),
        _ => None,
    }
}

fn chain_match(patch: &Patch) -> Option<&ChainMatch> {
    listener_match(patch)?.chain.as_ref()
}

/// The name of the network filter that a patch is about, and of the HTTP filter.
pub(super) fn named_filters(patch: &Patch) -> (Option<&str>, Option<&str>) {
    let asked = chain_match(patch);
    (asked.and_then(|c| c.filter.as_deref()), asked.and_then(|c| c.sub_filter.as_deref()))
}

/// In the two listeners that stand for all ports, the port is a chain's.
fn is_virtual(listener: &Listener) -> bool {
    matches!(listener.name.as_str(), "virtualInbound" | "virtualOutbound")
}

fn is_listener(listener: &Listener, patch: &Patch) -> bool {
    let Some(asked) = listener_match(patch) else { return matches!(patch.object, Object::Any) };
    if !asked.name.is_empty() && *asked.name != *listener.name {
        return false;
    }
    if patch.apply_to != ApplyTo::Listener && is_virtual(listener) {
        return true;
    }
    asked.port.is_none_or(|wanted| port(listener) == Some(wanted))
}

fn is_chain(listener: &Listener, chain: &FilterChain, patch: &Patch) -> bool {
    let Some(asked) = listener_match(patch) else { return true };
    let empty = Default::default();
    let matched = chain.filter_chain_match.as_ref().unwrap_or(&empty);
    let destination = matched.destination_port.as_ref().map(|p| p.value);
    if is_virtual(listener) && asked.port.is_some_and(|wanted| destination != Some(wanted)) {
        return false;
    }
    let Some(asked) = &asked.chain else { return true };
    let socket = chain.transport_socket.as_ref().map_or("", |s| s.name.as_str());
    (asked.name.is_empty() || *asked.name == *chain.name)
        && (asked.sni.is_empty() || matched.server_names.iter().any(|n| **n == *asked.sni))
        && (asked.transport_protocol.is_empty() || *asked.transport_protocol == *matched.transport_protocol)
        && asked.application_protocols.iter().all(|p| matched.application_protocols.iter().any(|m| **m == **p))
        && asked.destination_port.is_none_or(|wanted| destination == Some(wanted))
        && (asked.transport_socket.is_empty() || *asked.transport_socket == *socket)
}

fn has_chains(listener: &Listener) -> bool {
    !listener.filter_chains.is_empty() || listener.default_filter_chain.is_some()
}

fn port(listener: &Listener) -> Option<u32> {
    match listener.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => match socket.port_specifier {
            Some(PortSpecifier::PortValue(port)) => Some(port),
            _ => None,
        },
        _ => None,
    }
}

/// What of `added` some listener has already: its name or its address.
fn taken(added: &Listener, listeners: &[(Resource, Option<Listener>)]) -> Option<&'static str> {
    if added.name.is_empty() {
        return Some("a name is missing");
    }
    if listeners.iter().any(|(resource, _)| *resource.name == *added.name) {
        return Some("there is one of that name already");
    }
    let same = |other: &Listener| added.address.is_some() && other.address == added.address;
    let there = listeners.iter().filter_map(|(_, l)| l.as_ref()).any(same);
    there.then_some("there is one at that address already")
}

fn repeated(patch: &Patch, added: &Listener, why: &str) -> Diagnostic {
    let message = format!("listener {:?} cannot be added: {why}", added.name);
    patch.finding(Severity::Error, Code::Conflict, message, "it is left out, and the other patches apply")
}

fn emptied(patch: &Patch, listener: &str) -> Diagnostic {
    let message = format!("takes the last filter chain out of listener {listener}");
    let consequence = "the listener is left out: proxies refuse one without chains";
    patch.finding(Severity::Warning, Code::Conflict, message, consequence)
}
