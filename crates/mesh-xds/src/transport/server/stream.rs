//! One stream's task: carries messages between the connection, the source and
//! the [`Subscriber`].

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};
use tonic::{Code, Status};
use tracing::debug;

use super::pace::Pace;
use super::streams::{Question, StreamStatus};
use super::{Observer, Peer, Sent, Shared, Source};
use crate::server::{Event, Subscriber};
use crate::wire::Request;
use crate::{Node, Snapshot};

type Responses = mpsc::Sender<Result<Bytes, Status>>;

/// Serves one stream to its end.
pub(super) async fn run<S: Source, O: Observer>(
    shared: Arc<Shared<S, O>>,
    peer: Peer,
    requests: impl Stream<Item = Result<Request, Status>> + Send + 'static,
    responses: Responses,
) {
    let mut requests = Box::pin(requests);
    let mut subscriber = Subscriber::new(peer.variant, peer.stream);
    let outcome = tokio::select! {
        outcome = serve(&shared, &peer, &mut subscriber, &mut requests, &responses) => outcome,
        () = closed(&shared) => Err(Status::unavailable("the control plane is shutting down; connect again")),
        () = aged(&shared, &peer) => Err(Status::unavailable("the stream has reached its age; connect again")),
        () = responses.closed() => Ok(()),
    };
    if let Err(status) = outcome {
        debug!(stream = peer.stream, %status, "ADS stream ends.");
        // If there is no room, the proxy does not read, and the end of the
        // stream must do.
        let _ = responses.try_send(Err(status));
    }
}

async fn serve<S: Source, O: Observer>(
    shared: &Shared<S, O>,
    peer: &Peer,
    subscriber: &mut Subscriber,
    requests: &mut (impl Stream<Item = Result<Request, Status>> + Unpin),
    responses: &Responses,
) -> Result<(), Status> {
    sleep(shared.connects.wait(Instant::now())).await;
    let Some(first) = requests.next().await else { return Ok(()) };
    let Some(events) = take(subscriber, first).inspect_err(|status| shared.observer.rejected(peer, None, status))?
    else {
        return Ok(());
    };
    let Some(node) = subscriber.node().cloned() else { return Ok(()) };
    let snapshots = shared.source.connect(&node, peer).await.inspect_err(|status| {
        shared.observer.rejected(peer, Some(&node), status);
    })?;
    let questions = shared.streams.insert(peer.stream);
    shared.observer.connected(peer, &node);
    let mut open = Open { shared, peer, node, subscriber, responses, snapshots, questions, reads_at: None };
    open.subscriber.on_snapshot(open.snapshots.borrow_and_update().clone());
    open.report(&events);
    open.drive(requests).await
}

/// A stream that the source has accepted. Dropping it reports its end.
struct Open<'a, S: Source, O: Observer> {
    shared: &'a Shared<S, O>,
    peer: &'a Peer,
    node: Arc<Node>,
    subscriber: &'a mut Subscriber,
    responses: &'a Responses,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    questions: mpsc::Receiver<Question>,
    /// When the next request may be read, if not at once.
    reads_at: Option<Instant>,
}

impl<S: Source, O: Observer> Open<'_, S, O> {
    async fn drive(
        &mut self,
        requests: &mut (impl Stream<Item = Result<Request, Status>> + Unpin),
    ) -> Result<(), Status> {
        let pace = Pace::new(self.shared.options.requests_per_second);
        let mut source_lives = true;
        loop {
            let now = Instant::now();
            self.reads_at = self.reads_at.filter(|at| *at > now);
            let waits_for_room = self.send(now);
            let wake_at = self.subscriber.wake_at(now).into_iter().chain(self.reads_at).min();
            tokio::select! {
                request = requests.next(), if self.reads_at.is_none() => {
                    let Some(request) = request else { return Ok(()) };
                    let now = Instant::now();
                    let wait = pace.wait(now);
                    self.reads_at = (!wait.is_zero()).then(|| now + wait);
                    let taken = take(self.subscriber, request);
                    match taken.inspect_err(|s| self.shared.observer.rejected(self.peer, Some(&self.node), s))? {
                        Some(events) => self.report(&events),
                        None => return Ok(()),
                    }
                }
                changed = self.snapshots.changed(), if source_lives => match changed {
                    Ok(()) => self.subscriber.on_snapshot(self.snapshots.borrow_and_update().clone()),
                    Err(_) => source_lives = false,
                },
                _ = self.responses.reserve(), if waits_for_room => {}
                () = sleep_until(wake_at.unwrap_or(now).into()), if wake_at.is_some() => {}
                Some(question) = self.questions.recv() => {
                    let _ = question.send(self.status());
                }
            }
        }
    }

    /// Sends what is due while the connection takes it. Whether it does not.
    fn send(&mut self, now: Instant) -> bool {
        loop {
            let room = match self.responses.try_reserve() {
                Ok(room) => room,
                Err(mpsc::error::TrySendError::Full(())) => return true,
                Err(mpsc::error::TrySendError::Closed(())) => return false,
            };
            let Some(response) = self.subscriber.poll(now) else { return false };
            let bytes = response.encode_frame(self.peer.variant);
            let sent = Sent {
                type_url: &response.type_url,
                version: &response.version,
                nonce: &response.nonce,
                resources: response.resources.len(),
                removed: response.removed.len(),
                bytes: bytes.len(),
            };
            self.shared.observer.sent(self.peer, &self.node, &sent);
            room.send(Ok(bytes));
        }
    }

    fn report(&mut self, events: &[Event]) {
        for event in events {
            self.shared.observer.event(self.peer, &self.node, event);
            if let Event::Subscribed { type_url, .. } = event {
                self.ask_source(type_url);
            }
        }
    }

    /// A type that the snapshot lacks may be one that is made on demand.
    fn ask_source(&mut self, type_url: &str) {
        if self.subscriber.snapshot().is_some_and(|snapshot| snapshot.get(type_url).is_some()) {
            return;
        }
        let names: Vec<Arc<str>> = self.subscriber.names(type_url).cloned().collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        if let Some(set) = self.shared.source.answer(&self.node, type_url, &names) {
            self.subscriber.offer(type_url, &set);
        }
    }

    fn status(&self) -> StreamStatus {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let dated = |at: Instant| wall.checked_sub(now.saturating_duration_since(at));
        let types = self.subscriber.status().into_iter();
        StreamStatus {
            peer: self.peer.clone(),
            node: self.node.clone(),
            snapshot: self.subscriber.snapshot().cloned(),
            types: types.map(|status| (status.sent_at.and_then(dated), status)).map(|(at, s)| (s, at)).collect(),
        }
    }
}

impl<S: Source, O: Observer> Drop for Open<'_, S, O> {
    fn drop(&mut self) {
        self.shared.streams.remove(self.peer.stream);
        self.shared.observer.disconnected(self.peer, &self.node);
    }
}

/// `None` if the proxy or the network ended the stream, which is nobody's fault.
fn take(subscriber: &mut Subscriber, request: Result<Request, Status>) -> Result<Option<Vec<Event>>, Status> {
    match request {
        Ok(request) => match subscriber.on_request(request, Instant::now()) {
            Ok(events) => Ok(Some(events)),
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        },
        Err(status) => match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::ResourceExhausted => Err(status),
            _ => Ok(None),
        },
    }
}

async fn closed<S, O>(shared: &Shared<S, O>) {
    // The sender lives in `shared`, so this ends only when it says so.
    let _ = shared.closing.subscribe().wait_for(|closing| *closing).await;
}

async fn aged<S, O>(shared: &Shared<S, O>, peer: &Peer) {
    match shared.options.stream_age {
        // Up to a tenth longer, different for neighbours, so that proxies that
        // came together do not come back together.
        Some(age) => sleep(age + age / 10 * (peer.stream % 16) as u32 / 16).await,
        None => std::future::pending().await,
    }
}
