//! The streams that are open, and questions to them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::Peer;
use crate::server::TypeStatus;
use crate::{Node, Snapshot};

/// Reads the state of the streams that are open. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    open: Arc<Mutex<BTreeMap<u64, mpsc::Sender<Question>>>>,
}

/// One stream, as debug pages show it.
#[derive(Debug, Clone)]
pub struct StreamStatus {
    /// The other end.
    pub peer: Peer,
    /// Who it says it is.
    pub node: Arc<Node>,
    /// The newest snapshot made for it.
    pub snapshot: Option<Arc<Snapshot>>,
    /// The types it watches, in push order, each with the time at which the
    /// latest response was sent.
    pub types: Vec<(TypeStatus, Option<SystemTime>)>,
}

/// Where a stream sends its status.
pub(super) type Question = oneshot::Sender<StreamStatus>;

/// A stream answers in microseconds unless the process is overloaded; a debug
/// page should then show the others.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Questions that wait for one stream.
const QUESTIONS: usize = 16;

impl Streams {
    /// The status of every stream that answers within a second, in the order
    /// in which they connected. Only then is it computed: streams keep nothing
    /// for debug pages.
    pub async fn status(&self) -> Vec<StreamStatus> {
        let asked: Vec<_> = self
            .lock()
            .values()
            .filter_map(|stream| {
                let (question, answer) = oneshot::channel();
                stream.try_send(question).ok().map(|()| answer)
            })
            .collect();
        let deadline = tokio::time::Instant::now() + ANSWER_WITHIN;
        let mut statuses = Vec::new();
        for answer in asked {
            if let Ok(Ok(status)) = timeout_at(deadline, answer).await {
                statuses.push(status);
            }
        }
        statuses
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn insert(&self, stream: u64) -> mpsc::Receiver<Question> {
        let (sender, questions) = mpsc::channel(QUESTIONS);
        self.lock().insert(stream, sender);
        questions
    }

    pub(super) fn remove(&self, stream: u64) {
        self.lock().remove(&stream);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Question>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
