use super::*;

const ENDPOINTS: Window = Window { quiet: Duration::from_millis(10), max: Duration::from_millis(100) };
const CONFIG: Window = Window { quiet: Duration::from_millis(100), max: Duration::from_secs(10) };

/// Plays updates at the given milliseconds on virtual time and returns when
/// each snapshot is built, with its class and number of updates.
fn play(updates: &[(u64, Class)]) -> Vec<(u64, Class, usize)> {
    let start = Instant::now();
    let mut settle = Settle::new(ENDPOINTS, CONFIG);
    let mut built = Vec::new();
    let mut drain = |settle: &mut Settle, until: Option<Instant>| {
        while let Some(due) = settle.due().filter(|due| until.is_none_or(|until| *due <= until)) {
            if let Some(settled) = settle.take(due) {
                built.push(((due - start).as_millis() as u64, settled.class, settled.updates));
            }
        }
    };
    for (at, class) in updates {
        let now = start + Duration::from_millis(*at);
        drain(&mut settle, Some(now));
        settle.note(*class, now);
    }
    drain(&mut settle, None);
    built
}

fn check(updates: &[(u64, Class)], expected: &[(u64, Class, usize)]) {
    assert_eq!(play(updates), expected, "{updates:?}");
}

fn every(step: u64, until: u64, class: Class) -> Vec<(u64, Class)> {
    (0..until).step_by(step as usize).map(|at| (at, class)).collect()
}

#[test]
fn a_single_change_waits_for_quiet() {
    check(&[(0, Class::Config)], &[(100, Class::Config, 1)]);
    check(&[(0, Class::Endpoints)], &[(10, Class::Endpoints, 1)]);
}

#[test]
fn changes_within_the_quiet_time_become_one_snapshot() {
    check(&[(0, Class::Config), (99, Class::Config), (150, Class::Config)], &[(250, Class::Config, 3)]);
    check(&[(0, Class::Config), (101, Class::Config)], &[(100, Class::Config, 1), (201, Class::Config, 1)]);
}

#[test]
fn a_mesh_that_is_never_quiet_is_passed_on_at_the_upper_bound() {
    let built = play(&every(50, 25_000, Class::Config));
    let times: Vec<u64> = built.iter().map(|b| b.0).collect();
    assert_eq!(times[..2], [10_000, 20_000], "{built:?}");
    let built = play(&every(5, 1_000, Class::Endpoints));
    assert_eq!((built[0].0, built[1].0), (100, 200), "{built:?}");
}

#[test]
fn an_endpoint_change_never_waits_for_rules_and_takes_them_along() {
    check(&[(0, Class::Config), (20, Class::Endpoints)], &[(30, Class::Config, 2)]);
    check(&[(0, Class::Endpoints), (95, Class::Config)], &[(10, Class::Endpoints, 1), (195, Class::Config, 1)]);
}

#[test]
fn rules_do_not_hold_up_endpoints() {
    let mut updates = every(50, 1_000, Class::Config);
    updates.push((512, Class::Endpoints));
    updates.sort();
    assert!(play(&updates).iter().any(|(at, ..)| *at == 522));
}

#[test]
fn nothing_noted_is_never_due() {
    let mut settle = Settle::new(ENDPOINTS, CONFIG);
    assert_eq!(settle.due(), None);
    assert_eq!(settle.take(Instant::now()), None);
    assert_eq!(settle.flush(Instant::now()), None);
}

#[test]
fn what_waits_can_be_flushed_early() {
    let now = Instant::now();
    let mut settle = Settle::new(ENDPOINTS, CONFIG);
    settle.note(Class::Config, now);
    assert_eq!(settle.take(now), None);
    let settled = settle.flush(now + Duration::from_millis(1));
    assert_eq!(settled, Some(Settled { class: Class::Config, waited: Duration::from_millis(1), updates: 1 }));
    assert_eq!(settle.due(), None);
}
