//! One resource type, seen from the proxy: what is wanted, what of that the
//! server has been told on this stream, what arrived and what is held.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;

use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use mesh_proto::google::rpc::Status;

use super::reading::Received;
use super::{Update, Wanted};
use crate::order::{self, WILDCARD};
use crate::wire::Request;
use crate::{Variant, client};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct TypeState {
    type_url: String,
    variant: Variant,
    /// Counts the streams of the client, to tell answers to an earlier one.
    stream: u64,
    wanted: Subscription,
    /// What the server was last told on this stream; `None`: nothing yet.
    told: Option<Subscription>,
    /// What it must be told before `wanted`: a name that was dropped and is
    /// wanted again must be seen to go, or it would not be sent once more.
    steps: VecDeque<Subscription>,
    /// Whether a name was ever listed on this stream.
    named: bool,
    /// Name to version (empty in state of the world) of what is in force.
    held: BTreeMap<String, String>,
    /// Names in refused full states: the owner may have put some in force.
    uncertain: BTreeSet<String>,
    /// Version of the last acknowledged response.
    version: String,
    /// Nonce of the latest response on this stream.
    nonce: String,
    /// Updates that the owner has not answered, oldest first.
    open: VecDeque<Open>,
    answers: VecDeque<Answer>,
}

#[derive(Debug, Default, PartialEq, Eq, Clone)]
struct Subscription {
    wildcard: bool,
    names: BTreeSet<String>,
}

impl Subscription {
    fn contains(&self, name: &str) -> bool {
        self.wildcard || self.names.contains(name)
    }
}

#[derive(Debug)]
struct Open {
    stream: u64,
    nonce: String,
    version: String,
    added: Vec<(String, String)>,
    removed: Vec<String>,
    full: bool,
}

#[derive(Debug)]
struct Answer {
    nonce: String,
    error: Option<String>,
}

/// Updates that an owner may leave unanswered before the oldest is forgotten.
/// A server has one in flight per type.
const OPEN_MAX: usize = 64;
/// Steps kept per type: more only pile up while nothing can be sent.
const STEPS_MAX: usize = 64;
/// gRPC's code for an invalid argument, with which a NACK is sent.
const INVALID_ARGUMENT: i32 = 3;

impl TypeState {
    pub(super) fn new(type_url: &str, variant: Variant, stream: u64) -> Self {
        Self {
            type_url: type_url.to_owned(),
            variant,
            stream,
            wanted: Subscription::default(),
            told: None,
            steps: VecDeque::new(),
            named: false,
            held: BTreeMap::new(),
            uncertain: BTreeSet::new(),
            version: String::new(),
            nonce: String::new(),
            open: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    pub(super) fn type_url(&self) -> &str {
        &self.type_url
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (&str, &str)> {
        self.held.iter().map(|(name, version)| (name.as_str(), version.as_str()))
    }

    pub(super) fn want(&mut self, wanted: Wanted) {
        let wanted = match wanted {
            Wanted::Wildcard => Subscription { wildcard: true, names: BTreeSet::new() },
            Wanted::Names(names) => Subscription { wildcard: false, names },
        };
        let known = self.steps.back().or(self.told.as_ref());
        let returns = known.is_some_and(|known| {
            let dropped = |name: &&String| !self.wanted.contains(name);
            known.names.iter().filter(dropped).any(|name| wanted.contains(name))
                || (known.wildcard && !self.wanted.wildcard && wanted.wildcard)
        });
        let before = mem::replace(&mut self.wanted, wanted);
        if returns && self.steps.len() < STEPS_MAX {
            self.steps.push_back(before);
        }
        if !self.wanted.wildcard {
            self.held.retain(|name, _| self.wanted.names.contains(name));
            self.uncertain.retain(|name| self.wanted.names.contains(name));
        }
    }

    pub(super) fn on_connect(&mut self, stream: u64) {
        self.stream = stream;
        self.told = None;
        self.steps.clear();
        self.named = false;
        self.nonce.clear();
        self.answers.clear();
    }

    pub(super) fn receive(&mut self, received: Received) -> Update {
        let Received { type_url, version, nonce, resources, mut removed, full, .. } = received;
        let mut versions = Vec::new();
        let mut added = Vec::new();
        for (name, version, resource) in resources {
            // A server may send more than was asked for; it is not ours.
            if full || self.wanted.contains(&name) {
                versions.push((name.clone(), version));
                added.push((name, resource));
            }
        }
        if full {
            let present: BTreeSet<&str> = added.iter().map(|(name, _)| name.as_str()).collect();
            let open = self.open.iter().flat_map(|open| &open.added).map(|(name, _)| name);
            let gone: BTreeSet<&String> = self.held.keys().chain(&self.uncertain).chain(open).collect();
            removed = gone.into_iter().filter(|name| !present.contains(name.as_str())).cloned().collect();
        }
        removed.retain(|name| full || self.wanted.contains(name));
        self.nonce.clone_from(&nonce);
        if self.open.len() == OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(Open {
            stream: self.stream,
            nonce: nonce.clone(),
            version: version.clone(),
            added: versions,
            removed: removed.clone(),
            full,
        });
        client::Update { type_url, added, removed, full, version, nonce }
    }

    /// Answers a response that never became an update.
    pub(super) fn refuse(&mut self, nonce: &str, text: &str) {
        nonce.clone_into(&mut self.nonce);
        self.answers.push_back(Answer { nonce: nonce.to_owned(), error: Some(text.to_owned()) });
    }

    pub(super) fn ack(&mut self, nonce: &str) {
        let Some(update) = self.close(nonce) else { return };
        if update.full {
            self.held.clear();
            self.uncertain.clear();
        }
        for name in &update.removed {
            self.held.remove(name);
        }
        let wanted = &self.wanted;
        self.held.extend(update.added.into_iter().filter(|(name, _)| wanted.contains(name)));
        self.version = update.version;
        if update.stream == self.stream {
            self.answers.push_back(Answer { nonce: update.nonce, error: None });
        }
    }

    pub(super) fn nack(&mut self, nonce: &str, text: &str) {
        let Some(update) = self.close(nonce) else { return };
        if update.full {
            self.uncertain.extend(update.added.into_iter().map(|(name, _)| name));
        }
        if update.stream == self.stream {
            self.answers.push_back(Answer { nonce: update.nonce, error: Some(text.to_owned()) });
        }
    }

    pub(super) fn poll_answer(&mut self) -> Option<Request> {
        let answer = self.answers.pop_front()?;
        let error_detail = answer.error.map(|message| Status { code: INVALID_ARGUMENT, message, ..Status::default() });
        Some(match self.variant {
            // It says what is wanted as well, there is no way not to.
            Variant::Sotw => {
                self.tell_next();
                Request::Sotw(Box::new(DiscoveryRequest {
                    response_nonce: answer.nonce,
                    error_detail,
                    ..self.sotw_subscription()
                }))
            }
            Variant::Delta => Request::Delta(Box::new(DeltaDiscoveryRequest {
                type_url: self.type_url.clone(),
                response_nonce: answer.nonce,
                error_detail,
                ..DeltaDiscoveryRequest::default()
            })),
        })
    }

    pub(super) fn poll_subscription(&mut self) -> Option<Request> {
        let nothing = Subscription::default();
        if self.steps.is_empty() && self.told.as_ref().unwrap_or(&nothing) == &self.wanted {
            return None;
        }
        // In state of the world any request with the latest nonce accepts that
        // response, so names wait until the owner has answered, and go with it.
        let unanswered = !self.answers.is_empty() || self.open.iter().any(|open| open.stream == self.stream);
        if self.variant == Variant::Sotw && unanswered {
            return None;
        }
        let before = self.tell_next();
        Some(match self.variant {
            Variant::Sotw => Request::Sotw(Box::new(DiscoveryRequest {
                response_nonce: self.nonce.clone(),
                ..self.sotw_subscription()
            })),
            Variant::Delta => Request::Delta(Box::new(self.delta_subscription(before))),
        })
    }

    /// Moves on to what the server is to be told next; gives what it knew.
    fn tell_next(&mut self) -> Option<Subscription> {
        let next = self.steps.pop_front().unwrap_or_else(|| self.wanted.clone());
        self.named |= !next.names.is_empty();
        self.told.replace(next)
    }

    /// Lists all that the server is now told.
    fn sotw_subscription(&self) -> DiscoveryRequest {
        let told = self.told.as_ref().unwrap_or(&self.wanted);
        // An empty list asks for everything only while no name was ever listed.
        let resource_names = if told.wildcard && (self.named || order::is_by_name(&self.type_url)) {
            vec![WILDCARD.to_owned()]
        } else {
            told.names.iter().cloned().collect()
        };
        DiscoveryRequest {
            version_info: self.version.clone(),
            resource_names,
            type_url: self.type_url.clone(),
            ..DiscoveryRequest::default()
        }
    }

    /// What the server is now told and did not know `before`.
    fn delta_subscription(&self, before: Option<Subscription>) -> DeltaDiscoveryRequest {
        let first = before.is_none();
        let before = before.unwrap_or_default();
        let now = self.told.as_ref().unwrap_or(&self.wanted);
        let mut subscribe: Vec<String> = now.names.difference(&before.names).cloned().collect();
        let mut unsubscribe: Vec<String> = before.names.difference(&now.names).cloned().collect();
        let empty_is_all = first && !order::is_by_name(&self.type_url);
        if now.wildcard && !before.wildcard && !empty_is_all {
            subscribe.push(WILDCARD.to_owned());
        }
        if before.wildcard && !now.wildcard {
            unsubscribe.push(WILDCARD.to_owned());
        }
        let initial = if first { self.initial_versions() } else { BTreeMap::new() };
        DeltaDiscoveryRequest {
            type_url: self.type_url.clone(),
            resource_names_subscribe: subscribe,
            resource_names_unsubscribe: unsubscribe,
            initial_resource_versions: initial.into_iter().collect(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    /// What is held. What the owner may yet acknowledge from an earlier stream
    /// has no version, so that the server tells of it whatever it is by now.
    fn initial_versions(&self) -> BTreeMap<String, String> {
        let added = self.open.iter().flat_map(|open| &open.added).map(|(name, _)| name);
        let removed = self.open.iter().flat_map(|open| &open.removed);
        let open = added.chain(removed).filter(|name| self.wanted.contains(name));
        let mut versions = self.held.clone();
        versions.extend(open.map(|name| (name.clone(), String::new())));
        versions
    }

    fn close(&mut self, nonce: &str) -> Option<Open> {
        let index = self.open.iter().position(|open| open.nonce == nonce)?;
        self.open.remove(index)
    }
}
