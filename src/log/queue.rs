//! A bounded queue of log lines and the thread that writes them.
//!
//! A sender never waits: a full queue refuses the lines. The thread takes whole batches, and gives their buffers back, so
//! that shards allocate none in steady state.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::batch::BATCH_BYTES;
use super::output::{self, Output};
use super::{Quiet, unix_ms};

/// Batches that may wait: 256 of about 32 KiB, 8 MiB.
const ACCESS_QUEUE: usize = 256;
/// Lines of diagnostics that may wait.
const DIAGNOSTICS_QUEUE: usize = 1024;
/// Written buffers that are kept for reuse.
const SPARE_BUFFERS: usize = 64;
/// A buffer that one huge line has grown beyond this is freed, not kept.
pub(super) const SPARE_BYTES: usize = 4 * BATCH_BYTES;

/// Which of the two logs a queue belongs to.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum QueueKind {
    Access,
    Diagnostics,
}

enum QueueMessage {
    Lines(Vec<u8>),
    /// Confirmed when everything before it is written.
    Flush(Sender<()>),
    /// There is a new file to write to.
    Wake,
}

/// The senders' side of one writer thread. Cloned for every sender; the thread ends with the last clone.
#[derive(Clone)]
pub(super) struct LogQueue {
    messages: Sender<QueueMessage>,
    /// Buffers that were written and may be filled again.
    spare: Receiver<Vec<u8>>,
    shared: Arc<QueueShared>,
}

/// What senders and the thread share beside the channel. No request touches it.
#[derive(Default)]
struct QueueShared {
    /// The file to write to from the next batch on, if it is another one.
    next_file: Mutex<Option<File>>,
    lost: AtomicU64,
}

impl QueueShared {
    fn next_file(&self) -> MutexGuard<'_, Option<File>> {
        self.next_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }
}

impl LogQueue {
    /// Starts the thread that writes to `file`.
    pub fn start(kind: QueueKind, file: File) -> io::Result<LogQueue> {
        let (name, length, spares) = match kind {
            QueueKind::Access => ("ringway-log", ACCESS_QUEUE, SPARE_BUFFERS),
            QueueKind::Diagnostics => ("ringway-diag", DIAGNOSTICS_QUEUE, 0),
        };
        let (sender, receiver) = bounded(length);
        let (used, spare) = bounded(spares);
        let shared = Arc::new(QueueShared::default());
        let queue = LogQueue { messages: sender, spare, shared: shared.clone() };
        thread::Builder::new().name(name.into()).spawn(move || {
            WriterThread { kind, output: Output::new(file), messages: receiver, used, shared }.run();
        })?;
        Ok(queue)
    }

    /// Queues whole lines, or gives them back because the queue is full.
    pub fn try_send(&self, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        self.messages.try_send(QueueMessage::Lines(lines)).map_err(|error| match error.into_inner() {
            QueueMessage::Lines(lines) => lines,
            QueueMessage::Flush(_) | QueueMessage::Wake => Vec::new(), // not sent here
        })
    }

    /// An empty buffer: one that was written before, else a new one.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 8))
    }

    /// Writes to `file` from the next batch on.
    pub fn set_file(&self, file: File) {
        *self.shared.next_file() = Some(file);
        // A full queue needs no message: the thread looks for a new file before each batch.
        let _ = self.messages.try_send(QueueMessage::Wake);
    }

    /// Counts lines as lost.
    pub fn add_lost(&self, lines: u64) {
        self.shared.add_lost(lines);
    }

    /// Lines lost so far.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    /// Waits until everything queued before is written. False: `deadline` has passed.
    pub fn flush(&self, deadline: Instant) -> bool {
        let (done, written) = bounded(1);
        self.messages.send_deadline(QueueMessage::Flush(done), deadline).is_ok()
            && written.recv_deadline(deadline).is_ok()
    }
}

/// What the thread owns.
struct WriterThread {
    kind: QueueKind,
    output: Output<File>,
    messages: Receiver<QueueMessage>,
    /// Written buffers go back to the senders here.
    used: Sender<Vec<u8>>,
    shared: Arc<QueueShared>,
}

impl WriterThread {
    /// Until the last sender is gone.
    fn run(mut self) {
        let quiet = Quiet::new("the access log cannot be written", 1);
        while let Ok(message) = self.messages.recv() {
            if let Some(file) = self.shared.next_file().take() {
                self.output = Output::new(file);
            }
            match message {
                QueueMessage::Lines(lines) => self.write(lines, &quiet),
                QueueMessage::Flush(done) => _ = done.try_send(()),
                QueueMessage::Wake => {}
            }
        }
    }

    /// Writes one batch, and gives its buffer back.
    fn write(&mut self, mut lines: Vec<u8>, quiet: &Quiet) {
        if let Err(loss) = self.output.write(&lines) {
            self.shared.add_lost(loss.lines);
            // A failure of the diagnostics themselves can only be counted.
            if self.kind == QueueKind::Access && quiet.allow(unix_ms()) {
                let output::Loss { lines, error } = loss;
                tracing::error!(lines, %error, "the access log cannot be written; these lines are lost");
            }
        }
        if lines.capacity() <= SPARE_BYTES {
            lines.clear();
            let _ = self.used.try_send(lines); // enough are kept: this one is freed
        }
    }
}

#[cfg(test)]
impl LogQueue {
    /// Whether the thread has taken every message.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether no buffer waits for reuse.
    pub fn has_no_spare(&self) -> bool {
        self.spare.is_empty()
    }
}
