//! A client's request body, and copies of it.
//!
//! An [`Inlet`] is read by the request itself; each [`Tap`] gets what was read,
//! in order. The request never waits for a tap: one that falls too far behind
//! ends with an error, and so does one whose request ends early.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::body::BodyError;

/// A body as it comes in.
pub(crate) struct Inlet {
    source: Incoming,
    taps: Vec<Rc<RefCell<Queue>>>,
}

/// The reading end of a copy.
pub(crate) struct Tap(Rc<RefCell<Queue>>);

/// What one copy has yet to read.
struct Queue {
    waiting: VecDeque<Piece>,
    bytes: usize,
    end: End,
    hint: SizeHint,
    waker: Option<Waker>,
}

enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    /// The whole body has come.
    Complete,
    /// It will not be complete.
    Broken,
}

impl Inlet {
    pub(crate) fn new(source: Incoming) -> Self {
        Self { source, taps: Vec::new() }
    }

    /// A copy of all that is read from now on.
    pub(crate) fn tap(&mut self) -> Tap {
        let end = if self.source.is_end_stream() { End::Complete } else { End::NotYet };
        let hint = self.source.size_hint();
        let queue = Queue { waiting: VecDeque::new(), bytes: 0, end, hint, waker: None };
        let queue = Rc::new(RefCell::new(queue));
        self.taps.push(queue.clone());
        Tap(queue)
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = std::task::ready!(Pin::new(&mut self.source).poll_frame(cx));
        if !self.taps.is_empty() {
            let ended = self.source.is_end_stream();
            for tap in &self.taps {
                tap.borrow_mut().offer(&polled, ended);
            }
        }
        Poll::Ready(polled.map(|frame| frame.map_err(Into::into)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        for tap in &self.taps {
            tap.borrow_mut().finish(End::Broken);
        }
    }
}

impl Queue {
    fn offer(&mut self, polled: &Option<hyper::Result<Frame<Bytes>>>, ended: bool) {
        match polled {
            None => self.finish(End::Complete),
            Some(Err(_)) => self.finish(End::Broken),
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.push(data);
                } else if let Some(trailers) = frame.trailers_ref()
                    && self.end == End::NotYet
                {
                    self.waiting.push_back(Piece::Trailers(trailers.clone()));
                }
                if ended || frame.is_trailers() {
                    self.finish(End::Complete);
                }
                self.wake();
            }
        }
    }

    fn push(&mut self, data: &Bytes) {
        if self.end != End::NotYet {
            return;
        }
        if self.bytes + data.len() > WAITING_BYTES_MAX {
            self.waiting.clear();
            self.bytes = 0;
            self.finish(End::Broken);
            return;
        }
        self.bytes += data.len();
        self.waiting.push_back(Piece::Data(data.clone()));
    }

    /// The first end is the one that counts.
    fn finish(&mut self, end: End) {
        if self.end == End::NotYet {
            self.end = end;
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Tap {
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut queue = self.0.borrow_mut();
        match queue.waiting.pop_front() {
            Some(Piece::Data(data)) => {
                queue.bytes -= data.len();
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Some(Piece::Trailers(trailers)) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
            None => {}
        }
        match queue.end {
            End::Complete => Poll::Ready(None),
            End::Broken => {
                Poll::Ready(Some(Err("the body that is copied ended early, or faster than it is sent".into())))
            }
            End::NotYet => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let queue = self.0.borrow();
        queue.end == End::Complete && queue.waiting.is_empty()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.0.borrow().hint
    }
}

/// Bytes of one copy that wait to be sent. What falls further behind would make
/// this proxy hold its clients' uploads.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
