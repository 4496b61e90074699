//! Waiting with a deadline: a test that waits says for what, and for how long at most.

use std::time::{Duration, Instant};

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Looks again and again until `look` finds something, at most for `limit`.
///
/// # Panics
/// With `what` and the last `Err` of `look`, when the time is over.
pub async fn until<T, E: std::fmt::Display, F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
{
    let deadline = Instant::now() + limit;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) if Instant::now() >= deadline => panic!("{what}: not within {limit:?}: {why}"),
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

/// Runs a whole test, at most for `seconds`.
///
/// # Panics
/// When the time is over, and where the test does.
pub async fn bounded<T>(seconds: u64, test: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), test).await {
        Ok(done) => done,
        Err(_) => panic!("the test took longer than its {seconds} s"),
    }
}
