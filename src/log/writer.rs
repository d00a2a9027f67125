//! The threads that write: one for the access log, one for the diagnostics.
//!
//! Two, so that a standard output that nobody reads does not silence the line on standard error that says so. Both
//! take whole batches from bounded queues; no sender ever waits. A full disk or a closed pipe costs lines, which are
//! counted, never the process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::batch::BATCH_BYTES;
use super::output::{self, Output};
use super::{Quiet, unix_ms};
use crate::plan::LogTarget;

/// Batches that may wait: at about 32 KiB each, 8 MiB.
const ACCESS_QUEUE: usize = 256;
/// Lines that may wait.
const DIAGNOSTICS_QUEUE: usize = 1024;
/// Written buffers kept for reuse.
const SPARE_BUFFERS: usize = 64;
/// A buffer that one huge line has grown beyond this is freed, not kept.
const SPARE_BYTES: usize = 4 * BATCH_BYTES;

/// Starts both threads. The access log goes to `target`, the diagnostics to standard error.
///
/// Call it before pinning: the threads inherit the CPUs of their maker. Fails where the file cannot be opened or a
/// thread not started.
pub fn start(target: &LogTarget) -> io::Result<(LogSink, Writer)> {
    let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    start_with(output::open(target)?, stderr)
}

fn start_with(access: File, diagnostics: File) -> io::Result<(LogSink, Writer)> {
    let sink = LogSink {
        access: LogQueue::start(QueueKind::Access, access)?,
        diagnostics: LogQueue::start(QueueKind::Diagnostics, diagnostics)?,
    };
    Ok((sink.clone(), Writer { sink }))
}

/// Takes lines and never blocks. Cheap to clone, one for each shard.
#[derive(Clone)]
pub struct LogSink {
    access: LogQueue,
    diagnostics: LogQueue,
}

impl LogSink {
    /// Queues a batch of access-log lines, or gives it back because the queue is full.
    pub fn try_send(&self, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        self.access.try_send(batch)
    }

    /// An empty buffer: one that was written already, else a new one.
    pub fn buffer(&self) -> Vec<u8> {
        self.access.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH_BYTES + BATCH_BYTES / 8))
    }

    /// Queues one line of diagnostics, or drops and counts it because the queue is full.
    pub fn diagnostic(&self, line: Vec<u8>) {
        if self.diagnostics.try_send(line).is_err() {
            self.diagnostics.shared.add_lost(1);
        }
    }

    /// Counts access-log lines as lost that nobody else counts any more.
    pub(super) fn add_lost(&self, lines: u64) {
        self.access.shared.add_lost(lines);
    }

    /// Access-log lines lost after the shards handed them over: the target took no more (full disk, closed pipe).
    /// Those dropped because the queue was full are counted by each `AccessLog`.
    pub fn access_lost(&self) -> u64 {
        self.access.shared.lost.load(Relaxed)
    }

    /// Lines of diagnostics lost, for whatever cause.
    pub fn diagnostics_lost(&self) -> u64 {
        self.diagnostics.shared.lost.load(Relaxed)
    }
}

/// The control side of the two threads.
pub struct Writer {
    sink: LogSink,
}

impl Writer {
    /// Opens the access log anew (SIGUSR1 after a rotation, or a reload with another target). The old one is given up
    /// only when the new one is open; an error keeps the old. What is queued goes to the new one.
    pub fn reopen(&self, target: &LogTarget) -> io::Result<()> {
        let file = output::open(target)?;
        let lane = &self.sink.access;
        *lane.shared.next() = Some(file);
        // A full queue needs no wake: the thread looks for a new file before each batch.
        let _ = lane.queue.try_send(QueueMessage::Wake);
        Ok(())
    }

    /// Waits until everything queued before this call is written, `limit` at most. False: time ran out.
    pub fn flush(&self, limit: Duration) -> bool {
        let start = Instant::now();
        // Access first, as its failures may add diagnostics; but a stuck one must leave these some time.
        let access = self.sink.access.flush(start + limit / 2);
        let diagnostics = self.sink.diagnostics.flush(start + limit);
        access && diagnostics
    }

    /// The last flush before the process exits. A stuck pipe holds it no longer than `limit`.
    pub fn finish(self, limit: Duration) -> bool {
        self.flush(limit)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum QueueKind {
    Access,
    Diagnostics,
}

enum QueueMessage {
    Lines(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(Sender<()>),
    /// A new file waits.
    Wake,
}

/// One thread, its queue, and the buffers that come back from it.
#[derive(Clone)]
struct LogQueue {
    queue: Sender<QueueMessage>,
    spare: Receiver<Vec<u8>>,
    shared: Arc<QueueShared>,
}

/// What the thread and the others both touch, never on the way of a request.
#[derive(Default)]
struct QueueShared {
    next: Mutex<Option<File>>,
    lost: AtomicU64,
}

impl QueueShared {
    fn next(&self) -> MutexGuard<'_, Option<File>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_lost(&self, lines: u64) {
        self.lost.fetch_add(lines, Relaxed);
    }
}

impl LogQueue {
    fn start(kind: QueueKind, file: File) -> io::Result<LogQueue> {
        let (name, length, spares) = match kind {
            QueueKind::Access => ("ringway-log", ACCESS_QUEUE, SPARE_BUFFERS),
            QueueKind::Diagnostics => ("ringway-diag", DIAGNOSTICS_QUEUE, 0),
        };
        let (queue, messages) = bounded(length);
        let (give_back, spare) = bounded(spares);
        let shared = Arc::new(QueueShared::default());
        let lane = LogQueue { queue, spare, shared: shared.clone() };
        thread::Builder::new().name(name.into()).spawn(move || {
            WriterThread { kind, output: Output::new(file), messages, give_back, shared }.run();
        })?;
        Ok(lane)
    }

    fn try_send(&self, lines: Vec<u8>) -> Result<(), Vec<u8>> {
        self.queue.try_send(QueueMessage::Lines(lines)).map_err(|error| match error.into_inner() {
            QueueMessage::Lines(lines) => lines,
            QueueMessage::Flush(_) | QueueMessage::Wake => Vec::new(), // not what was sent
        })
    }

    fn flush(&self, deadline: Instant) -> bool {
        let (done, written) = bounded(1);
        self.queue.send_deadline(QueueMessage::Flush(done), deadline).is_ok()
            && written.recv_deadline(deadline).is_ok()
    }
}

/// What a thread owns. It ends when the last `LogQueue` is gone.
struct WriterThread {
    kind: QueueKind,
    output: Output<File>,
    messages: Receiver<QueueMessage>,
    give_back: Sender<Vec<u8>>,
    shared: Arc<QueueShared>,
}

impl WriterThread {
    fn run(mut self) {
        let quiet = Quiet::new("the access log cannot be written", 1);
        while let Ok(message) = self.messages.recv() {
            if let Some(file) = self.shared.next().take() {
                self.output = Output::new(file);
            }
            match message {
                QueueMessage::Lines(lines) => self.write(lines, &quiet),
                QueueMessage::Flush(done) => _ = done.try_send(()),
                QueueMessage::Wake => {}
            }
        }
    }

    fn write(&mut self, mut lines: Vec<u8>, quiet: &Quiet) {
        if let Err(loss) = self.output.write(&lines) {
            self.shared.add_lost(loss.lines);
            // Trouble with the diagnostics has nowhere to be told but the counter.
            if self.kind == QueueKind::Access && quiet.allow(unix_ms()) {
                let output::Loss { lines, error } = loss;
                tracing::error!(lines, %error, "the access log cannot be written; these lines are lost");
            }
        }
        if lines.capacity() <= SPARE_BYTES {
            lines.clear();
            let _ = self.give_back.try_send(lines); // enough are kept: this one is freed
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;

    pub(in crate::log) const LIMIT: Duration = Duration::from_secs(20);

    pub(in crate::log) fn piped() -> (LogSink, Writer, PipeReader, PipeReader) {
        let (access_out, access_in) = io::pipe().unwrap();
        let (diagnostics_out, diagnostics_in) = io::pipe().unwrap();
        let file = |pipe| File::from(OwnedFd::from(pipe));
        let (sink, writer) = start_with(file(access_in), file(diagnostics_in)).unwrap();
        (sink, writer, access_out, diagnostics_out)
    }

    /// Sends empty lines until the thread hangs in a write that nobody reads and the queue behind it is full; answers
    /// how many lines were taken.
    pub(in crate::log) fn stuff(sink: &LogSink) -> usize {
        let more_than_a_pipe_holds = vec![b'\n'; 1 << 20];
        sink.try_send(more_than_a_pipe_holds).unwrap();
        while !sink.access.queue.is_empty() {
            thread::yield_now();
        }
        (1 << 20) + (0..).take_while(|_| sink.try_send(b"\n".to_vec()).is_ok()).count()
    }

    #[test]
    fn lines_are_written_in_the_order_they_were_sent() {
        let (sink, writer, mut access, mut diagnostics) = piped();
        for line in ["one\n", "two\n", "three\n"] {
            sink.try_send(line.into()).unwrap();
            sink.diagnostic(line.into());
        }
        assert!(writer.finish(LIMIT));
        drop(sink);
        let read = |pipe: &mut PipeReader| io::read_to_string(pipe).unwrap();
        assert_eq!(read(&mut access), "one\ntwo\nthree\n");
        assert_eq!(read(&mut diagnostics), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_stuck_target_refuses_batches_but_holds_up_neither_senders_nor_the_exit() {
        let (sink, writer, mut access, _diagnostics) = piped();
        let taken = stuff(&sink);
        assert!(!writer.finish(Duration::from_millis(50)));
        drop(sink);
        let mut read = Vec::new();
        access.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), taken);
    }

    #[test]
    fn a_stuck_access_log_does_not_hold_up_diagnostics() {
        let (sink, _writer, _access, mut diagnostics) = piped();
        stuff(&sink);
        sink.diagnostic(b"still here\n".to_vec());
        let mut line = [0; 11];
        diagnostics.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"still here\n");
    }

    #[test]
    fn a_full_disk_costs_lines_which_are_counted_and_nothing_else() {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let (sink, writer) = start_with(full(), full()).unwrap();
        sink.try_send(b"one\ntwo\n".to_vec()).unwrap();
        sink.try_send(b"three\n".to_vec()).unwrap();
        sink.diagnostic(b"four\n".to_vec());
        assert!(writer.flush(LIMIT));
        assert_eq!((sink.access_lost(), sink.diagnostics_lost()), (3, 1));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        writer.reopen(&LogTarget::File(path.clone())).unwrap();
        sink.try_send(b"five\n".to_vec()).unwrap();
        assert!(writer.flush(LIMIT));
        assert_eq!(fs::read_to_string(path).unwrap(), "five\n");
    }

    #[test]
    fn a_closed_pipe_costs_lines_not_the_process() {
        let (sink, writer, access, _diagnostics) = piped();
        drop(access);
        sink.try_send(b"one\n".to_vec()).unwrap();
        assert!(writer.flush(LIMIT));
        assert_eq!(sink.access_lost(), 1);
    }

    #[test]
    fn reopening_after_a_rename_writes_to_the_new_file_and_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (path, old) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
        fs::write(&path, "before\n").unwrap();
        let target = LogTarget::File(path.clone());
        let (sink, writer) = start(&target).unwrap();
        sink.try_send(b"one\n".to_vec()).unwrap();
        assert!(writer.flush(LIMIT));
        fs::rename(&path, &old).unwrap();
        sink.try_send(b"two\n".to_vec()).unwrap();
        assert!(writer.flush(LIMIT));
        writer.reopen(&target).unwrap();
        sink.try_send(b"three\n".to_vec()).unwrap();
        assert!(writer.finish(LIMIT));
        assert_eq!(fs::read_to_string(&old).unwrap(), "before\none\ntwo\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    }

    #[test]
    fn a_reopen_that_fails_keeps_the_old_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let (sink, writer) = start(&LogTarget::File(path.clone())).unwrap();
        writer.reopen(&LogTarget::File(directory.path().into())).unwrap_err();
        sink.try_send(b"one\n".to_vec()).unwrap();
        assert!(writer.finish(LIMIT));
        assert_eq!(fs::read_to_string(path).unwrap(), "one\n");
    }

    #[test]
    fn written_buffers_come_back_unless_one_line_made_them_huge() {
        let (sink, writer, mut access, _diagnostics) = piped();
        let reader = thread::spawn(move || io::copy(&mut access, &mut io::sink()));
        sink.try_send(vec![b'\n'; SPARE_BYTES + 1]).unwrap();
        let mut batch = Vec::with_capacity(BATCH_BYTES + 7);
        batch.push(b'\n');
        sink.try_send(batch).unwrap();
        assert!(writer.finish(LIMIT));
        let buffer = sink.buffer();
        assert_eq!((buffer.len(), buffer.capacity()), (0, BATCH_BYTES + 7));
        assert!(sink.access.spare.is_empty());
        drop(sink);
        reader.join().unwrap().unwrap();
    }
}
