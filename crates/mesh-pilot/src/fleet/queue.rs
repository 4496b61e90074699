//! Which proxies wait to be translated for, first come, first served.
//!
//! Invariant: a key waits at most once, and is worked on by at most one worker
//! at a time. One that is entered while it is worked on goes to the end of the
//! line, so that a proxy that changes all the time never starves another.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// A line of stream numbers, shared by its workers.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<(u64, Instant)>,
    phases: HashMap<u64, Phase>,
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Working,
    /// Entered again while it was worked on, at this time.
    Again(Instant),
}

impl Queue {
    /// Enters `keys` in their order; those that wait already keep their place.
    pub(crate) fn enter(&self, keys: impl IntoIterator<Item = u64>, now: Instant) {
        let mut inner = self.inner.lock();
        for key in keys {
            match inner.phases.get(&key) {
                None => {
                    inner.phases.insert(key, Phase::Waiting);
                    inner.waiting.push_back((key, now));
                }
                Some(Phase::Working) => {
                    inner.phases.insert(key, Phase::Again(now));
                }
                Some(Phase::Waiting | Phase::Again(_)) => {}
            }
        }
        self.filled.notify_all();
    }

    /// The next key to work on, and how long it waited. Blocks while there is
    /// none; `None` once the queue is closed. Each key that is returned must be
    /// handed back to [`Queue::done`].
    pub(crate) fn next(&self) -> Option<(u64, Duration)> {
        let mut inner = self.inner.lock();
        loop {
            if inner.closed {
                return None;
            }
            if let Some((key, since)) = inner.waiting.pop_front() {
                inner.phases.insert(key, Phase::Working);
                return Some((key, since.elapsed()));
            }
            self.filled.wait(&mut inner);
        }
    }

    /// The work on `key` has ended.
    pub(crate) fn done(&self, key: u64) {
        let mut inner = self.inner.lock();
        if let Some(Phase::Again(since)) = inner.phases.remove(&key) {
            inner.phases.insert(key, Phase::Waiting);
            inner.waiting.push_back((key, since));
            self.filled.notify_one();
        }
    }

    /// Sends all workers home.
    pub(crate) fn close(&self) {
        self.inner.lock().closed = true;
        self.filled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(queue: &Queue) -> Option<u64> {
        queue.next().map(|(key, _)| key)
    }

    #[test]
    fn first_come_first_served_and_nobody_waits_twice() {
        let (queue, now) = (Queue::default(), Instant::now());
        queue.enter([1, 2], now);
        queue.enter([3, 1, 2], now);
        assert_eq!([next(&queue), next(&queue), next(&queue)], [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn one_that_is_worked_on_goes_to_the_end_of_the_line() {
        let (queue, now) = (Queue::default(), Instant::now());
        queue.enter([1, 2], now);
        assert_eq!(next(&queue), Some(1));
        queue.enter([1, 2, 3], now);
        queue.done(1);
        assert_eq!([next(&queue), next(&queue), next(&queue)], [Some(2), Some(3), Some(1)]);
    }

    #[test]
    fn closing_sends_waiting_workers_home() {
        let queue = std::sync::Arc::new(Queue::default());
        let worker = std::thread::spawn({
            let queue = queue.clone();
            move || queue.next()
        });
        queue.close();
        assert_eq!(worker.join().ok().flatten(), None);
    }
}
