//! Make before break: what waits for what, and for how long.

use super::*;

/// Cluster "new" replaces "old", and the route "r" moves from one to the other.
fn cluster_is_replaced(variant: Variant) -> Stream {
    let mut stream = Stream::open(variant, &[(CDS, &[("old", 1)]), (LDS, &[("l", 1)]), (RDS, &[("r", 1)])]);
    stream.subscribe(CDS, &[]);
    stream.subscribe(LDS, &[]);
    stream.subscribe(RDS, &["r"]);
    assert_eq!(stream.settled(&[(RDS, &["r"])]).len(), 3);
    stream.change(CDS, "old", None);
    stream.change(CDS, "new", Some(1));
    stream.snapshot = snapshot(&[(CDS, &[("new", 1)]), (LDS, &[("l", 1)]), (RDS, &[("r", 2)])]);
    stream.publish();
    stream
}

#[test]
fn removed_cluster_outlives_the_routes_that_name_it() {
    for (variant, expected) in [
        (Variant::Sotw, ["CDS: new=1 old=1", "RDS: r=2", "CDS: new=1"]),
        (Variant::Delta, ["CDS: new=1", "RDS: r=2", "CDS: -old"]),
    ] {
        let mut stream = cluster_is_replaced(variant);
        assert_eq!(stream.sent(), expected[..1]);
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), expected[1..2]);
        assert_eq!(stream.sent(), NONE, "the route is not acknowledged");
        stream.ack(RDS, &["r"]);
        assert_eq!(stream.sent(), expected[2..]);
        stream.ack(CDS, &[]);
        assert!(stream.subscriber.status().iter().all(|status| status.in_sync));
    }
}

#[test]
fn a_removal_does_not_wait_for_ever() {
    for (variant, expected) in [(Variant::Sotw, "CDS: new=1"), (Variant::Delta, "CDS: -old")] {
        let mut stream = cluster_is_replaced(variant);
        stream.sent();
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), ["RDS: r=2"]);
        stream.answer(RDS, &["r"], Some("I keep the old route"));
        assert_eq!(stream.sent(), NONE);
        assert_eq!(stream.subscriber.wake_at(stream.now), Some(stream.now + WAIT_MAX));
        stream.now += WAIT_MAX;
        assert_eq!(stream.sent(), [expected]);
        assert_eq!(stream.subscriber.wake_at(stream.now), None);
    }
}

#[test]
fn a_cluster_that_returns_while_its_removal_waits_is_not_removed() {
    for variant in BOTH {
        let mut stream = cluster_is_replaced(variant);
        stream.sent();
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), ["RDS: r=2"]);
        stream.change(CDS, "old", Some(1));
        stream.publish();
        stream.ack(RDS, &["r"]);
        assert_eq!(stream.sent(), NONE);
    }
}

#[test]
fn a_removal_that_nothing_refers_to_is_sent_at_once() {
    for (variant, expected) in [(Variant::Sotw, "CDS: b=1"), (Variant::Delta, "CDS: -a")] {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1), ("b", 1)])]);
        stream.subscribe(CDS, &[]);
        stream.settled(&[]);
        stream.change(CDS, "a", None);
        stream.publish();
        assert_eq!(stream.settled(&[]), [expected]);
    }
}

#[test]
fn a_route_waits_for_the_cluster_that_waits_for_an_acknowledgement() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1)]), (RDS, &[("r", 1)])]);
        stream.subscribe(CDS, &[]);
        stream.subscribe(RDS, &["r"]);
        stream.settled(&[(RDS, &["r"])]);
        stream.change(CDS, "a", Some(2));
        stream.publish();
        assert_eq!(stream.sent().len(), 1);
        stream.change(CDS, "b", Some(1));
        stream.change(RDS, "r", Some(2));
        stream.publish();
        assert_eq!(stream.sent(), NONE, "r may name b, which has not been sent");
        assert_eq!(stream.subscriber.wake_at(stream.now), Some(stream.now + WAIT_MAX));
        let later = Stream { now: stream.now + WAIT_MAX, ..stream };
        stream = later;
        assert_eq!(stream.sent(), ["RDS: r=2"], "but not for ever");
    }
}

#[test]
fn a_route_to_a_new_cluster_follows_the_clusters_endpoints() {
    for variant in BOTH {
        let sets: Sets<'_> = &[(CDS, &[("a", 1)]), (EDS, &[("a", 1)]), (RDS, &[("r", 1)])];
        let mut stream = Stream::open(variant, sets);
        stream.subscribe(CDS, &[]);
        stream.subscribe(EDS, &["a"]);
        stream.subscribe(RDS, &["r"]);
        stream.settled(&[(EDS, &["a"]), (RDS, &["r"])]);
        stream.change(CDS, "b", Some(1));
        stream.change(EDS, "b", Some(1));
        stream.change(RDS, "r", Some(2));
        stream.publish();
        assert_eq!(stream.sent().len(), 1, "the clusters alone");
        // As Envoy does: it asks for endpoints, then acknowledges the clusters.
        stream.subscribe(EDS, &["a", "b"]);
        let asked = if variant == Variant::Sotw { ["EDS: b=1"].to_vec() } else { ["EDS: a=1 b=1"].to_vec() };
        assert_eq!(stream.sent(), asked);
        stream.ack(CDS, &[]);
        assert_eq!(stream.sent(), ["RDS: r=2"]);
    }
}

#[test]
fn what_a_proxy_asks_for_does_not_wait_for_its_acknowledgements() {
    for variant in BOTH {
        let mut stream = Stream::open(variant, &[(CDS, &[("a", 1)]), (LDS, &[("l", 1)]), (RDS, &[("r", 1), ("s", 1)])]);
        stream.subscribe(CDS, &[]);
        assert_eq!(stream.sent(), ["CDS: a=1"]);
        stream.subscribe(LDS, &[]);
        stream.subscribe(RDS, &["r"]);
        assert_eq!(stream.sent(), ["LDS: l=1", "RDS: r=1"]);
        stream.ack(RDS, &["r"]);
        stream.subscribe(RDS, &["r", "s"]);
        assert_eq!(stream.sent().len(), 1);
    }
}
