//! Takes access-log lines from the workers to their files, on a thread of its
//! own, so that a slow disk never holds up a request.
//!
//! A worker gathers lines per sink and hands them over in blocks. When the
//! disk cannot keep up and the queue is full, blocks are dropped and counted.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use mesh_engine::access_log::Sink;

use crate::stats::stat_set;

stat_set! {
    /// `filesystem.`
    LogStats {
        counters: [write_buffered, write_completed, write_failed, reopen_failed, dropped_blocks],
        gauges: [],
        histograms: [],
    }
}

enum Message {
    Lines(Sink, String),
    Reopen,
    End,
}

/// The workers' end of the writer thread.
#[derive(Clone)]
pub(crate) struct LogWriter {
    queue: SyncSender<Message>,
    stats: Arc<LogStats>,
}

impl LogWriter {
    /// Starts the thread; it ends after [`Self::end`].
    pub(crate) fn start(stats: Arc<LogStats>) -> std::io::Result<(Self, std::thread::JoinHandle<()>)> {
        let (queue, messages) = sync_channel(BLOCKS_MAX);
        let own = stats.clone();
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write(&messages, &own))?;
        Ok((Self { queue, stats }, thread))
    }

    /// Hands over a block of whole lines.
    pub(crate) fn send(&self, sink: &Sink, lines: String) {
        self.stats.write_buffered.inc();
        if self.queue.try_send(Message::Lines(sink.clone(), lines)).is_err() {
            self.stats.dropped_blocks.inc();
        }
    }

    /// Lets the thread end once what was handed over is written.
    pub(crate) fn end(&self) {
        // A thread that is gone has ended already.
        let _ = self.queue.send(Message::End);
    }

    /// Opens the files anew, after a log rotation.
    pub(crate) fn reopen(&self) {
        // A full queue means blocks are written to the old file a little longer.
        let _ = self.queue.try_send(Message::Reopen);
    }
}

/// Lines of one worker that have not been handed over.
#[derive(Default)]
pub(crate) struct Pending {
    blocks: Vec<(Sink, String)>,
}

impl Pending {
    /// Appends what `write` writes to the block of `sink`.
    pub(crate) fn append(&mut self, writer: &LogWriter, sink: &Sink, write: impl FnOnce(&mut String)) {
        let at = match self.blocks.iter().position(|(s, _)| s == sink) {
            Some(at) => at,
            None => {
                self.blocks.push((sink.clone(), String::with_capacity(BLOCK_BYTES)));
                self.blocks.len() - 1
            }
        };
        let block = &mut self.blocks[at].1;
        write(block);
        if block.len() >= BLOCK_BYTES - LINE_BYTES {
            writer.send(sink, std::mem::replace(block, String::with_capacity(BLOCK_BYTES)));
        }
    }

    /// Hands over everything.
    pub(crate) fn flush(&mut self, writer: &LogWriter) {
        for (sink, block) in &mut self.blocks {
            if !block.is_empty() {
                writer.send(sink, std::mem::take(block));
            }
        }
    }
}

fn write(messages: &Receiver<Message>, stats: &LogStats) {
    let mut files: HashMap<Sink, Option<Box<dyn Write>>> = HashMap::new();
    while let Ok(message) = messages.recv() {
        let (sink, lines) = match message {
            Message::Lines(sink, lines) => (sink, lines),
            Message::Reopen => {
                files.clear();
                continue;
            }
            Message::End => return,
        };
        let file = files.entry(sink).or_insert_with_key(|sink| open(sink, stats));
        let written = file.as_mut().is_some_and(|f| f.write_all(lines.as_bytes()).and_then(|()| f.flush()).is_ok());
        if written { stats.write_completed.inc() } else { stats.write_failed.inc() }
    }
}

fn open(sink: &Sink, stats: &LogStats) -> Option<Box<dyn Write>> {
    match sink {
        Sink::Stdout => Some(Box::new(std::io::stdout())),
        Sink::Stderr => Some(Box::new(std::io::stderr())),
        Sink::File(path) => match std::fs::OpenOptions::new().create(true).append(true).open(path) {
            Ok(file) => Some(Box::new(file)),
            Err(error) => {
                stats.reopen_failed.inc();
                tracing::warn!(path = %path.display(), %error, "Access log cannot be opened; its lines are dropped.");
                None
            }
        },
    }
}

/// Blocks that may wait for the disk: 4 MiB.
const BLOCKS_MAX: usize = 256;
/// Size at which a worker hands its lines over.
const BLOCK_BYTES: usize = 16 * 1024;
/// Room kept for one more line, so that a block seldom grows.
const LINE_BYTES: usize = 1024;
