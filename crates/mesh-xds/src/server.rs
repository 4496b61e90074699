//! Decides what one xDS subscriber is owed, without touching the network.
//!
//! A [`Subscriber`] is fed requests from a proxy and snapshots from the
//! translator, and is polled for the responses to send. The caller owns the
//! gRPC stream and the clock: nothing here awaits, sleeps, reads the time or
//! draws a random number, so any interleaving can be replayed in a `#[test]`.
//!
//! ```text
//!      proxy ── on_request ──► ┌────────────┐
//!                              │ Subscriber │ ── poll ──► Response
//! translator ── on_snapshot ─► └────────────┘
//! ```
//!
//! Both variants share one core: for each type, a [`Watch`] knows by which
//! names the proxy's state differs from the newest set. A snapshot whose set
//! was made from the one seen last costs as much as the names that changed.
//!
//! Invariant: at most one response per resource type is unacknowledged. A
//! snapshot that arrives meanwhile replaces the one that waits: the proxy sees
//! the newest state, not every state.
//!
//! Make before break: a change is not sent while a type that it may refer to
//! has news that wait for an acknowledgement, nor between changed clusters and
//! their acknowledgement, before which a proxy asks for their endpoints. A
//! removal is not sent before the types that may refer to the removed resource
//! are acknowledged. All of these wait [`WAIT_MAX`] at most, and what a proxy
//! asks for does not wait.
//!
//! Deliberately absent: authentication (`mesh-pilot`), translation
//! (`mesh-translate`), and any notion of what a cluster or a route is.

mod event;
mod response;
mod subscription;
#[cfg(test)]
mod tests;
mod watch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_proto::resource::{ResourceName, ResourceSet};
use mesh_proto::types;

use crate::wire::Request;
use crate::{Node, Snapshot, Variant, order};

pub use event::{Event, Pending, RequestError, TypeStatus};
pub use response::Response;

use watch::{Answer, Watch};

/// One ADS stream, seen from the server. See the module's documentation.
#[derive(Debug)]
pub struct Subscriber {
    variant: Variant,
    stream: u64,
    nonces: u64,
    node: Option<Arc<Node>>,
    snapshot: Option<Arc<Snapshot>>,
    /// In push order.
    watches: Vec<Watch>,
    nothing: Arc<ResourceSet>,
}

/// Longest NACK text that is kept, in bytes: Envoy repeats whole resources.
pub const ERROR_BYTES_MAX: usize = 4096;
/// Resource types on one stream; Istio has about fifteen.
pub const TYPES_MAX: usize = 64;
/// Names watched per type on one stream.
pub const NAMES_MAX: usize = 100_000;
/// How long a removal waits for the types that may refer to what is removed,
/// and a type for those that it may refer to. A proxy that answers takes
/// milliseconds; one that does not must not keep others' news for ever.
pub const WAIT_MAX: Duration = Duration::from_secs(10);
/// A response that need not hold everything is closed once it holds this many
/// bytes, and the rest follows when it is acknowledged: gRPC clients refuse
/// messages over 4 MiB by default.
pub const RESPONSE_BYTES: usize = 3 << 20;

impl Subscriber {
    /// A fresh stream. `stream` goes into the nonces, to tell streams apart in
    /// logs.
    pub fn new(variant: Variant, stream: u64) -> Self {
        let nothing = Arc::new(ResourceSet::new([]));
        Self { variant, stream, nonces: 0, node: None, snapshot: None, watches: Vec::new(), nothing }
    }

    /// Takes in a request.
    ///
    /// # Errors
    /// The stream must be closed with `InvalidArgument`; see [`RequestError`].
    pub fn on_request(&mut self, request: Request, now: Instant) -> Result<Vec<Event>, RequestError> {
        let mut events = Vec::new();
        match request {
            Request::Sotw(mut request) if self.variant == Variant::Sotw => {
                self.identify(request.node.take(), &mut events)?;
                self.on_sotw(&request, now, &mut events)?;
            }
            Request::Delta(mut request) if self.variant == Variant::Delta => {
                self.identify(request.node.take(), &mut events)?;
                self.on_delta(&request, now, &mut events)?;
            }
            _ => return Err(RequestError::OtherVariant(self.variant)),
        }
        Ok(events)
    }

    /// Takes in the newest state. One that equals the last costs nothing.
    pub fn on_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        for watch in &mut self.watches {
            match snapshot.get(watch.type_url()) {
                Some(set) => watch.see(set),
                None if watch.is_offered() => {}
                None => watch.see(&self.nothing),
            }
        }
        self.snapshot = Some(snapshot);
    }

    /// Resources of a type that snapshots do not hold. They stay in force until
    /// the next offer.
    pub fn offer(&mut self, type_url: &str, set: &Arc<ResourceSet>) {
        if let Some(watch) = self.watches.iter_mut().find(|w| &**w.type_url() == type_url) {
            watch.offer(set);
        }
    }

    /// The next response to send, in push order, or `None` until something
    /// else happens or [`Self::wake_at`] has come.
    pub fn poll(&mut self, now: Instant) -> Option<Response> {
        self.snapshot.as_ref()?;
        let (mut news_wait, mut clusters_warm) = (false, false);
        for index in 0..self.watches.len() {
            let removals = self.removals_may_go(index, now);
            let watch = &self.watches[index];
            if watch.is_in_flight() {
                news_wait |= watch.has_news_until().is_some_and(|until| now < until);
                clusters_warm |= watch.warms_until().is_some_and(|until| now < until);
                continue;
            }
            let waits = news_wait || (clusters_warm && &**watch.type_url() != types::ENDPOINT);
            let waits = waits && order::is_ordered(watch.type_url()) && !watch.is_asked();
            if watch.is_due(removals) && !waits {
                return Some(self.respond(index, removals, now));
            }
        }
        None
    }

    /// When, after `now`, [`Self::poll`] should be called again though nothing
    /// happened: something will have waited long enough for an acknowledgement.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.watches.iter().filter_map(|watch| watch.wake_at(now)).min()
    }

    /// The node, once identified.
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// The newest snapshot it was given.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// The types that the proxy has asked for, in push order.
    pub fn status(&self) -> Vec<TypeStatus> {
        self.watches.iter().map(Watch::status).collect()
    }

    /// The names watched of one type, sorted.
    pub fn names(&self, type_url: &str) -> impl Iterator<Item = &ResourceName> {
        self.watches.iter().filter(move |w| &**w.type_url() == type_url).flat_map(|w| w.watched())
    }

    fn identify(&mut self, node: Option<Node>, events: &mut Vec<Event>) -> Result<(), RequestError> {
        if self.node.is_none() {
            let node = Arc::new(node.filter(|n| !n.id.is_empty()).ok_or(RequestError::NoNode)?);
            self.node = Some(node.clone());
            events.push(Event::Identified(node));
        }
        Ok(())
    }

    fn on_sotw(
        &mut self,
        request: &DiscoveryRequest,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), RequestError> {
        let (index, is_new) = self.watch_of(&request.type_url)?;
        let watch = &mut self.watches[index];
        let no_nonce = request.response_nonce.is_empty() && request.error_detail.is_none();
        // A proxy that wants other names before the first response has reached
        // it has no nonce to give either; its answer will have one.
        let overtaken = no_nonce && watch.is_in_flight();
        let first = is_new || (no_nonce && !overtaken);
        if !first && !overtaken {
            let error = request.error_detail.as_ref().map(|status| status.message.as_str());
            match watch.on_answer(&request.response_nonce, error, now) {
                Answer::Event(event) => events.push(event),
                Answer::Repeated => {}
                // It was sent before the response that is now in flight reached
                // the proxy: no answer, but what it wants.
                Answer::Stale(event) if watch.is_in_flight() => events.push(event),
                Answer::Stale(event) => {
                    events.push(event);
                    return Ok(());
                }
            }
        }
        events.extend(watch.replace_names(&request.resource_names, first));
        let too_many = watch.names() > NAMES_MAX;
        self.after_subscription(&request.type_url, first, too_many)
    }

    fn on_delta(
        &mut self,
        request: &DeltaDiscoveryRequest,
        now: Instant,
        events: &mut Vec<Event>,
    ) -> Result<(), RequestError> {
        let (index, first) = self.watch_of(&request.type_url)?;
        let watch = &mut self.watches[index];
        if !first && !request.response_nonce.is_empty() {
            let error = request.error_detail.as_ref().map(|status| status.message.as_str());
            match watch.on_answer(&request.response_nonce, error, now) {
                Answer::Event(event) | Answer::Stale(event) => events.push(event),
                Answer::Repeated => {}
            }
        }
        // Names come as differences here, so they count even in an answer that
        // comes too late.
        events.extend(watch.change_names(request, first));
        let too_many = watch.names() > NAMES_MAX;
        self.after_subscription(&request.type_url, first, too_many)
    }

    fn after_subscription(&mut self, type_url: &str, first: bool, too_many: bool) -> Result<(), RequestError> {
        if too_many {
            return Err(RequestError::TooManyNames(type_url.to_owned()));
        }
        if first && type_url == types::CLUSTER {
            // The proxy warms the clusters that it is about to get, and may
            // wait for endpoints that it was sent before.
            if let Some(endpoints) = self.watch_mut(types::ENDPOINT) {
                endpoints.resend_all();
            }
        }
        Ok(())
    }

    /// The watch of this type and whether it has just been made.
    fn watch_of(&mut self, type_url: &str) -> Result<(usize, bool), RequestError> {
        if type_url.is_empty() {
            return Err(RequestError::NoType);
        }
        if let Some(index) = self.watches.iter().position(|w| &**w.type_url() == type_url) {
            return Ok((index, false));
        }
        if self.watches.len() == TYPES_MAX {
            return Err(RequestError::TooManyTypes);
        }
        let set = self.snapshot.as_ref().and_then(|s| s.get(type_url)).unwrap_or(&self.nothing);
        let watch = Watch::new(type_url.into(), self.variant, set.clone());
        let index = self.watches.partition_point(|w| order::rank(w.type_url()) <= order::rank(type_url));
        self.watches.insert(index, watch);
        Ok((index, true))
    }

    fn watch_mut(&mut self, type_url: &str) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|w| &**w.type_url() == type_url)
    }

    fn respond(&mut self, index: usize, removals: bool, now: Instant) -> Response {
        self.nonces += 1;
        let nonce = format!("{:x}-{:x}", self.stream, self.nonces);
        let (response, changed) = self.watches[index].respond(nonce.into(), removals, now);
        if &*response.type_url == types::CLUSTER {
            // A cluster that changes is warmed anew and waits for endpoints,
            // though they are what they were. Istio names both alike.
            if let Some(endpoints) = self.watch_mut(types::ENDPOINT) {
                changed.iter().for_each(|name| endpoints.resend(name));
            }
        }
        response
    }

    fn removals_may_go(&mut self, index: usize, now: Instant) -> bool {
        let watch = &self.watches[index];
        let referrers = order::referrers(watch.type_url());
        let settled = self.watches.iter().all(|w| w.is_settled() || !referrers.contains(&&**w.type_url()));
        self.watches[index].removals_may_go(settled, now)
    }
}
