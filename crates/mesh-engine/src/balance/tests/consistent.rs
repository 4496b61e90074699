//! The ring and Maglev's table: shares, stability, and what a retry gets.

use super::*;

const RING: &str = "lb_policy: RING_HASH";
const MAGLEV: &str = "lb_policy: MAGLEV, maglev_lb_config: {table_size: 1031}";

fn hashed(yaml: &str, endpoints: Vec<Endpoint>) -> Cluster {
    cluster(yaml, vec![locality("a", 0, None, endpoints)])
}

fn equal(count: u8) -> Vec<Endpoint> {
    (1..=count).map(|i| endpoint(i, 1, Health::Healthy)).collect()
}

/// The last byte of the address that `hash` leads to.
fn of(cluster: &Cluster, hash: u64) -> u8 {
    let context = PickContext { hash: Some(hash), ..Default::default() };
    last_byte(&cluster.pick_endpoint(&context, &mut rng()).unwrap())
}

fn keys() -> impl Iterator<Item = u64> {
    (0..4_000u64).map(|i| xxhash_rust::xxh64::xxh64(&i.to_le_bytes(), 7))
}

#[test]
fn the_same_hash_leads_to_the_same_host_whatever_the_order_of_hosts() {
    for yaml in [RING, MAGLEV] {
        let (one, mut turned) = (hashed(yaml, equal(7)), equal(7));
        turned.reverse();
        let other = hashed(yaml, turned);
        assert!(keys().all(|hash| of(&one, hash) == of(&other, hash)), "{yaml}");
    }
}

#[test]
fn a_host_that_goes_moves_few_keys_of_others() {
    // The others get more places on a ring of the same size, and so a few keys.
    for (yaml, moved_max) in [(RING, 450), (MAGLEV, 400)] {
        let (before, after) = (hashed(yaml, equal(8)), hashed(yaml, equal(7)));
        let stay = keys().filter(|hash| of(&before, *hash) != 8);
        let moved = stay.filter(|hash| of(&before, *hash) != of(&after, *hash)).count();
        assert!(moved <= moved_max, "{yaml}: {moved}");
    }
}

#[test]
fn shares_track_weights() {
    let endpoints = || vec![endpoint(1, 1, Health::Healthy), endpoint(2, 3, Health::Healthy)];
    let ring = "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 20000}";
    for yaml in [ring, MAGLEV] {
        let cluster = hashed(yaml, endpoints());
        let share = keys().filter(|hash| of(&cluster, *hash) == 2).count() as f64 / 4_000.0;
        assert!((share - 0.75).abs() < 0.03, "{yaml}: {share}");
        let told = cluster.hosts().probabilities();
        assert!((told[1] - 0.75).abs() < 0.03 && (told.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{yaml}: {told:?}");
    }
}

#[test]
fn unhealthy_hosts_are_off_the_ring_unless_in_panic() {
    let hosts = |healthy: u8| {
        let health = |i| if i <= healthy { Health::Healthy } else { Health::Unhealthy };
        (1..=4).map(|i| endpoint(i, 1, health(i))).collect::<Vec<_>>()
    };
    for yaml in [RING, MAGLEV] {
        let calm = hashed(yaml, hosts(3));
        assert!(keys().all(|hash| of(&calm, hash) <= 3), "{yaml}");
        let panic = hashed(yaml, hosts(1));
        assert!(keys().any(|hash| of(&panic, hash) > 1), "{yaml}");
    }
}

#[test]
fn priorities_share_hashes_by_health() {
    let first = (1..=4).map(|i| endpoint(i, 1, if i == 1 { Health::Healthy } else { Health::Unhealthy })).collect();
    let second = vec![endpoint(9, 1, Health::Healthy)];
    let yaml = format!("{RING}, common_lb_config: {{healthy_panic_threshold: {{value: 0}}}}");
    let cluster = cluster(&yaml, vec![locality("a", 0, None, first), locality("b", 1, None, second)]);
    let share = keys().filter(|hash| of(&cluster, *hash) == 9).count() as f64 / 4_000.0;
    assert!((share - 0.65).abs() < 0.03, "1.4 times a quarter is 35%: {share}");
}

#[test]
fn weights_of_localities_count_where_they_are_asked_for() {
    let groups = || {
        let one = (1..=3).map(|i| endpoint(i, 1, Health::Healthy)).collect();
        vec![locality("a", 0, Some(1), one), locality("b", 0, Some(3), vec![endpoint(9, 1, Health::Healthy)])]
    };
    let weighted = "lb_policy: MAGLEV, common_lb_config: {locality_weighted_lb_config: {}}";
    for (yaml, expected) in [(weighted, 0.75), ("lb_policy: MAGLEV", 0.25)] {
        let cluster = cluster(yaml, groups());
        let share = keys().filter(|hash| of(&cluster, *hash) == 9).count() as f64 / 4_000.0;
        assert!((share - expected).abs() < 0.03, "{yaml}: {share}");
    }
}

#[test]
fn a_retry_that_avoids_hosts_goes_on_to_another() {
    for yaml in [RING, MAGLEV] {
        let cluster = hashed(yaml, equal(3));
        for hash in keys().take(100) {
            let first = of(&cluster, hash);
            let previous: Vec<Arc<Host>> =
                cluster.hosts().members.iter().map(|m| m.host.clone()).filter(|h| last_byte(h) == first).collect();
            let context =
                PickContext { hash: Some(hash), previous: &previous, avoid_attempts: 20, ..Default::default() };
            assert_ne!(last_byte(&cluster.pick_endpoint(&context, &mut rng()).unwrap()), first, "{yaml}");
            let stays = PickContext { avoid_attempts: 0, ..context };
            assert_eq!(last_byte(&cluster.pick_endpoint(&stays, &mut rng()).unwrap()), first, "{yaml}");
        }
    }
}

#[test]
fn without_a_hash_requests_are_spread() {
    assert_eq!(picks(&hashed(RING, equal(4)), 1_000).len(), 4);
}

#[test]
fn no_hosts_no_answer() {
    for yaml in [RING, MAGLEV] {
        let error = hashed(yaml, Vec::new()).pick_endpoint(&PickContext::default(), &mut rng()).unwrap_err();
        assert_eq!(error, PickError::NoHealthyHost);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn one_host_more_takes_about_its_share_and_moves_little_else(
        hosts in 2u8..12, table in prop_oneof![Just(RING), Just(MAGLEV)], weight in 1u32..5,
    ) {
        let grown = |count: u8| (1..=count).map(|i| endpoint(i, weight, Health::Healthy)).collect::<Vec<_>>();
        let (before, after) = (hashed(table, grown(hosts)), hashed(table, grown(hosts + 1)));
        let moved = keys().filter(|hash| of(&before, *hash) != of(&after, *hash)).count() as f64 / 4_000.0;
        let fair = 1.0 / f64::from(hosts + 1);
        prop_assert!(moved < 2.0 * fair + 0.1, "{moved} of a fair {fair}");
    }
}
