//! The fleet as the xDS server sees it: where a stream's state comes from, and
//! who hears what happens on it.

use std::sync::Arc;
use std::time::Instant;

use mesh_translate::Proxy;
use mesh_xds::server::Event;
use mesh_xds::transport::server::{Observer, Peer, Sent, Source};
use mesh_xds::{Node, Snapshot};
use tokio::sync::watch;
use tonic::Status;
use tracing::{debug, info, warn};

use super::Fleet;
use super::refusals::Refusal;

impl Source for Fleet {
    async fn connect(&self, node: &Arc<Node>, peer: &Peer) -> Result<watch::Receiver<Arc<Snapshot>>, Status> {
        let proxy = Proxy::from_node(node).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.wait_synced().await?;
        self.enter(peer, node, proxy).await
    }
}

impl Observer for Fleet {
    fn connected(&self, peer: &Peer, node: &Arc<Node>) {
        info!(node = %node.id, stream = peer.stream, peer = ?peer.address, variant = ?peer.variant, "Proxy connected.");
    }

    fn event(&self, peer: &Peer, node: &Arc<Node>, event: &Event) {
        match event {
            Event::Acked { type_url, after, .. } => {
                self.metrics.acked(*after);
                if self.refusals.lock().accepted(peer.stream, type_url) {
                    self.news.notify_one();
                }
            }
            Event::Nacked { type_url, version, error, .. } => {
                self.metrics.refused();
                let refusal = Refusal {
                    stream: peer.stream,
                    node_id: node.id.as_str().into(),
                    type_url: type_url.clone(),
                    version: version.clone(),
                    error: error.clone(),
                };
                warn!(node = %node.id, stream = peer.stream, %type_url, %error, "A proxy refuses a response.");
                self.refusals.lock().refused(refusal);
                self.news.notify_one();
            }
            Event::Stale { type_url, nonce } => {
                self.metrics.stale(type_url);
                debug!(node = %node.id, stream = peer.stream, %type_url, nonce, "An answer came too late.");
            }
            Event::Identified(_) | Event::Subscribed { .. } => {}
        }
    }

    fn sent(&self, peer: &Peer, node: &Arc<Node>, sent: &Sent<'_>) {
        self.metrics.sent(sent.type_url, sent.bytes);
        let member = self.members.lock().get(&peer.stream).cloned();
        if let Some(since) = member.and_then(|m| m.state.lock().unsent_since.take()) {
            self.metrics.converged(Instant::now().saturating_duration_since(since));
        }
        debug!(
            node = %node.id, stream = peer.stream, type_url = sent.type_url, version = sent.version,
            resources = sent.resources, removed = sent.removed, bytes = sent.bytes, "Pushed."
        );
    }

    fn rejected(&self, peer: &Peer, node: Option<&Arc<Node>>, status: &Status) {
        let node = node.map_or("", |node| &node.id);
        warn!(node, stream = peer.stream, peer = ?peer.address, reason = status.message(), "A stream is refused.");
    }

    fn disconnected(&self, peer: &Peer, node: &Arc<Node>) {
        self.leave(peer.stream);
        info!(node = %node.id, stream = peer.stream, "Proxy disconnected.");
    }
}
