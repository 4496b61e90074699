//! One resource type on one stream: what the proxy watches, by which names its
//! state differs from the newest set, and what is unacknowledged.
//!
//! Invariant: `differs` holds exactly the watched names of which the proxy has
//! something else than `seen`, and what it has instead. Whatever is in flight
//! counts as had: a proxy that refuses is not sent the same again.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use mesh_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use mesh_proto::resource::{Resource, ResourceName, ResourceSet};
use mesh_proto::types;

use super::response::parse_version;
use super::subscription::{Change, Subscription};
use super::{ERROR_BYTES_MAX, Event, Pending, RESPONSE_BYTES, Response, TypeStatus, WAIT_MAX};
use crate::{Variant, order};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Watch {
    type_url: Arc<str>,
    variant: Variant,
    subscription: Subscription,
    seen: Arc<ResourceSet>,
    /// `seen` was offered for this stream alone; snapshots do not replace it.
    offered: bool,
    differs: BTreeMap<ResourceName, Held>,
    /// Full state only: the last content of what `seen` no longer has but the
    /// proxy may still refer to.
    leaving: BTreeMap<ResourceName, Resource>,
    /// Names that were in refused responses and have not been sent since.
    refused: BTreeSet<ResourceName>,
    /// A response must go out even if nothing differs.
    owed: bool,
    latest: Option<Sent>,
    in_flight: Option<InFlight>,
    acked: Option<(Arc<str>, Arc<str>)>,
    nacked: Option<(Arc<str>, Arc<str>)>,
    last_error: Option<Arc<str>>,
    removals_wait_since: Option<Instant>,
}

/// What the proxy has under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Whatever it has, it asked to be told.
    Unknown,
    Absent,
    Version(u64),
}

#[derive(Debug)]
struct Sent {
    nonce: Arc<str>,
    version: Arc<str>,
    at: Instant,
}

/// Names in the response that is unacknowledged and their versions (`None`:
/// removed by it); of a full state none are kept.
#[derive(Debug)]
struct InFlight {
    sent: Vec<(ResourceName, Option<u64>)>,
    /// Whether it adds or replaces anything.
    changes: bool,
}

/// What an answer to a response turned out to be.
pub(super) enum Answer {
    /// Acknowledged or refused.
    Event(Event),
    /// About the latest response, which is already answered: the request is
    /// about names.
    Repeated,
    Stale(Event),
}

impl Watch {
    pub(super) fn new(type_url: Arc<str>, variant: Variant, seen: Arc<ResourceSet>) -> Self {
        Self {
            type_url,
            variant,
            subscription: Subscription::default(),
            seen,
            offered: false,
            differs: BTreeMap::new(),
            leaving: BTreeMap::new(),
            refused: BTreeSet::new(),
            owed: false,
            latest: None,
            in_flight: None,
            acked: None,
            nacked: None,
            last_error: None,
            removals_wait_since: None,
        }
    }

    pub(super) fn type_url(&self) -> &Arc<str> {
        &self.type_url
    }

    pub(super) fn names(&self) -> usize {
        self.subscription.names().len()
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = &ResourceName> {
        self.subscription.names().iter()
    }

    pub(super) fn is_offered(&self) -> bool {
        self.offered
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether the proxy has taken everything that is meant for it.
    pub(super) fn is_settled(&self) -> bool {
        let refused = if self.is_full_state() { self.last_error.is_some() } else { !self.refused.is_empty() };
        !self.owed && self.differs.is_empty() && self.in_flight.is_none() && !refused
    }

    pub(super) fn offer(&mut self, set: &Arc<ResourceSet>) {
        self.offered = true;
        self.see(set);
    }

    /// Takes in the newest set.
    pub(super) fn see(&mut self, set: &Arc<ResourceSet>) {
        if set.id() == self.seen.id() {
            return;
        }
        let old = mem::replace(&mut self.seen, set.clone());
        if self.is_full_state() && self.latest.is_none() {
            return;
        }
        if set.parent() == Some(old.id()) {
            for name in set.changed() {
                self.seen_changed(name, old.get(name));
            }
        } else {
            for name in difference(&old, set) {
                self.seen_changed(&name, old.get(&name));
            }
        }
    }

    /// Takes in the answer to the response called `nonce`.
    pub(super) fn on_answer(&mut self, nonce: &str, error: Option<&str>, now: Instant) -> Answer {
        let type_url = self.type_url.clone();
        let Some(latest) = self.latest.as_ref().filter(|latest| &*latest.nonce == nonce) else {
            return Answer::Stale(Event::Stale { type_url, nonce: nonce.to_owned() });
        };
        let Some(in_flight) = self.in_flight.take() else {
            return Answer::Repeated;
        };
        let (nonce, version) = (latest.nonce.clone(), latest.version.clone());
        match error {
            None => {
                let after = now.saturating_duration_since(latest.at);
                self.acked = Some((nonce.clone(), version.clone()));
                self.last_error = None;
                Answer::Event(Event::Acked { type_url, nonce, version, after })
            }
            Some(error) => {
                let error: Arc<str> = shortened(error).into();
                self.nacked = Some((nonce.clone(), version.clone()));
                self.last_error = Some(error.clone());
                let (seen, watched) = (&self.seen, &self.subscription);
                let is_current =
                    |(n, v): &(ResourceName, _)| watched.contains(n) && seen.get(n).map(|r| r.version) == *v;
                let all_current = in_flight.sent.iter().all(is_current);
                self.refused.extend(in_flight.sent.into_iter().map(|(name, _)| name));
                if !all_current {
                    self.retry_refused();
                }
                Answer::Event(Event::Nacked { type_url, nonce, version, error })
            }
        }
    }

    /// State of the world: the names in a request that is not stale. `first`
    /// on the stream, or as good as: the proxy has nothing of this type.
    pub(super) fn replace_names(&mut self, names: &[String], first: bool) -> Option<Event> {
        if first {
            *self = Self { offered: self.offered, ..Self::new(self.type_url.clone(), self.variant, self.seen.clone()) };
        }
        let all = !order::is_by_name(&self.type_url);
        let seen = &self.seen;
        let change = self.subscription.replace(names, first, all, |name| interned(seen, name));
        // A first request that asks for nothing only announces the type.
        self.owed |= !change.added.is_empty() || change.wildcard_added;
        self.forget_unwatched(&change);
        if !self.is_full_state() {
            change.added.iter().for_each(|name| self.note(name, Held::Unknown));
            if change.wildcard_added {
                self.resend_all();
            }
        }
        self.subscribed(change, first)
    }

    /// Delta: the names in a request.
    pub(super) fn change_names(&mut self, request: &DeltaDiscoveryRequest, first: bool) -> Option<Event> {
        let all = !order::is_by_name(&self.type_url);
        let (subscribe, unsubscribe) = (&request.resource_names_subscribe, &request.resource_names_unsubscribe);
        let seen = self.seen.clone();
        let change = self.subscription.change(subscribe, unsubscribe, first, all, |name| interned(&seen, name));
        self.forget_unwatched(&change);
        change.added.iter().for_each(|name| self.note(name, Held::Unknown));
        if change.wildcard_added {
            self.owed = true;
            for resource in seen.iter() {
                if !self.subscription.names().contains(&resource.name) {
                    self.note(&resource.name, Held::Absent);
                }
            }
        }
        // Still watched through the wildcard, so the proxy must hear of it.
        if self.subscription.is_wildcard() {
            change.removed.iter().for_each(|name| self.note(name, Held::Unknown));
        }
        if first {
            for (name, version) in &request.initial_resource_versions {
                if self.subscription.contains(name) {
                    let held = parse_version(version).map_or(Held::Unknown, Held::Version);
                    self.note(&interned(&seen, name), held);
                }
            }
        }
        self.subscribed(change, first)
    }

    /// The proxy needs this resource once more, though it has not changed.
    pub(super) fn resend(&mut self, name: &ResourceName) {
        if self.subscription.contains(name) && self.seen.get(name).is_some() {
            self.note(name, Held::Unknown);
        }
    }

    /// As [`Self::resend`], for everything it watches.
    pub(super) fn resend_all(&mut self) {
        let seen = self.seen.clone();
        for resource in seen.iter() {
            self.resend(&resource.name);
        }
    }

    /// Whether there is something to send, response in flight or not.
    pub(super) fn is_due(&self, removals: bool) -> bool {
        self.owed || self.differs.iter().any(|(name, held)| self.is_told(name, *held, removals))
    }

    /// Whether the proxy has asked for what is due, rather than it having
    /// changed.
    pub(super) fn is_asked(&self) -> bool {
        self.owed || self.latest.is_none() || self.differs.values().any(|held| *held == Held::Unknown)
    }

    /// Until when later types wait because this one is in flight and cannot say
    /// what else it has to say.
    pub(super) fn has_news_until(&self) -> Option<Instant> {
        let additions = self.differs.keys().any(|name| self.seen.get(name).is_some());
        if additions { self.in_flight_until() } else { None }
    }

    /// Until when later types wait because clusters are in flight: before a
    /// proxy acknowledges them it asks for their endpoints, and until it has
    /// those a route to them leads nowhere.
    pub(super) fn warms_until(&self) -> Option<Instant> {
        let warms = self.in_flight.as_ref().is_some_and(|in_flight| in_flight.changes);
        if warms && &*self.type_url == types::CLUSTER { self.in_flight_until() } else { None }
    }

    fn in_flight_until(&self) -> Option<Instant> {
        self.in_flight.as_ref()?;
        self.latest.as_ref().map(|latest| latest.at + WAIT_MAX)
    }

    /// Whether removals may be sent: the types that may refer to what is
    /// removed have `settled`, or have been waited for long enough.
    pub(super) fn removals_may_go(&mut self, settled: bool, now: Instant) -> bool {
        let waits = !settled && self.differs.iter().any(|(name, held)| self.is_removal(name, *held));
        if !waits {
            self.removals_wait_since = None;
            return settled;
        }
        let since = *self.removals_wait_since.get_or_insert(now);
        now.saturating_duration_since(since) >= WAIT_MAX
    }

    /// The next instant after `now` at which waiting ends.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let removals = self.removals_wait_since.map(|since| since + WAIT_MAX);
        removals.into_iter().chain(self.has_news_until()).chain(self.warms_until()).filter(|at| *at > now).min()
    }

    /// The response that is due, and the names whose content it changes.
    pub(super) fn respond(&mut self, nonce: Arc<str>, removals: bool, now: Instant) -> (Response, Vec<ResourceName>) {
        let full = self.is_full_state();
        let (resources, removed, changed) = if full { self.full_state(removals) } else { self.news(removals) };
        let sent = if full {
            Vec::new()
        } else {
            let added = resources.iter().map(|r| (r.name.clone(), Some(r.version)));
            added.chain(removed.iter().map(|name| (name.clone(), None))).collect()
        };
        let response = Response::new(self.type_url.clone(), nonce, resources, removed, full);
        self.owed = false;
        self.latest = Some(Sent { nonce: response.nonce.clone(), version: response.version.clone(), at: now });
        self.in_flight = Some(InFlight { sent, changes: !changed.is_empty() });
        (response, changed)
    }

    pub(super) fn status(&self) -> TypeStatus {
        let (nonce_acked, version_acked) = self.acked.clone().unzip();
        TypeStatus {
            type_url: self.type_url.clone(),
            wildcard: self.subscription.is_wildcard(),
            names: self.subscription.names().iter().cloned().collect(),
            version_sent: self.latest.as_ref().map(|sent| sent.version.clone()),
            version_acked,
            nonce_sent: self.latest.as_ref().map(|sent| sent.nonce.clone()),
            nonce_acked,
            nonce_nacked: self.nacked.clone().map(|(nonce, _)| nonce),
            last_error: self.last_error.clone(),
            sent_at: self.latest.as_ref().map(|sent| sent.at),
            in_sync: self.is_settled(),
            pending: self.pending(),
        }
    }

    fn pending(&self) -> Pending {
        let refused_all = self.is_full_state() && (self.in_flight.is_some() || self.last_error.is_some());
        if self.acked.is_none() && self.nacked.is_none() || refused_all {
            return Pending::All;
        }
        let in_flight = self.in_flight.iter().flat_map(|f| f.sent.iter().map(|(name, _)| name));
        let names: BTreeSet<&ResourceName> = self.differs.keys().chain(&self.refused).chain(in_flight).collect();
        Pending::Names(names.into_iter().cloned().collect())
    }

    fn is_full_state(&self) -> bool {
        self.variant == Variant::Sotw && !order::is_by_name(&self.type_url)
    }

    /// Everything that is watched, and what may not leave yet.
    fn full_state(&mut self, removals: bool) -> (Vec<Resource>, Vec<ResourceName>, Vec<ResourceName>) {
        let mut resources: Vec<Resource> = if self.subscription.is_wildcard() {
            self.seen.iter().cloned().collect()
        } else {
            self.subscription.names().iter().filter_map(|name| self.seen.get(name)).cloned().collect()
        };
        let changed = if self.latest.is_none() {
            resources.iter().map(|r| r.name.clone()).collect()
        } else {
            self.differs.keys().filter(|name| self.seen.get(name).is_some()).cloned().collect()
        };
        let seen = &self.seen;
        self.differs.retain(|name, _| !removals && seen.get(name).is_none());
        if removals {
            self.leaving.clear();
        } else if !self.leaving.is_empty() {
            resources.extend(self.leaving.values().cloned());
            resources.sort_by(|a, b| a.name.cmp(&b.name));
        }
        (resources, Vec::new(), changed)
    }

    /// What differs, up to the size of one response.
    fn news(&mut self, removals: bool) -> (Vec<Resource>, Vec<ResourceName>, Vec<ResourceName>) {
        let (mut resources, mut removed, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (name, held) in &self.differs {
            if !self.is_told(name, *held, removals) {
                continue;
            }
            let resource = self.seen.get(name);
            bytes += name.len() + resource.map_or(0, |r| r.body.len());
            if bytes > RESPONSE_BYTES && !(resources.is_empty() && removed.is_empty()) {
                break;
            }
            match resource {
                Some(resource) => resources.push(resource.clone()),
                None => removed.push(name.clone()),
            }
        }
        let changed: Vec<ResourceName> = resources.iter().map(|r: &Resource| r.name.clone()).collect();
        changed.iter().chain(&removed).for_each(|name| {
            self.differs.remove(name);
            self.refused.remove(name);
        });
        (resources, removed, changed)
    }

    /// Whether the proxy is to be told about a name that differs.
    fn is_told(&self, name: &str, held: Held, removals: bool) -> bool {
        removals || !self.is_removal(name, held)
    }

    fn is_removal(&self, name: &str, held: Held) -> bool {
        matches!(held, Held::Version(_)) && self.seen.get(name).is_none()
    }

    /// `seen` has just changed by `name`; `old` is what it was.
    fn seen_changed(&mut self, name: &ResourceName, old: Option<&Resource>) {
        if !self.subscription.contains(name) {
            return;
        }
        if self.refused.contains(name) {
            self.retry_refused();
            return;
        }
        let had = old.map_or(Held::Absent, |r| Held::Version(r.version));
        let held = self.differs.get(name).copied().unwrap_or(had);
        self.note(name, held);
        if self.is_full_state() {
            if self.seen.get(name).is_some() {
                self.leaving.remove(name);
            } else if self.differs.contains_key(name)
                && let Some(old) = old
            {
                self.leaving.insert(name.clone(), old.clone());
            }
        }
    }

    /// One of those that were refused together has changed or is no longer
    /// watched: the others may have been refused only for its sake.
    fn retry_refused(&mut self) {
        for name in mem::take(&mut self.refused) {
            if self.subscription.contains(&name) {
                self.note(&name, Held::Unknown);
            }
        }
    }

    /// Records what the proxy has under a watched name.
    fn note(&mut self, name: &ResourceName, held: Held) {
        // State of the world cannot tell that a single name is absent.
        let absence_is_told = match held {
            Held::Unknown => self.variant == Variant::Delta,
            Held::Absent => false,
            Held::Version(_) => self.variant == Variant::Delta || self.is_full_state(),
        };
        let differs = match self.seen.get(name) {
            Some(resource) => held != Held::Version(resource.version),
            None => absence_is_told,
        };
        if differs {
            self.differs.insert(name.clone(), held);
        } else {
            self.differs.remove(name);
        }
    }

    fn forget_unwatched(&mut self, change: &Change) {
        for name in &change.removed {
            self.differs.remove(name);
            self.leaving.remove(name);
        }
        let subscription = &self.subscription;
        if change.wildcard_removed {
            self.differs.retain(|name, _| subscription.contains(name));
            self.leaving.retain(|name, _| subscription.contains(name));
        }
        if !self.refused.iter().all(|name| subscription.contains(name)) {
            self.retry_refused();
        }
    }

    fn subscribed(&self, change: Change, first: bool) -> Option<Event> {
        (first || !change.is_empty()).then(|| Event::Subscribed {
            type_url: self.type_url.clone(),
            names: self.subscription.names().len(),
            wildcard: self.subscription.is_wildcard(),
            added: change.added,
            removed: change.removed,
        })
    }
}

/// The set's own copy of the name, so that a thousand proxies that watch a
/// resource share one.
fn interned(set: &ResourceSet, name: &str) -> ResourceName {
    set.get(name).map_or_else(|| name.into(), |resource| resource.name.clone())
}

/// Names whose content differs between two sets, by one walk through both.
fn difference(old: &ResourceSet, new: &ResourceSet) -> Vec<ResourceName> {
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    let mut names = Vec::new();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return names,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        let gone = if order.is_le() { old.next() } else { None };
        let came = if order.is_ge() { new.next() } else { None };
        if gone.map(|r| r.version) != came.map(|r| r.version) {
            names.extend(came.or(gone).map(|r| r.name.clone()));
        }
    }
}

fn shortened(error: &str) -> String {
    let end = (0..=ERROR_BYTES_MAX.min(error.len())).rev().find(|end| error.is_char_boundary(*end)).unwrap_or(0);
    error[..end].to_owned()
}
