//! Keeps an [`AdsClient`] connected to a control plane.
//!
//! [`connect`] starts one task. It dials (host:port or a unix path), drives the
//! state machine, and after any failure dials again with exponential backoff
//! and jitter. Updates come out of a bounded channel, so that an owner who is
//! busy slows the server down instead of filling memory; answers go in through
//! [`Handle`].
//!
//! Whatever a server sends, the task goes on: what does not decode or is too
//! large ends the stream, is reported in [`Event::Disconnected`], and the next
//! attempt follows.

mod dial;
mod driver;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::client::{AdsClient, ResponseError, Update, Wanted};

use driver::{Command, Driver};

/// Where the control plane listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// `host:port`; the name is resolved at each attempt.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// Bounds and intervals.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to connect to.
    pub target: Target,
    /// Time for connecting, TCP and HTTP/2 together.
    pub connect_timeout: Duration,
    /// Delay after the first failure; doubles with each further one until a
    /// response has arrived.
    pub backoff_base: Duration,
    /// Longest delay.
    pub backoff_max: Duration,
    /// Largest response, in bytes; a larger one ends the stream.
    pub response_bytes_max: usize,
    /// HTTP/2 PING after this much silence; `None` for none.
    pub keepalive_interval: Option<Duration>,
    /// A PING unanswered for this long closes the connection.
    pub keepalive_timeout: Duration,
    /// Seed of the jitter, so that a test can repeat it. Processes should draw
    /// it, or all come back at the same moment.
    pub jitter_seed: u64,
}

/// What the driver tells its owner.
#[derive(Debug)]
pub enum Event {
    /// A stream is open; everything wanted is being asked for.
    Connected,
    /// The stream ended or could not be opened. The driver tries again.
    Disconnected {
        /// What happened.
        reason: String,
        /// Delay before the next attempt.
        retry_in: Duration,
    },
    /// Resources arrived. Must be answered through [`Handle::ack`] or
    /// [`Handle::nack`].
    Update(Update),
    /// The server sent something that cannot be used; the stream goes on.
    Refused(ResponseError),
}

/// Speaks to the driver's task. Dropping the last one ends it.
#[derive(Debug, Clone)]
pub struct Handle {
    commands: mpsc::UnboundedSender<Command>,
}

impl Handle {
    /// See [`AdsClient::want`].
    pub fn want(&self, type_url: impl Into<String>, wanted: Wanted) {
        self.send(Command::Want(type_url.into(), wanted));
    }

    /// See [`AdsClient::ack`].
    pub fn ack(&self, type_url: impl Into<String>, nonce: impl Into<String>) {
        self.send(Command::Ack { type_url: type_url.into(), nonce: nonce.into() });
    }

    /// See [`AdsClient::nack`].
    pub fn nack(&self, type_url: impl Into<String>, nonce: impl Into<String>, text: impl Into<String>) {
        self.send(Command::Nack { type_url: type_url.into(), nonce: nonce.into(), text: text.into() });
    }

    fn send(&self, command: Command) {
        // The driver ends only when nobody listens to it any more.
        let _ = self.commands.send(command);
    }
}

impl Target {
    /// `unix:/path`, `unix:///path` or `host:port`.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(PathBuf::from(path.strip_prefix("//").unwrap_or(path))),
            None => Self::Tcp(text.to_owned()),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Options {
    /// The usual bounds for `target`. The jitter's seed is drawn.
    pub fn new(target: Target) -> Self {
        Self {
            target,
            connect_timeout: Duration::from_secs(5),
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            response_bytes_max: 64 << 20,
            keepalive_interval: Some(Duration::from_secs(30)),
            keepalive_timeout: Duration::from_secs(10),
            jitter_seed: rand::random(),
        }
    }
}

/// Starts the driver on the current tokio runtime.
pub fn connect(client: AdsClient, options: Options) -> (Handle, mpsc::Receiver<Event>) {
    // Commands are few: what the owner wants, and one answer per update, of
    // which at most `EVENTS` and one per type are out.
    let (commands, received) = mpsc::unbounded_channel();
    let (events, delivered) = mpsc::channel(EVENTS);
    tokio::spawn(Driver::new(client, options, received, events).run());
    (Handle { commands }, delivered)
}

/// Events that wait for the owner; when full, no further response is read.
const EVENTS: usize = 16;
