//! The control task: feeds the store from the ADS stream, the resolver and the
//! clock, and carries its wishes back.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mesh_proto::envoy::config::cluster::v3::Cluster;
use mesh_proto::envoy::config::core::v3::{Node, address::Address, socket_address::PortSpecifier};
use mesh_proto::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use mesh_xds::Variant;
use mesh_xds::client::AdsClient;
use mesh_xds::transport::client::{Event, Handle, Options, Target, connect};
use tokio::sync::mpsc;

use super::dns::Resolution;
use super::store::Store;
use crate::bootstrap::{Ads, AdsKind};

/// Runs for ever.
pub(crate) async fn run(store: Rc<RefCell<Store>>, ads: Option<(Ads, Node, Target)>) {
    let (found, mut resolved) = mpsc::channel(RESOLVED);
    let mut resolution = Resolution::new(found);
    let (handle, mut events) = match ads {
        None => (None, None),
        Some((ads, node, target)) => {
            let variant = match ads.kind {
                AdsKind::Sotw => Variant::Sotw,
                AdsKind::Delta => Variant::Delta,
            };
            let (handle, events) = connect(AdsClient::new(variant, node), Options::new(target));
            (Some(handle), Some(events))
        }
    };
    let mut asked = store.borrow().shared.demand.as_ref().and_then(|d| d.take_asked());
    let mut tick = tokio::time::interval(TICK);
    loop {
        carry_out(&store, handle.as_ref(), &mut resolution);
        tokio::select! {
            event = next(&mut events) => match event {
                Some(event) => on_event(&mut store.borrow_mut(), handle.as_ref(), event),
                None => events = None,
            },
            Some((cluster, assignment)) = resolved.recv() => store.borrow_mut().resolved(&cluster, assignment),
            Some(name) = next_name(&mut asked) => store.borrow_mut().demand(&name),
            _ = tick.tick() => store.borrow_mut().tick(),
        }
    }
}

async fn next(events: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn next_name(asked: &mut Option<mpsc::Receiver<Arc<str>>>) -> Option<Arc<str>> {
    match asked {
        Some(asked) => asked.recv().await,
        None => std::future::pending().await,
    }
}

fn carry_out(store: &RefCell<Store>, handle: Option<&Handle>, resolution: &mut Resolution) {
    let (wants, dns) = {
        let mut store = store.borrow_mut();
        (store.take_wants(), std::mem::take(&mut store.dns))
    };
    for (cluster, config) in dns {
        resolution.change(cluster, config);
    }
    if let Some(handle) = handle {
        for (type_url, wanted) in wants {
            handle.want(type_url, wanted);
        }
    }
}

fn on_event(store: &mut Store, handle: Option<&Handle>, event: Event) {
    let stats = store.shared.stats.control_plane.clone();
    match event {
        Event::Connected => {
            stats.connected_state.set(1);
            tracing::info!("Connected to the control plane.");
        }
        Event::Disconnected { reason, retry_in } => {
            stats.connected_state.set(0);
            store.shared.stats.cds.update_failure.inc();
            store.shared.stats.lds.update_failure.inc();
            let retry_ms = retry_in.as_millis();
            tracing::warn!(%reason, retry_ms, "The control plane is away; the configuration at hand stays in force.");
        }
        Event::Refused(error) => {
            store.shared.stats.cds.update_failure.inc();
            tracing::warn!(%error, "The control plane sent something that cannot be used.");
        }
        Event::Update(update) => {
            let result = store.update(&update);
            let Some(handle) = handle else { return };
            match result {
                Ok(()) => handle.ack(update.type_url, update.nonce),
                Err(text) => {
                    let kind = mesh_proto::types::short(&update.type_url);
                    tracing::warn!(kind, error = %text, "An update was refused in part; what was in force stays.");
                    handle.nack(update.type_url, update.nonce, text);
                }
            }
        }
    }
}

/// Where the control plane listens, by its static cluster.
pub(crate) fn target(cluster: &Cluster) -> Option<Target> {
    let endpoints = cluster.load_assignment.as_ref()?.endpoints.iter().flat_map(|l| &l.lb_endpoints);
    endpoints
        .filter_map(|e| match e.host_identifier.as_ref()? {
            HostIdentifier::Endpoint(endpoint) => endpoint.address.as_ref()?.address.as_ref(),
            HostIdentifier::EndpointName(_) => None,
        })
        .find_map(|address| match address {
            Address::SocketAddress(socket) => match socket.port_specifier.as_ref()? {
                PortSpecifier::PortValue(port) if socket.address.contains(':') => {
                    Some(Target::Tcp(format!("[{}]:{port}", socket.address)))
                }
                PortSpecifier::PortValue(port) => Some(Target::Tcp(format!("{}:{port}", socket.address))),
                PortSpecifier::NamedPort(_) => None,
            },
            Address::Pipe(pipe) => Some(Target::Unix(pipe.path.clone().into())),
            Address::EnvoyInternalAddress(_) => None,
        })
}

/// Answers of the resolver that wait.
const RESOLVED: usize = 64;
const TICK: Duration = Duration::from_secs(1);
