//! Rules of the protocol, one by one.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh_proto::Message;
use mesh_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use mesh_proto::google::rpc;
use mesh_proto::resource::{Resource, ResourceSet};
use mesh_proto::types::{CLUSTER as CDS, ENDPOINT as EDS, LISTENER as LDS, ROUTE as RDS, SECRET as SDS};

mod order;

use super::*;
use crate::tests::{Sets, named, snapshot};

/// A subscriber, its clock, and the nonces last sent by type.
struct Stream {
    subscriber: Subscriber,
    snapshot: Snapshot,
    now: Instant,
    nonces: Vec<(Arc<str>, Arc<str>)>,
}

impl Stream {
    fn open(variant: Variant, sets: Sets<'_>) -> Self {
        let mut subscriber = Subscriber::new(variant, 1);
        let snapshot = snapshot(sets);
        subscriber.on_snapshot(Arc::new(snapshot.clone()));
        Self { subscriber, snapshot, now: Instant::now(), nonces: Vec::new() }
    }

    /// Changes one resource, as the translator does: the set knows its parent.
    fn change(&mut self, type_url: &str, name: &str, content: Option<u8>) {
        let set = self.snapshot.get(type_url).unwrap();
        let set = set.with([(name.into(), content.map(|c| named(name, c)))]).unwrap();
        self.snapshot = self.snapshot.with(type_url, Arc::new(set));
    }

    fn publish(&mut self) {
        self.subscriber.on_snapshot(Arc::new(self.snapshot.clone()));
    }

    fn nonce(&self, type_url: &str) -> String {
        self.nonces.iter().rev().find(|(t, _)| &**t == type_url).map(|(_, n)| n.to_string()).unwrap_or_default()
    }

    fn sotw(&mut self, type_url: &str, nonce: &str, names: &[&str], error: Option<&str>) -> Vec<Event> {
        let request = DiscoveryRequest {
            node: Some(Node { id: "proxy".to_owned(), ..Node::default() }),
            type_url: type_url.to_owned(),
            response_nonce: nonce.to_owned(),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            error_detail: error.map(|text| rpc::Status { message: text.to_owned(), ..rpc::Status::default() }),
            ..DiscoveryRequest::default()
        };
        self.subscriber.on_request(Request::Sotw(Box::new(request)), self.now).unwrap()
    }

    fn delta(&mut self, request: DeltaDiscoveryRequest) -> Vec<Event> {
        let node = Some(Node { id: "proxy".to_owned(), ..Node::default() });
        let request = DeltaDiscoveryRequest { node, ..request };
        self.subscriber.on_request(Request::Delta(Box::new(request)), self.now).unwrap()
    }

    fn subscribe(&mut self, type_url: &str, names: &[&str]) -> Vec<Event> {
        match self.subscriber.variant {
            Variant::Sotw => {
                let nonce = self.nonce(type_url);
                self.sotw(type_url, &nonce, names, None)
            }
            Variant::Delta => self.delta(DeltaDiscoveryRequest {
                type_url: type_url.to_owned(),
                resource_names_subscribe: names.iter().map(|n| (*n).to_owned()).collect(),
                ..DeltaDiscoveryRequest::default()
            }),
        }
    }

    /// Answers the latest response; `names` as far as the variant repeats them.
    fn answer(&mut self, type_url: &str, names: &[&str], error: Option<&str>) -> Vec<Event> {
        let nonce = self.nonce(type_url);
        match self.subscriber.variant {
            Variant::Sotw => self.sotw(type_url, &nonce, names, error),
            Variant::Delta => self.delta(DeltaDiscoveryRequest {
                type_url: type_url.to_owned(),
                response_nonce: nonce,
                error_detail: error.map(|text| rpc::Status { message: text.to_owned(), ..rpc::Status::default() }),
                ..DeltaDiscoveryRequest::default()
            }),
        }
    }

    fn ack(&mut self, type_url: &str, names: &[&str]) {
        let events = self.answer(type_url, names, None);
        assert!(matches!(events[..], [Event::Acked { .. }, ..]), "{events:?}");
    }

    /// What is sent now, as `type: names -removed`, one line per response.
    fn sent(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(response) = self.subscriber.poll(self.now) {
            self.nonces.push((response.type_url.clone(), response.nonce.clone()));
            let content = |r: &Resource| format!(" {}={}", r.name, r.body.last().unwrap());
            let resources: String = response.resources.iter().map(content).collect();
            let removed: String = response.removed.iter().map(|name| format!(" -{name}")).collect();
            lines.push(format!("{}:{resources}{removed}", mesh_proto::types::short(&response.type_url)));
        }
        lines
    }

    /// As [`Self::sent`], each acknowledged at once, until nothing is left.
    fn settled(&mut self, names: &[(&str, &[&str])]) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let sent = self.sent();
            if sent.is_empty() {
                return lines;
            }
            lines.extend(sent);
            for status in self.subscriber.status() {
                let names = names.iter().find(|(t, _)| **t == *status.type_url).map_or(&[][..], |(_, n)| n);
                if status.nonce_sent != status.nonce_acked {
                    self.answer(&status.type_url, names, None);
                }
            }
        }
    }
}

const BOTH: [Variant; 2] = [Variant::Sotw, Variant::Delta];
const NONE: [&str; 0] = [];

#[test]
fn a_first_request_without_node_id_is_refused() {
    for node in [None, Some(Node::default())] {
        let request = DiscoveryRequest { node, type_url: CDS.to_owned(), ..DiscoveryRequest::default() };
        let mut subscriber = Subscriber::new(Variant::Sotw, 1);
        let result = subscriber.on_request(Request::Sotw(Box::new(request)), Instant::now());
        assert_eq!(result, Err(RequestError::NoNode));
    }
}

#[test]
fn requests_without_type_of_the_other_variant_or_of_too_many_types_are_refused() {
    let mut stream = Stream::open(Variant::Sotw, &[]);
    let now = stream.now;
    stream.subscribe(CDS, &[]);
    let refused = |stream: &mut Stream, request| stream.subscriber.on_request(request, now).unwrap_err();
    assert_eq!(refused(&mut stream, Request::Sotw(Box::default())), RequestError::NoType);
    assert_eq!(refused(&mut stream, Request::Delta(Box::default())), RequestError::OtherVariant(Variant::Sotw));
    for n in 1..TYPES_MAX {
        stream.subscribe(&format!("type{n}"), &[]);
    }
    let request = DiscoveryRequest { type_url: "one more".to_owned(), ..DiscoveryRequest::default() };
    assert_eq!(refused(&mut stream, Request::Sotw(Box::new(request))), RequestError::TooManyTypes);
}

#[test]
fn an_empty_list_asks_for_all_clusters_and_listeners_and_for_no_endpoints_or_routes() {
    for variant in BOTH {
        let sets: Sets<'_> = &[(CDS, &[("a", 1)]), (EDS, &[("a", 1)]), (LDS, &[("l", 1)]), (RDS, &[("r", 1)])];
        let mut stream = Stream::open(variant, sets);
        for type_url in [CDS, EDS, LDS, RDS] {
            stream.subscribe(type_url, &[]);
        }
        assert_eq!(stream.sent(), ["CDS: a=1", "LDS: l=1"], "{variant:?}");
    }
}

#[test]
fn nothing_is_sent_before_there_is_a_snapshot() {
    let mut stream = Stream::open(Variant::Sotw, &[]);
    stream.subscriber = Subscriber::new(Variant::Sotw, 1);
    stream.subscribe(CDS, &[]);
    assert_eq!(stream.sent(), NONE);
    stream.publish();
    assert_eq!(stream.sent(), ["CDS:"], "then an empty one, so that the proxy need not wait");
}

#[test]
fn types_are_sent_in_push_order_whatever_the_order_of_the_requests() {
    for variant in BOTH {
        let one: &[(&str, u8)] = &[("x", 1)];
        let mut stream = Stream::open(variant, &[(RDS, one), (SDS, one), (LDS, one), (EDS, one), (CDS, one)]);
        for type_url in ["unknown", SDS, RDS, LDS, EDS, CDS] {
            stream.subscribe(type_url, &["x"]);
        }
        let unknown = if variant == Variant::Delta { "unknown: -x" } else { "unknown:" };
        let expected = ["CDS: x=1", "EDS: x=1", "LDS: x=1", "RDS: x=1", "SDS: x=1", unknown];
        assert_eq!(stream.sent(), expected, "{variant:?}");
    }
}

#[test]
fn an_ack_is_not_answered_and_an_equal_snapshot_not_sent() {
    for variant in BOTH {
        let sets: Sets<'_> = &[(CDS, &[("a", 1)])];
        let mut stream = Stream::open(variant, sets);
        stream.subscribe(CDS, &[]);
        assert_eq!(stream.sent(), ["CDS: a=1"]);
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), NONE);
        // The same content, but sets without a parent.
        stream.snapshot = snapshot(sets);
        stream.publish();
        assert_eq!(stream.sent(), NONE);
        let status = &stream.subscriber.status()[0];
        assert!(status.in_sync && status.version_acked == status.version_sent);
    }
}

#[test]
fn one_response_per_type_is_unacknowledged_and_only_the_newest_state_waits() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1)])]);
        stream.subscribe(CDS, &[]);
        assert_eq!(stream.sent(), ["CDS: a=1"]);
        for content in [2, 3, 4] {
            stream.change(CDS, "a", Some(content));
            stream.publish();
            assert_eq!(stream.sent(), NONE);
        }
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), ["CDS: a=4"]);
    }
}

#[test]
fn a_change_that_is_taken_back_while_it_waits_is_not_sent() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1)])]);
        stream.subscribe(CDS, &[]);
        stream.sent();
        for content in [Some(2), None, Some(1)] {
            stream.change(CDS, "a", content);
            stream.publish();
        }
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), NONE);
    }
}

#[test]
fn an_answer_with_an_old_nonce_is_ignored() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1)])]);
        stream.subscribe(CDS, &[]);
        stream.sent();
        let old = stream.nonce(CDS);
        stream.ack(CDS, &[]);
        stream.change(CDS, "a", Some(2));
        stream.publish();
        assert_eq!(stream.sent(), ["CDS: a=2"]);
        let latest = std::mem::replace(&mut stream.nonces, vec![(CDS.into(), old.clone().into())]);
        let events = stream.answer(CDS, &[], None);
        assert_eq!(events, [Event::Stale { type_url: CDS.into(), nonce: old }]);
        assert!(!stream.subscriber.status()[0].in_sync);
        stream.nonces = latest;
        stream.ack(CDS, &[]);
    }
}

#[test]
fn sotw_endpoints_of_new_names_are_sent_and_dropping_names_is_not_answered() {
    let mut stream = Stream::open(Variant::Sotw, &[(EDS, &[("a", 1), ("b", 1), ("c", 1)])]);
    stream.subscribe(EDS, &["a"]);
    assert_eq!(stream.sent(), ["EDS: a=1"]);
    stream.ack(EDS, &["a"]);
    stream.subscribe(EDS, &["a", "b", "nowhere"]);
    assert_eq!(stream.sent(), ["EDS: b=1"]);
    // The acknowledgement itself may bring names.
    stream.answer(EDS, &["b", "c", "nowhere"], None);
    assert_eq!(stream.sent(), ["EDS: c=1"]);
    stream.ack(EDS, &["c"]);
    assert_eq!(stream.sent(), NONE);
    stream.change(EDS, "a", Some(2));
    stream.publish();
    assert_eq!(stream.sent(), NONE, "a is no longer watched");
    stream.subscribe(EDS, &[]);
    stream.change(EDS, "c", Some(2));
    stream.publish();
    assert_eq!(stream.sent(), NONE, "an empty list later on ends the subscription");
}

#[test]
fn a_new_name_without_resource_is_answered_at_once() {
    for (variant, expected) in [(Variant::Sotw, "RDS:"), (Variant::Delta, "RDS: -r")] {
        let mut stream = Stream::open(variant, &[(RDS, &[])]);
        stream.subscribe(RDS, &["r"]);
        assert_eq!(stream.sent(), [expected]);
        stream.ack(RDS, &["r"]);
        stream.change(RDS, "r", Some(1));
        stream.publish();
        assert_eq!(stream.sent(), ["RDS: r=1"]);
    }
}

#[test]
fn sotw_sends_all_clusters_but_only_the_endpoints_that_changed() {
    let mut stream = Stream::open(Variant::Sotw, &[(CDS, &[("a", 1), ("b", 1)]), (EDS, &[("a", 1), ("b", 1)])]);
    stream.subscribe(CDS, &[]);
    stream.subscribe(EDS, &["a", "b"]);
    let names: &[(&str, &[&str])] = &[(EDS, &["a", "b"])];
    assert_eq!(stream.settled(names), ["CDS: a=1 b=1", "EDS: a=1 b=1"]);
    stream.change(EDS, "b", Some(2));
    stream.publish();
    assert_eq!(stream.settled(names), ["EDS: b=2"]);
    stream.change(CDS, "b", Some(2));
    stream.publish();
    assert_eq!(stream.settled(names), ["CDS: a=1 b=2", "EDS: b=2"]);
}

#[test]
fn endpoints_are_sent_once_more_after_their_cluster_for_it_is_warmed_anew() {
    let mut stream = Stream::open(Variant::Delta, &[(CDS, &[("a", 1), ("b", 1)]), (EDS, &[("a", 1), ("b", 1)])]);
    stream.subscribe(CDS, &[]);
    stream.subscribe(EDS, &["a", "b"]);
    stream.settled(&[]);
    stream.change(CDS, "a", Some(2));
    stream.publish();
    assert_eq!(stream.settled(&[]), ["CDS: a=2", "EDS: a=1"]);
}

#[test]
fn an_explicit_wildcard_asks_for_all_beside_names() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1), ("b", 1)])]);
        stream.subscribe(CDS, &["a"]);
        assert_eq!(stream.settled(&[(CDS, &["a"])]), ["CDS: a=1"]);
        stream.subscribe(CDS, &["*", "a"]);
        assert_eq!(stream.settled(&[(CDS, &["*", "a"])]), ["CDS: a=1 b=1"], "{variant:?}");
        let status = &stream.subscriber.status()[0];
        assert!(status.wildcard && status.names.len() == 1);
    }
}

#[test]
fn a_refused_response_is_not_sent_again_until_its_content_changes() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1)]), (RDS, &[("r", 1)])]);
        stream.subscribe(CDS, &[]);
        stream.subscribe(RDS, &["r"]);
        stream.sent();
        let events = stream.answer(CDS, &[], Some("bad cluster"));
        assert!(matches!(&events[..], [Event::Nacked { error, .. }] if &**error == "bad cluster"), "{events:?}");
        stream.answer(RDS, &["r"], Some("bad route"));
        stream.publish();
        assert_eq!(stream.sent(), NONE);
        let status = stream.subscriber.status();
        assert_eq!(status[0].last_error.as_deref(), Some("bad cluster"));
        assert!(!status[0].in_sync && status[0].nonce_nacked.is_some() && status[0].nonce_acked.is_none());
        stream.change(CDS, "a", Some(2));
        stream.change(RDS, "r", Some(2));
        stream.publish();
        assert_eq!(stream.settled(&[(RDS, &["r"])]), ["CDS: a=2", "RDS: r=2"]);
        assert_eq!(stream.subscriber.status()[0].last_error, None);
    }
}

#[test]
fn what_was_refused_together_is_tried_again_when_one_of_it_changes() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(RDS, &[("bad", 1), ("good", 1), ("other", 1)])]);
        stream.subscribe(RDS, &["bad", "good"]);
        stream.sent();
        stream.answer(RDS, &["bad", "good", "other"], Some("bad route"));
        if variant == Variant::Delta {
            stream.subscribe(RDS, &["other"]);
        }
        assert_eq!(stream.sent(), ["RDS: other=1"], "the refused ones do not stand in the way of others");
        stream.ack(RDS, &["bad", "good", "other"]);
        assert!(!stream.subscriber.status()[0].in_sync);
        stream.change(RDS, "bad", Some(2));
        stream.publish();
        assert_eq!(stream.sent(), ["RDS: bad=2 good=1"]);
        stream.ack(RDS, &["bad", "good", "other"]);
        assert!(stream.subscriber.status()[0].in_sync);
    }
}

#[test]
fn delta_resources_that_the_proxy_holds_already_are_not_sent_and_those_gone_are_removed() {
    let mut stream = Stream::open(Variant::Delta, &[(CDS, &[("a", 1), ("b", 2), ("new", 1)])]);
    let version = |name, content| format!("{:016x}", named(name, content).version);
    let held = [("a", version("a", 1)), ("b", version("b", 1)), ("gone", version("gone", 1)), ("odd", "7".to_owned())];
    let events = stream.delta(DeltaDiscoveryRequest {
        type_url: CDS.to_owned(),
        initial_resource_versions: held.map(|(name, version)| (name.to_owned(), version)).into(),
        ..DeltaDiscoveryRequest::default()
    });
    assert!(matches!(&events[..], [Event::Identified(_), Event::Subscribed { wildcard: true, .. }]), "{events:?}");
    assert_eq!(stream.sent(), ["CDS: b=2 new=1 -gone -odd"]);
}

#[test]
fn delta_names_come_and_go_one_by_one() {
    let mut stream = Stream::open(Variant::Delta, &[(EDS, &[("a", 1), ("b", 1)])]);
    stream.subscribe(EDS, &["a", "b"]);
    assert_eq!(stream.settled(&[]), ["EDS: a=1 b=1"]);
    let unsubscribe = DeltaDiscoveryRequest {
        type_url: EDS.to_owned(),
        resource_names_unsubscribe: vec!["a".to_owned(), "never".to_owned()],
        ..DeltaDiscoveryRequest::default()
    };
    let events = stream.delta(unsubscribe);
    assert!(matches!(&events[..], [Event::Subscribed { names: 1, .. }]), "{events:?}");
    stream.change(EDS, "a", Some(2));
    stream.change(EDS, "b", None);
    stream.publish();
    assert_eq!(stream.settled(&[]), ["EDS: -b"]);
    stream.subscribe(EDS, &["a"]);
    assert_eq!(stream.settled(&[]), ["EDS: a=2"]);
    stream.subscribe(EDS, &["a"]);
    assert_eq!(stream.settled(&[]), ["EDS: a=2"], "asked for again, sent again");
}

#[test]
fn delta_names_in_an_answer_that_comes_too_late_count() {
    let mut stream = Stream::open(Variant::Delta, &[(EDS, &[("a", 1)])]);
    stream.subscribe(EDS, &[]);
    let events = stream.delta(DeltaDiscoveryRequest {
        type_url: EDS.to_owned(),
        response_nonce: "from another life".to_owned(),
        resource_names_subscribe: vec!["a".to_owned()],
        ..DeltaDiscoveryRequest::default()
    });
    assert!(matches!(&events[..], [Event::Stale { .. }, Event::Subscribed { .. }]), "{events:?}");
    assert_eq!(stream.sent(), ["EDS: a=1"]);
}

#[test]
fn a_first_request_on_the_same_stream_starts_the_type_over() {
    let mut stream = Stream::open(Variant::Sotw, &[(CDS, &[("a", 1)]), (EDS, &[("a", 1)])]);
    stream.subscribe(CDS, &[]);
    stream.subscribe(EDS, &["a"]);
    stream.settled(&[(EDS, &["a"])]);
    stream.sotw(CDS, "", &[], None);
    assert_eq!(stream.settled(&[(EDS, &["a"])]), ["CDS: a=1", "EDS: a=1"]);
}

#[test]
fn other_names_before_the_first_response_has_arrived_wait_for_its_answer() {
    let mut stream = Stream::open(Variant::Sotw, &[(EDS, &[("a", 1), ("b", 1)])]);
    stream.sotw(EDS, "", &["a"], None);
    assert_eq!(stream.sent(), ["EDS: a=1"]);
    stream.sotw(EDS, "", &["a", "b"], None);
    assert_eq!(stream.sent(), NONE);
    stream.ack(EDS, &["a", "b"]);
    assert_eq!(stream.sent(), ["EDS: b=1"]);
}

#[test]
fn names_that_cross_with_a_response_count_and_those_with_a_nonce_from_nowhere_do_not() {
    let mut stream = Stream::open(Variant::Sotw, &[(EDS, &[("a", 1), ("b", 1)])]);
    stream.subscribe(EDS, &["a", "b"]);
    stream.sent();
    let old = stream.nonce(EDS);
    stream.ack(EDS, &["a", "b"]);
    stream.sotw(EDS, "nowhere", &["a", "b", "c"], None);
    assert_eq!(stream.sent(), NONE);
    stream.change(EDS, "a", Some(2));
    stream.publish();
    assert_eq!(stream.sent(), ["EDS: a=2"]);
    // The proxy drops b and wants it again before that response reaches it.
    stream.sotw(EDS, &old, &["a"], None);
    stream.sotw(EDS, &old, &["a", "b"], None);
    assert_eq!(stream.sent(), NONE);
    stream.ack(EDS, &["a", "b"]);
    assert_eq!(stream.sent(), ["EDS: b=1"]);
}

#[test]
fn an_offered_set_outlives_snapshots_that_lack_the_type() {
    let mut stream = Stream::open(Variant::Sotw, &[(CDS, &[])]);
    stream.subscribe("debug", &["syncz"]);
    stream.subscriber.offer("debug", &Arc::new(ResourceSet::new([named("syncz", 1)])));
    assert_eq!(stream.settled(&[("debug", &["syncz"])]), ["debug: syncz=1"]);
    stream.publish();
    assert_eq!(stream.sent(), NONE);
    stream.subscriber.offer("debug", &Arc::new(ResourceSet::new([named("syncz", 2)])));
    assert_eq!(stream.sent(), ["debug: syncz=2"]);
}

#[test]
fn what_does_not_fit_into_one_response_follows_in_the_next() {
    for variant in BOTH {
        let large = |name: &str| Resource::from_bytes(name, vec![0; RESPONSE_BYTES / 2].into());
        let set = ResourceSet::new(["a", "b", "c"].map(large));
        let mut stream = Stream::open(variant, &[]);
        stream.snapshot = Snapshot::new([(EDS, Arc::new(set))]);
        stream.publish();
        stream.subscribe(EDS, &["a", "b", "c"]);
        assert_eq!(stream.sent(), ["EDS: a=0"]);
        stream.ack(EDS, &["a", "b", "c"]);
        assert_eq!(stream.settled(&[(EDS, &["a", "b", "c"])]), ["EDS: b=0", "EDS: c=0"]);
    }
}

#[test]
fn an_endless_error_text_is_cut_between_characters() {
    let mut stream = Stream::open(Variant::Sotw, &[(CDS, &[("a", 1)])]);
    stream.subscribe(CDS, &[]);
    stream.sent();
    stream.answer(CDS, &[], Some(&"é".repeat(ERROR_BYTES_MAX)));
    assert_eq!(stream.subscriber.status()[0].last_error.as_ref().unwrap().len(), ERROR_BYTES_MAX);
}

#[test]
fn the_assembled_bytes_are_the_message() {
    let long = "n".repeat(200);
    let resources = vec![Resource::from_bytes("a", vec![7; 300].into()), Resource::from_bytes(&*long, "".into())];
    let response = Response::new(EDS.into(), "1-2".into(), resources.clone(), vec!["gone".into()], false);
    let sotw = DiscoveryResponse::decode(response.encode(Variant::Sotw)).unwrap();
    assert_eq!((&*sotw.version_info, &*sotw.nonce, &*sotw.type_url), (&*response.version, "1-2", EDS));
    assert_eq!(sotw.resources.iter().map(|any| any.value.len()).collect::<Vec<_>>(), [300, 0]);
    assert!(sotw.resources.iter().all(|any| any.type_url == EDS));
    let delta = DeltaDiscoveryResponse::decode(response.encode(Variant::Delta)).unwrap();
    assert_eq!((&*delta.system_version_info, &*delta.nonce), (&*response.version, "1-2"));
    assert_eq!(delta.removed_resources, ["gone"]);
    for (decoded, resource) in delta.resources.iter().zip(&resources) {
        assert_eq!(decoded.name, *resource.name);
        assert_eq!(decoded.version, format!("{:016x}", resource.version));
        assert_eq!(decoded.resource.as_ref().unwrap().value, resource.body);
    }
}

#[test]
fn equal_content_has_one_version_on_every_stream() {
    let version = |stream| {
        let mut subscriber = Subscriber::new(Variant::Sotw, stream);
        subscriber.on_snapshot(Arc::new(snapshot(&[(CDS, &[("a", 1)])])));
        let node = Some(Node { id: "p".to_owned(), ..Node::default() });
        let request = DiscoveryRequest { node, type_url: CDS.to_owned(), ..DiscoveryRequest::default() };
        subscriber.on_request(Request::Sotw(Box::new(request)), Instant::now()).unwrap();
        subscriber.poll(Instant::now()).unwrap()
    };
    let (one, two) = (version(1), version(2));
    assert_eq!(one.version, two.version);
    assert_ne!(one.nonce, two.nonce);
}

#[test]
fn an_acknowledgement_tells_how_long_it_took() {
    let mut stream = Stream::open(Variant::Sotw, &[(CDS, &[("a", 1)])]);
    stream.subscribe(CDS, &[]);
    stream.sent();
    stream.now += Duration::from_millis(7);
    let events = stream.answer(CDS, &[], None);
    assert!(matches!(&events[..], [Event::Acked { after, .. }] if *after == Duration::from_millis(7)), "{events:?}");
}
