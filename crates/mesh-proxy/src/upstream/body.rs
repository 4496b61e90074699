//! A request body on its way upstream, kept as long as it may have to be sent
//! again.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::tap::{Inlet, Tap};

/// The error type of bodies.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// How far a request body has come.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) bytes: Cell<u64>,
    pub(crate) ended: Cell<bool>,
}

/// See the module.
pub(crate) struct ReqBody {
    kind: Kind,
    /// `None` for a body that was empty from the start.
    progress: Option<Rc<Progress>>,
}

enum Kind {
    /// There is none.
    Empty,
    /// Passed through, not kept.
    Stream(Inlet),
    /// A copy of one that goes elsewhere.
    Copy(Tap),
    /// Kept: attempt number two reads what attempt number one read.
    Replay { shared: Rc<RefCell<Replay>>, next: usize },
}

impl ReqBody {
    pub(crate) fn empty() -> Self {
        Self { kind: Kind::Empty, progress: None }
    }

    /// A body for one attempt only.
    pub(crate) fn stream(body: Inlet, progress: Rc<Progress>) -> Self {
        Self { kind: Kind::Stream(body), progress: Some(progress) }
    }

    /// What of another body was read so far and will be.
    pub(crate) fn copy(tap: Tap, progress: Rc<Progress>) -> Self {
        Self { kind: Kind::Copy(tap), progress: Some(progress) }
    }

    /// A body for one of several attempts: reads from the beginning.
    pub(crate) fn replay(shared: Rc<RefCell<Replay>>, progress: Rc<Progress>) -> Self {
        Self { kind: Kind::Replay { shared, next: 0 }, progress: Some(progress) }
    }
}

/// What was read of a body that may be sent again.
pub(crate) struct Replay {
    source: Inlet,
    frames: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    kept: usize,
    ended: bool,
    /// Frames that were given away and not kept; from then on no attempt can start over.
    forgotten: bool,
    keep: bool,
    hint: SizeHint,
}

impl Replay {
    pub(crate) fn new(source: Inlet) -> Rc<RefCell<Self>> {
        let hint = source.size_hint();
        Rc::new(RefCell::new(Self {
            source,
            frames: Vec::new(),
            trailers: None,
            kept: 0,
            ended: false,
            forgotten: false,
            keep: true,
            hint,
        }))
    }

    /// Whether a new attempt would see the whole body.
    pub(crate) fn can_restart(&self) -> bool {
        !self.forgotten
    }

    /// No further attempt will come: what is kept is dropped as it is sent.
    pub(crate) fn commit(&mut self) {
        self.keep = false;
    }
}

impl Body for ReqBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = std::task::ready!(self.kind.poll_frame(cx));
        if let Some(progress) = &self.progress {
            match &polled {
                Some(Ok(frame)) => {
                    let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                    progress.bytes.set(progress.bytes.get() + bytes);
                    progress.ended.set(frame.is_trailers() || self.is_end_stream());
                }
                None => progress.ended.set(true),
                Some(Err(_)) => {}
            }
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Stream(body) => body.is_end_stream(),
            Kind::Copy(tap) => tap.is_end_stream(),
            Kind::Replay { shared, next } => {
                let replay = shared.borrow();
                let read_all = replay.ended || replay.source.is_end_stream();
                read_all && replay.trailers.is_none() && *next >= replay.frames.len()
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Stream(body) => body.size_hint(),
            Kind::Copy(tap) => tap.size_hint(),
            Kind::Replay { shared, .. } => shared.borrow().hint,
        }
    }
}

impl Kind {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Stream(body) => body.poll_frame(cx),
            Self::Copy(tap) => tap.poll_frame(cx),
            Self::Replay { shared, next } => {
                let mut replay = shared.borrow_mut();
                if let Some(frame) = replay.frames.get(*next) {
                    let frame = frame.clone();
                    *next += 1;
                    return Poll::Ready(Some(Ok(Frame::data(frame))));
                }
                replay.poll_source(cx, next)
            }
        }
    }
}

impl Replay {
    fn poll_source(&mut self, cx: &mut Context<'_>, next: &mut usize) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ended {
            // Each attempt gets the trailers once: `next` runs past the frames.
            if *next == self.frames.len() {
                *next += 1;
                if let Some(trailers) = &self.trailers {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
                }
            }
            return Poll::Ready(None);
        }
        match std::task::ready!(self.source.poll_frame(cx)) {
            None => {
                self.ended = true;
                *next = self.frames.len() + 1;
                Poll::Ready(None)
            }
            Some(Err(e)) => Poll::Ready(Some(Err(e))),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => {
                    self.remember(&data, next);
                    Poll::Ready(Some(Ok(Frame::data(data))))
                }
                Err(frame) => {
                    let trailers = frame.into_trailers().unwrap_or_default();
                    self.ended = true;
                    self.trailers = Some(trailers.clone());
                    *next = self.frames.len() + 1;
                    Poll::Ready(Some(Ok(Frame::trailers(trailers))))
                }
            },
        }
    }

    fn remember(&mut self, data: &Bytes, next: &mut usize) {
        if self.keep && self.kept + data.len() <= REPLAY_BYTES_MAX {
            self.kept += data.len();
            self.frames.push(data.clone());
            *next = self.frames.len();
            return;
        }
        self.forgotten = true;
        self.keep = false;
        self.frames.clear();
        *next = 0;
    }
}

/// A longer body is not retried: a proxy must not hold its clients' uploads.
/// Envoy's limit is its connection buffer limit, by default also 1 MiB.
pub(crate) const REPLAY_BYTES_MAX: usize = 1024 * 1024;
