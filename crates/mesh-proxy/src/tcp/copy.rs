//! Copies bytes both ways between two connections until both have ended.
//!
//! Reading goes into one scratch buffer per worker thread, which stays in the
//! cache, and from there straight to the other side. An idle connection holds
//! no buffer at all; only what the other side would not take is kept. How much
//! is read at once follows the connection: it doubles while writes go through
//! whole and halves when they do not, so a slow reader keeps little in memory.
//!
//! Invariant: bytes come out in order and unchanged; the end of one direction
//! is passed on as a half-close after its last byte, and the other direction
//! goes on.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How a copy ended.
#[derive(Debug)]
pub(crate) enum End {
    /// Both directions ended.
    Closed,
    /// Nothing moved for the idle timeout.
    Idle,
    /// A side failed; both are to be dropped.
    Failed(io::Error),
}

/// Bytes that were moved.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Moved {
    /// From the first side to the second.
    pub(crate) sent: u64,
    /// From the second side to the first.
    pub(crate) received: u64,
}

/// Copies until both directions have ended. `first_a` and `first_b` were
/// already read from `a` and `b` and go out before anything else. `idle` of
/// zero or `None` means no limit. `moved` is updated as bytes move, so that it
/// is right even if this future is dropped.
pub(crate) async fn both_ways<A, B>(
    a: &mut A,
    b: &mut B,
    first_a: Bytes,
    first_b: Bytes,
    idle: Option<Duration>,
    moved: &mut Moved,
) -> End
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let idle = idle.filter(|d| !d.is_zero());
    let sleep = tokio::time::sleep(idle.unwrap_or(FAR));
    tokio::pin!(sleep);
    let mut up = Way::new(first_a);
    let mut down = Way::new(first_b);
    poll_fn(|cx| {
        let before = (up.moved, down.moved);
        let up_now = up.poll(cx, a, b);
        let down_now = down.poll(cx, b, a);
        *moved = Moved { sent: up.moved, received: down.moved };
        match (up_now, down_now) {
            (Poll::Ready(Err(e)), _) | (_, Poll::Ready(Err(e))) => return Poll::Ready(End::Failed(e)),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(End::Closed),
            _ => {}
        }
        let active = before != (up.moved, down.moved);
        poll_idle(cx, sleep.as_mut(), idle, active)
    })
    .await
}

fn poll_idle(cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>, idle: Option<Duration>, active: bool) -> Poll<End> {
    let Some(idle) = idle else { return Poll::Pending };
    if active {
        sleep.as_mut().reset(Instant::now() + idle);
    }
    sleep.as_mut().poll(cx).map(|()| End::Idle)
}

/// One direction.
struct Way {
    /// Read but not yet taken by the other side.
    kept: Bytes,
    chunk: usize,
    moved: u64,
    /// Written, but perhaps still held by a layer below (TLS).
    unflushed: bool,
    state: State,
}

#[derive(PartialEq)]
enum State {
    Open,
    /// The source has ended; the sink must still be told.
    Ended,
    Done,
}

impl Way {
    fn new(first: Bytes) -> Self {
        Self { kept: first, chunk: CHUNK_MIN, moved: 0, unflushed: false, state: State::Open }
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        for _ in 0..TURNS {
            while !self.kept.is_empty() {
                let n = std::task::ready!(Pin::new(&mut *to).poll_write(cx, &self.kept))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.moved += n as u64;
                self.unflushed = true;
                self.kept.advance(n);
            }
            match self.state {
                State::Done => return Poll::Ready(Ok(())),
                State::Ended => {
                    // A peer that is gone already needs no half-close.
                    let _ = std::task::ready!(Pin::new(&mut *to).poll_shutdown(cx));
                    self.state = State::Done;
                    return Poll::Ready(Ok(()));
                }
                State::Open => match SCRATCH.with_borrow_mut(|s| self.turn(cx, from, to, s)) {
                    Poll::Ready(result) => result?,
                    // Nothing more comes for now: what was written must not wait for it.
                    Poll::Pending => {
                        if self.unflushed && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
                            self.unflushed = false;
                        }
                        return Poll::Pending;
                    }
                },
            }
        }
        // Other connections get their turn; this one goes on right after.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One read, and the write of what it gave.
    fn turn<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
        scratch: &mut Vec<u8>,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if scratch.len() < self.chunk {
            scratch.resize(CHUNK_MAX, 0);
        }
        let mut buf = ReadBuf::new(&mut scratch[..self.chunk]);
        std::task::ready!(Pin::new(&mut *from).poll_read(cx, &mut buf))?;
        let read = buf.filled();
        if read.is_empty() {
            self.state = State::Ended;
            return Poll::Ready(Ok(()));
        }
        let full = read.len() == self.chunk;
        let written = match Pin::new(&mut *to).poll_write(cx, read) {
            Poll::Ready(result) => result?,
            Poll::Pending => 0,
        };
        self.moved += written as u64;
        self.unflushed |= written > 0;
        if written < read.len() {
            self.kept = Bytes::copy_from_slice(&read[written..]);
            self.chunk = (self.chunk / 2).max(CHUNK_MIN);
        } else if full {
            self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        }
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    /// One per worker thread: connections of a worker take turns.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a quiet connection reads at once.
const CHUNK_MIN: usize = 16 * 1024;
/// What a busy connection reads at once: larger gains nothing measurable and
/// falls out of the second-level cache.
const CHUNK_MAX: usize = 256 * 1024;
/// Reads of one direction before other connections get a turn.
const TURNS: usize = 4;
/// Stands for "never" where a timer must have some length.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn half_close_passes_on_and_the_answer_still_comes() {
        let (mut client, mut a) = tokio::io::duplex(1000);
        let (mut b, mut server) = tokio::io::duplex(1000);
        let copy = tokio::spawn(async move {
            let mut moved = Moved::default();
            let end = both_ways(&mut a, &mut b, Bytes::from_static(b"12"), Bytes::new(), None, &mut moved).await;
            (moved.sent, moved.received, matches!(end, End::Closed))
        });
        let reader = tokio::spawn(async move {
            let mut got = Vec::new();
            server.read_to_end(&mut got).await.unwrap();
            server.write_all(b"bye").await.unwrap();
            got.len()
        });
        client.write_all(&[b'x'; 5000]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((answer.as_str(), reader.await.unwrap()), ("bye", 5002));
        assert_eq!(copy.await.unwrap(), (5002, 3, true));
    }

    #[tokio::test]
    async fn silence_for_the_idle_timeout_ends_it() {
        let (_client, mut a) = tokio::io::duplex(10);
        let (mut b, _server) = tokio::io::duplex(10);
        let idle = Some(Duration::from_millis(20));
        let end = both_ways(&mut a, &mut b, Bytes::new(), Bytes::new(), idle, &mut Moved::default()).await;
        assert!(matches!(end, End::Idle));
    }
}
