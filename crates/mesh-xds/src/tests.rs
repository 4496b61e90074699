//! Server and client machine, joined back to back, and what their tests share.
//!
//! A [`Link`] carries the messages, each through its bytes. Every step is drawn
//! by proptest, which prints the steps that fail: the truth changes, the
//! snapshot reaches the server or is overtaken, a message is delivered, the
//! proxy wants other names, answers, or loses its connection with all that was
//! under way.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mesh_proto::Message;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use mesh_proto::resource::{Resource, ResourceSet};
use mesh_proto::types::{CLUSTER, ENDPOINT, LISTENER, ROUTE};
use proptest::prelude::*;

use crate::client::{AdsClient, Update, Wanted};
use crate::server::{Subscriber, WAIT_MAX};
use crate::wire::{Reply, Request};
use crate::{Node, Snapshot, Variant};

/// A resource with its name in field 1, as all have, and `content` in field 15.
pub(crate) fn named(name: &str, content: u8) -> Resource {
    assert!(name.len() < 0x80 && content < 0x80, "one-byte varints");
    let mut body = vec![0x0a, name.len() as u8];
    body.extend(name.as_bytes());
    body.extend([15 << 3, content]);
    Resource::from_bytes(name, Bytes::from(body))
}

/// Type URL, and name and content of its resources.
pub(crate) type Sets<'a> = &'a [(&'a str, &'a [(&'a str, u8)])];

pub(crate) fn snapshot(sets: Sets<'_>) -> Snapshot {
    Snapshot::new(sets.iter().map(|(type_url, resources)| {
        let resources = resources.iter().map(|(name, content)| named(name, *content));
        (*type_url, Arc::new(ResourceSet::new(resources)))
    }))
}

const TYPES: [&str; 4] = [CLUSTER, ENDPOINT, LISTENER, ROUTE];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// A proxy refuses every update that holds this content.
const BAD: u8 = 13;

#[derive(Debug, Clone)]
enum Step {
    /// Sets or removes a resource in the truth.
    Change {
        type_: usize,
        name: usize,
        content: Option<u8>,
    },
    /// The truth is built anew, so that no set knows its parent.
    Rebuild,
    /// The truth reaches the server.
    Publish,
    /// The proxy wants these of `NAMES` (a bit each), or everything.
    Want {
        type_: usize,
        names: u8,
    },
    ToServer,
    ToClient,
    /// The proxy answers its oldest update.
    Answer,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let content = prop_oneof![3 => (1..4u8).prop_map(Some), 1 => Just(Some(BAD)), 1 => Just(None)];
    prop_oneof![
        4 => (0..4usize, 0..4usize, content).prop_map(|(type_, name, content)| Step::Change { type_, name, content }),
        1 => Just(Step::Rebuild),
        3 => Just(Step::Publish),
        2 => (0..4usize, 0..17u8).prop_map(|(type_, names)| Step::Want { type_, names }),
        4 => Just(Step::ToServer),
        4 => Just(Step::ToClient),
        4 => Just(Step::Answer),
        1 => Just(Step::Reconnect),
    ]
}

/// Both machines, what is under way between them, and what the proxy made of
/// what it was told.
struct Link {
    variant: Variant,
    now: Instant,
    streams: u64,
    truth: Snapshot,
    server: Subscriber,
    client: AdsClient,
    to_server: VecDeque<Request>,
    to_client: VecDeque<Bytes>,
    updates: VecDeque<Update>,
    wanted: BTreeMap<usize, Option<BTreeSet<String>>>,
    state: BTreeMap<String, BTreeMap<String, u8>>,
    /// Responses of each type that the server has no answer to.
    unanswered: BTreeMap<String, i32>,
}

impl Link {
    fn new(variant: Variant) -> Self {
        let mut client = AdsClient::new(variant, Node { id: "proxy".to_owned(), ..Node::default() });
        client.on_connect();
        let mut server = Subscriber::new(variant, 0);
        let truth = snapshot(&TYPES.map(|type_url| (type_url, &[("a", 1), ("b", 2)][..])));
        server.on_snapshot(Arc::new(truth.clone()));
        Self {
            variant,
            now: Instant::now(),
            streams: 0,
            truth,
            server,
            client,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            updates: VecDeque::new(),
            wanted: BTreeMap::new(),
            state: BTreeMap::new(),
            unanswered: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Change { type_, name, content } => self.change(TYPES[*type_], NAMES[*name], *content),
            Step::Rebuild => {
                self.truth = Snapshot::new(
                    self.truth
                        .iter()
                        .map(|(type_url, set)| (type_url.to_owned(), Arc::new(ResourceSet::new(set.iter().cloned())))),
                );
            }
            Step::Publish => self.server.on_snapshot(Arc::new(self.truth.clone())),
            Step::Want { type_, names } => self.want(*type_, *names),
            Step::ToServer => self.deliver_to_server(),
            Step::ToClient => self.deliver_to_client(),
            Step::Answer => self.answer(),
            Step::Reconnect => self.reconnect(),
        }
        self.to_server.extend(std::iter::from_fn(|| self.client.poll_request()));
        while let Some(response) = self.server.poll(self.now) {
            let unanswered = self.unanswered.entry(response.type_url.to_string()).or_default();
            *unanswered += 1;
            assert!(*unanswered <= 1, "two responses of {} are unacknowledged", response.type_url);
            self.to_client.push_back(response.encode(self.variant));
        }
    }

    fn change(&mut self, type_url: &str, name: &str, content: Option<u8>) {
        let set = self.truth.get(type_url).unwrap();
        if let Some(set) = set.with([(name.into(), content.map(|content| named(name, content)))]) {
            self.truth = self.truth.with(type_url, Arc::new(set));
        }
    }

    fn want(&mut self, type_: usize, names: u8) {
        let type_url = TYPES[type_];
        let chosen: BTreeSet<String> =
            NAMES.iter().enumerate().filter(|(bit, _)| names >> bit & 1 == 1).map(|(_, n)| (*n).to_owned()).collect();
        // State of the world cannot take back a legacy wildcard.
        let all = names == 16 || (type_url == CLUSTER || type_url == LISTENER);
        let wanted = if all { None } else { Some(chosen) };
        let held = self.state.entry(type_url.to_owned()).or_default();
        if let Some(wanted) = &wanted {
            held.retain(|name, _| wanted.contains(name));
        }
        self.wanted.insert(type_, wanted.clone());
        self.client.want(type_url, wanted.map_or(Wanted::Wildcard, Wanted::Names));
    }

    fn deliver_to_server(&mut self) {
        let Some(request) = self.to_server.pop_front() else { return };
        for event in self.server.on_request(request, self.now).unwrap() {
            match event {
                crate::server::Event::Acked { type_url, .. } | crate::server::Event::Nacked { type_url, .. } => {
                    *self.unanswered.get_mut(&*type_url).unwrap() -= 1;
                }
                _ => {}
            }
        }
    }

    fn deliver_to_client(&mut self) {
        let Some(bytes) = self.to_client.pop_front() else { return };
        let reply = match self.variant {
            Variant::Sotw => Reply::Sotw(Box::new(DiscoveryResponse::decode(bytes).unwrap())),
            Variant::Delta => Reply::Delta(Box::new(DeltaDiscoveryResponse::decode(bytes).unwrap())),
        };
        self.updates.push_back(self.client.on_response(reply).unwrap());
    }

    fn answer(&mut self) {
        let Some(update) = self.updates.pop_front() else { return };
        let content = |value: &[u8]| *value.last().unwrap();
        if update.added.iter().any(|(_, resource)| content(&resource.value) == BAD) {
            self.client.nack(&update.type_url, &update.nonce, "bad");
            return;
        }
        let wanted = self.wanted.iter().find(|(t, _)| TYPES[**t] == update.type_url).unwrap().1.clone();
        let state = self.state.entry(update.type_url.clone()).or_default();
        for name in &update.removed {
            state.remove(name);
        }
        for (name, resource) in &update.added {
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(name)) {
                state.insert(name.clone(), content(&resource.value));
            }
        }
        self.client.ack(&update.type_url, &update.nonce);
    }

    /// Everything under way is lost; the server is another one.
    fn reconnect(&mut self) {
        self.streams += 1;
        self.to_server.clear();
        self.to_client.clear();
        self.unanswered.clear();
        self.server = Subscriber::new(self.variant, self.streams);
        self.server.on_snapshot(Arc::new(self.truth.clone()));
        self.client.on_connect();
    }

    /// Delivers and answers everything until nothing more happens.
    fn settle(&mut self) {
        self.step(&Step::Publish);
        for _ in 0..1_000 {
            for step in [Step::ToServer, Step::ToClient, Step::Answer] {
                self.step(&step);
            }
            if self.to_server.is_empty() && self.to_client.is_empty() && self.updates.is_empty() {
                match self.server.wake_at(self.now) {
                    Some(_) => self.now += WAIT_MAX,
                    None => return,
                }
            }
        }
        panic!("the two never come to rest");
    }

    /// The proxy has exactly what it wants and there is. In state of the world
    /// it is not told that a route or an endpoint set is gone.
    fn check(&self) {
        for (type_, wanted) in &self.wanted {
            let type_url = TYPES[*type_];
            let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
            let truth = self.truth.get(type_url).unwrap();
            let expected: BTreeMap<String, u8> = truth
                .iter()
                .filter(|r| is_wanted(&r.name))
                .map(|r| (r.name.to_string(), *r.body.last().unwrap()))
                .collect();
            let mut found = self.state[type_url].clone();
            if self.variant == Variant::Sotw && [ENDPOINT, ROUTE].contains(&type_url) {
                found.retain(|name, _| expected.contains_key(name));
            }
            assert_eq!(found, expected, "{type_url} as the proxy has it, and as it is");
        }
    }

    fn replace_bad(&mut self) {
        for (type_url, name) in TYPES.iter().flat_map(|t| NAMES.map(|n| (*t, n))) {
            let bad = self.truth.get(type_url).unwrap().get(name).is_some_and(|r| *r.body.last().unwrap() == BAD);
            if bad {
                self.change(type_url, name, Some(1));
            }
        }
    }
}

fn whatever_happens_the_proxy_ends_with_the_truth(variant: Variant, steps: &[Step]) {
    let mut link = Link::new(variant);
    for step in steps {
        link.step(step);
    }
    link.settle();
    link.replace_bad();
    link.settle();
    link.check();
    for status in link.server.status() {
        assert!(status.in_sync, "{status:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_a_sotw_proxy_ends_with_the_truth(steps in prop::collection::vec(step(), 1..80)) {
        whatever_happens_the_proxy_ends_with_the_truth(Variant::Sotw, &steps);
    }

    #[test]
    fn whatever_happens_a_delta_proxy_ends_with_the_truth(steps in prop::collection::vec(step(), 1..80)) {
        whatever_happens_the_proxy_ends_with_the_truth(Variant::Delta, &steps);
    }

    #[test]
    fn no_bytes_make_the_client_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut link = Link::new(Variant::Sotw);
        link.want(0, 16);
        let resource = mesh_proto::google::protobuf::Any { type_url: CLUSTER.to_owned(), value: bytes };
        let reply = DiscoveryResponse {
            type_url: CLUSTER.to_owned(),
            resources: vec![resource],
            ..DiscoveryResponse::default()
        };
        let _ = link.client.on_response(Reply::Sotw(Box::new(reply)));
    }
}
