//! Rules of the client, one by one.
#![allow(clippy::unwrap_used)]

use mesh_proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use mesh_proto::types::{CLUSTER as CDS, ENDPOINT as EDS, LISTENER as LDS};
use mesh_proto::{Message, any};

use super::*;
use crate::tests::named;

fn client(variant: Variant) -> AdsClient {
    let mut client = AdsClient::new(variant, Node { id: "proxy".to_owned(), ..Node::default() });
    client.on_connect();
    client
}

fn names(names: &[&str]) -> Wanted {
    Wanted::Names(names.iter().map(|name| (*name).to_owned()).collect())
}

fn packed(type_url: &str, name: &str) -> Any {
    Any { type_url: type_url.to_owned(), value: named(name, 1).body.to_vec() }
}

fn sotw(type_url: &str, nonce: &str, names: &[&str]) -> Reply {
    Reply::Sotw(Box::new(DiscoveryResponse {
        version_info: format!("v{nonce}"),
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources: names.iter().map(|name| packed(type_url, name)).collect(),
        ..DiscoveryResponse::default()
    }))
}

fn delta(type_url: &str, nonce: &str, added: &[(&str, &str)], removed: &[&str]) -> Reply {
    let resource = |(name, version): &(&str, &str)| Resource {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        resource: Some(packed(type_url, name)),
        ..Resource::default()
    };
    Reply::Delta(Box::new(DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources: added.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }))
}

fn next_sotw(client: &mut AdsClient) -> DiscoveryRequest {
    match client.poll_request() {
        Some(Request::Sotw(request)) => *request,
        other => panic!("expected a request, found {other:?}"),
    }
}

fn next_delta(client: &mut AdsClient) -> DeltaDiscoveryRequest {
    match client.poll_request() {
        Some(Request::Delta(request)) => *request,
        other => panic!("expected a request, found {other:?}"),
    }
}

#[test]
fn requests_come_in_push_order_and_only_the_first_carries_the_node() {
    let mut client = client(Variant::Sotw);
    client.want(LDS, Wanted::Wildcard);
    client.want(EDS, names(&["a"]));
    client.want(CDS, Wanted::Wildcard);
    let requests: Vec<_> = (0..3).map(|_| next_sotw(&mut client)).collect();
    assert_eq!(requests.iter().map(|r| &*r.type_url).collect::<Vec<_>>(), [CDS, EDS, LDS]);
    assert_eq!(requests.iter().map(|r| r.node.is_some()).collect::<Vec<_>>(), [true, false, false]);
    assert!(requests[0].resource_names.is_empty() && requests[1].resource_names == ["a"]);
    assert_eq!(client.poll_request(), None);
    client.want(CDS, Wanted::Wildcard);
    assert_eq!(client.poll_request(), None, "nothing new is wanted");
}

#[test]
fn a_sotw_answer_carries_the_last_good_version() {
    let mut client = client(Variant::Sotw);
    client.want(CDS, Wanted::Wildcard);
    next_sotw(&mut client);
    let update = client.on_response(sotw(CDS, "1", &["a", "b"])).unwrap();
    assert!(update.full && update.removed.is_empty());
    client.ack(CDS, "1");
    let ack = next_sotw(&mut client);
    assert_eq!((&*ack.version_info, &*ack.response_nonce, ack.error_detail), ("v1", "1", None));
    let update = client.on_response(sotw(CDS, "2", &["b"])).unwrap();
    assert_eq!(update.removed, ["a"]);
    client.nack(CDS, "2", "no");
    let nack = next_sotw(&mut client);
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("v1", "2"));
    assert_eq!(nack.error_detail.unwrap().message, "no");
    assert_eq!(client.held(CDS).map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
    // What was refused may have been put in force in part.
    client.on_response(sotw(CDS, "3", &["a", "b", "c"])).unwrap();
    client.nack(CDS, "3", "no");
    assert_eq!(client.on_response(sotw(CDS, "4", &["b"])).unwrap().removed, ["a", "c"]);
}

#[test]
fn a_sotw_response_of_a_type_watched_by_name_removes_nothing() {
    let mut client = client(Variant::Sotw);
    client.want(EDS, names(&["a", "b"]));
    client.on_response(sotw(EDS, "1", &["a", "b", "not asked for"])).unwrap();
    client.ack(EDS, "1");
    let update = client.on_response(sotw(EDS, "2", &["b"])).unwrap();
    assert!(!update.full && update.removed.is_empty());
    client.ack(EDS, "2");
    assert_eq!(client.held(EDS).count(), 2);
    client.want(EDS, names(&["b"]));
    assert_eq!(client.held(EDS).count(), 1);
}

#[test]
fn a_reconnected_sotw_client_asks_for_everything_with_its_last_good_version() {
    let mut client = client(Variant::Sotw);
    client.want(CDS, Wanted::Wildcard);
    client.want(EDS, names(&["a"]));
    while client.poll_request().is_some() {}
    client.on_response(sotw(CDS, "1", &["a"])).unwrap();
    client.ack(CDS, "1");
    client.on_connect();
    let (first, second) = (next_sotw(&mut client), next_sotw(&mut client));
    assert!(first.node.is_some() && first.version_info == "v1" && first.response_nonce.is_empty());
    assert_eq!((&*second.type_url, &*second.version_info), (EDS, ""));
    assert_eq!(client.poll_request(), None, "the answer to the old stream is not sent");
}

#[test]
fn a_reconnected_delta_client_says_what_it_holds() {
    let mut client = client(Variant::Delta);
    client.want(CDS, Wanted::Wildcard);
    assert!(next_delta(&mut client).resource_names_subscribe.is_empty());
    client.on_response(delta(CDS, "1", &[("a", "va"), ("b", "vb")], &[])).unwrap();
    client.ack(CDS, "1");
    client.on_response(delta(CDS, "2", &[("c", "vc")], &["a"])).unwrap();
    client.ack(CDS, "2");
    client.on_response(delta(CDS, "3", &[("b", "refused")], &["c"])).unwrap();
    client.nack(CDS, "3", "no");
    let answers: Vec<_> = (0..3).map(|_| next_delta(&mut client)).collect();
    assert_eq!(answers.iter().map(|r| r.error_detail.is_some()).collect::<Vec<_>>(), [false, false, true]);
    // An update that arrived before the connection broke is answered after.
    client.on_response(delta(CDS, "4", &[("d", "vd")], &[])).unwrap();
    client.on_connect();
    let first = next_delta(&mut client);
    let expected = [("b", "vb"), ("c", "vc"), ("d", "")];
    assert_eq!(first.initial_resource_versions, expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into());
    assert!(first.node.is_some());
    client.ack(CDS, "4");
    assert_eq!(client.poll_request(), None);
    assert_eq!(client.held(CDS).last(), Some(("d", "vd")), "but it counts");
}

#[test]
fn delta_names_are_told_as_differences() {
    let mut client = client(Variant::Delta);
    client.want(EDS, names(&["a", "b"]));
    assert_eq!(next_delta(&mut client).resource_names_subscribe, ["a", "b"]);
    client.want(EDS, names(&["b", "c"]));
    let request = next_delta(&mut client);
    assert_eq!(
        (request.resource_names_subscribe, request.resource_names_unsubscribe),
        (vec!["c".into()], vec!["a".into()])
    );
    client.want(EDS, Wanted::Wildcard);
    let request = next_delta(&mut client);
    assert_eq!(request.resource_names_subscribe, ["*"]);
    client.want(EDS, names(&[]));
    assert_eq!(next_delta(&mut client).resource_names_unsubscribe, ["*"]);
}

#[test]
fn a_name_that_is_dropped_and_wanted_again_is_asked_for_again() {
    let mut delta = client(Variant::Delta);
    delta.want(EDS, names(&["a"]));
    next_delta(&mut delta);
    delta.want(EDS, names(&[]));
    delta.want(EDS, names(&["a"]));
    assert_eq!(next_delta(&mut delta).resource_names_unsubscribe, ["a"]);
    assert_eq!(next_delta(&mut delta).resource_names_subscribe, ["a"]);
    assert_eq!(delta.poll_request(), None);
    let mut sotw = client(Variant::Sotw);
    sotw.want(EDS, names(&["a"]));
    next_sotw(&mut sotw);
    sotw.want(EDS, names(&[]));
    sotw.want(EDS, names(&["a"]));
    assert!(next_sotw(&mut sotw).resource_names.is_empty());
    assert_eq!(next_sotw(&mut sotw).resource_names, ["a"]);
}

#[test]
fn wanted_endpoints_are_asked_for_before_the_clusters_are_acknowledged() {
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut client = client(variant);
        client.want(CDS, Wanted::Wildcard);
        client.poll_request();
        let reply = if variant == Variant::Sotw { sotw(CDS, "1", &["a"]) } else { delta(CDS, "1", &[("a", "v")], &[]) };
        client.on_response(reply).unwrap();
        client.ack(CDS, "1");
        client.want(EDS, names(&["a"]));
        let types = [client.poll_request(), client.poll_request()].map(|r| r.unwrap().type_url().to_owned());
        assert_eq!(types, [EDS, CDS]);
    }
}

#[test]
fn once_names_were_listed_everything_is_asked_for_by_the_wildcard() {
    let mut client = client(Variant::Sotw);
    client.want(CDS, names(&["a"]));
    next_sotw(&mut client);
    client.want(CDS, Wanted::Wildcard);
    assert_eq!(next_sotw(&mut client).resource_names, ["*"]);
}

#[test]
fn a_response_that_cannot_be_used_is_refused_and_says_why() {
    let other_type = Reply::Sotw(Box::new(DiscoveryResponse {
        type_url: CDS.to_owned(),
        nonce: "n".to_owned(),
        resources: vec![packed(CDS, "fine"), packed(LDS, "odd")],
        ..DiscoveryResponse::default()
    }));
    let nameless = Reply::Sotw(Box::new(DiscoveryResponse {
        type_url: CDS.to_owned(),
        nonce: "n".to_owned(),
        resources: vec![Any { type_url: CDS.to_owned(), value: vec![0xff; 9] }],
        ..DiscoveryResponse::default()
    }));
    for (reply, expected) in [
        (other_type, "resource 1: \"odd\" is a"),
        (nameless, "resource 0: it has no name"),
        (sotw(CDS, "n", &["a", "b", "a"]), "resource 2: \"a\" is in it twice"),
    ] {
        let mut client = client(Variant::Sotw);
        client.want(CDS, Wanted::Wildcard);
        next_sotw(&mut client);
        let error = client.on_response(reply).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let nack = next_sotw(&mut client);
        assert_eq!((&*nack.response_nonce, nack.error_detail.unwrap().message), ("n", error));
    }
}

#[test]
fn what_was_not_asked_for_and_what_is_of_the_other_variant_is_ignored() {
    let mut client = client(Variant::Sotw);
    let unwanted = client.on_response(sotw(CDS, "1", &["a"]));
    assert_eq!(unwanted, Err(ResponseError::Unwanted { type_url: CDS.to_owned() }));
    let other = client.on_response(delta(CDS, "1", &[], &[]));
    assert_eq!(other, Err(ResponseError::OtherVariant(Variant::Sotw)));
    assert_eq!(client.poll_request(), None);
}

#[test]
fn a_wrapped_sotw_resource_is_unwrapped() {
    let wrapper = Resource { name: "w".to_owned(), resource: Some(packed(CDS, "inner")), ..Resource::default() };
    let reply = DiscoveryResponse {
        type_url: CDS.to_owned(),
        resources: vec![any::pack(&wrapper)],
        ..DiscoveryResponse::default()
    };
    let reply = DiscoveryResponse::decode(reply.encode_to_vec().as_slice()).unwrap();
    let mut client = client(Variant::Sotw);
    client.want(CDS, Wanted::Wildcard);
    let update = client.on_response(Reply::Sotw(Box::new(reply))).unwrap();
    assert_eq!(update.added, [("w".to_owned(), packed(CDS, "inner"))]);
}
