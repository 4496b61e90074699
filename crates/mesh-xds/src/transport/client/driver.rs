//! The task behind a [`Handle`](super::Handle): dials, carries messages, waits,
//! dials again.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use mesh_proto::Message;
use mesh_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tracing::debug;

use super::dial::{self, Connection};
use super::{Event, Options};
use crate::Variant;
use crate::client::{AdsClient, Wanted};
use crate::transport::codec::BytesOut;
use crate::wire::Reply;

/// What a [`Handle`](super::Handle) asks for.
#[derive(Debug)]
pub(super) enum Command {
    Want(String, Wanted),
    Ack { type_url: String, nonce: String },
    Nack { type_url: String, nonce: String, text: String },
}

pub(super) struct Driver {
    client: AdsClient,
    options: Options,
    commands: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<Event>,
    rng: SmallRng,
    /// Failures since the last response.
    failures: u32,
}

/// The owner is gone; the task ends.
struct Abandoned;

/// How an attempt ended.
enum End {
    Failed(String),
    Abandoned,
}

impl From<Abandoned> for End {
    fn from(_: Abandoned) -> Self {
        Self::Abandoned
    }
}

/// Requests that wait for the connection to take them.
const QUEUE: usize = 16;

impl Driver {
    pub(super) fn new(
        client: AdsClient,
        options: Options,
        commands: mpsc::UnboundedReceiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let rng = SmallRng::seed_from_u64(options.jitter_seed);
        Self { client, options, commands, events, rng, failures: 0 }
    }

    pub(super) async fn run(mut self) {
        loop {
            let end = match self.client.variant() {
                Variant::Sotw => self.attempt(|r: DiscoveryResponse| Reply::Sotw(Box::new(r))).await,
                Variant::Delta => self.attempt(|r: DeltaDiscoveryResponse| Reply::Delta(Box::new(r))).await,
            };
            let reason = match end {
                End::Failed(reason) => reason,
                End::Abandoned => return,
            };
            let retry_in = self.backoff();
            // The owner is told, and decides how loud that is.
            debug!(target = %self.options.target, %reason, ?retry_in, "ADS stream ended; connecting again.");
            if self.events.send(Event::Disconnected { reason, retry_in }).await.is_err()
                || self.heeding(tokio::time::sleep(retry_in)).await.is_err()
            {
                return;
            }
        }
    }

    /// One connection, from dialling to its end.
    async fn attempt<M: Message + Default + 'static>(&mut self, read: impl Fn(M) -> Reply) -> End {
        let options = self.options.clone();
        let connection = match self.heeding(dial::dial(&options)).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return End::Failed(error.to_string()),
            Err(Abandoned) => return End::Abandoned,
        };
        self.client.on_connect();
        let (requests, queue) = mpsc::channel(QUEUE);
        let opening = open::<M>(connection.requests.clone(), self.client.variant(), queue, options.response_bytes_max);
        let end = match self.opened(opening, &requests).await {
            Ok(Ok(replies)) => self.exchange(replies, &requests, read).await,
            Ok(Err(status)) => Err(End::Failed(described(&status))),
            Err(Abandoned) => Err(End::Abandoned),
        };
        drop::<Connection>(connection);
        match end {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    /// Sends requests while the stream opens: some servers answer nothing, not
    /// even with headers, before they have something to say.
    async fn opened<T>(
        &mut self,
        opening: impl Future<Output = T>,
        requests: &mpsc::Sender<Bytes>,
    ) -> Result<T, Abandoned> {
        let mut opening = pin!(opening);
        loop {
            let waits_for_room = self.send(requests);
            tokio::select! {
                opened = &mut opening => return Ok(opened),
                command = self.commands.recv() => self.take(command.ok_or(Abandoned)?),
                _ = requests.reserve(), if waits_for_room => {}
            }
        }
    }

    async fn exchange<M>(
        &mut self,
        mut replies: Streaming<M>,
        requests: &mpsc::Sender<Bytes>,
        read: impl Fn(M) -> Reply,
    ) -> Result<std::convert::Infallible, End> {
        debug!(target = %self.options.target, "ADS stream is open.");
        self.tell(Event::Connected).await?;
        loop {
            let waits_for_room = self.send(requests);
            tokio::select! {
                reply = replies.message() => {
                    let reply = reply.map_err(|status| End::Failed(described(&status)))?;
                    let reply = reply.ok_or_else(|| End::Failed("the server ended the stream".to_owned()))?;
                    self.failures = 0;
                    let event = self.client.on_response(read(reply)).map_or_else(Event::Refused, Event::Update);
                    self.tell(event).await?;
                }
                command = self.commands.recv() => self.take(command.ok_or(End::Abandoned)?),
                _ = requests.reserve(), if waits_for_room => {}
            }
        }
    }

    /// Hands over requests while there is room. Whether there was none.
    fn send(&mut self, requests: &mpsc::Sender<Bytes>) -> bool {
        loop {
            match requests.try_reserve() {
                Ok(room) => match self.client.poll_request() {
                    Some(request) => room.send(request.encode()),
                    None => return false,
                },
                Err(mpsc::error::TrySendError::Full(())) => return true,
                // The connection is gone, which the replies will say too.
                Err(mpsc::error::TrySendError::Closed(())) => return false,
            }
        }
    }

    /// Waits for `work` and takes commands meanwhile.
    async fn heeding<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Abandoned> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                command = self.commands.recv() => self.take(command.ok_or(Abandoned)?),
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), Abandoned> {
        self.events.send(event).await.map_err(|_| Abandoned)
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Want(type_url, wanted) => self.client.want(&type_url, wanted),
            Command::Ack { type_url, nonce } => self.client.ack(&type_url, &nonce),
            Command::Nack { type_url, nonce, text } => self.client.nack(&type_url, &nonce, &text),
        }
    }

    /// Between half and all of `base * 2^failures`, at most `max`.
    fn backoff(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let full = self.options.backoff_base.saturating_mul(factor).min(self.options.backoff_max);
        full.mul_f64(self.rng.random_range(0.5..=1.0))
    }
}

async fn open<M: Message + Default + 'static>(
    requests: dial::Http2,
    variant: Variant,
    queue: mpsc::Receiver<Bytes>,
    limit: usize,
) -> Result<Streaming<M>, Status> {
    let mut grpc =
        tonic::client::Grpc::with_origin(requests, Uri::from_static("http://xds")).max_decoding_message_size(limit);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static(variant.path());
    let request = tonic::Request::new(ReceiverStream::new(queue));
    Ok(grpc.streaming(request, path, BytesOut::<M>::new()).await?.into_inner())
}

fn described(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
