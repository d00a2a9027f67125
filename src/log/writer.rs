//! The two logs from outside: [`LogSink`] for those who log, [`Writer`] for control.
//!
//! Each log has a queue and a thread of its own, so that a standard output that is not read does not hold up the line on
//! standard error that reports it. No sender ever waits. A full disk or a closed pipe costs lines, which are counted; it
//! never stops the process.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::output;
use super::queue::{LogQueue, QueueKind};
use crate::plan::LogTarget;

/// Starts both threads. The access log goes to `target`, the diagnostics to standard error.
///
/// To be called before the shards are pinned: a thread inherits the CPUs of the one that spawns it.
///
/// # Errors
/// The file cannot be opened, or a thread not created.
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

/// Takes lines and never blocks. Cheap to clone: every shard has one.
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

    /// An empty buffer for a batch: one that was written before, else a new one.
    pub fn buffer(&self) -> Vec<u8> {
        self.access.buffer()
    }

    /// Queues one line of diagnostics, or drops and counts it because the queue is full.
    pub fn diagnostic(&self, line: Vec<u8>) {
        if self.diagnostics.try_send(line).is_err() {
            self.diagnostics.add_lost(1);
        }
    }

    /// Counts access-log lines of a shard that has ended as lost.
    pub(super) fn add_lost(&self, lines: u64) {
        self.access.add_lost(lines);
    }

    /// Access-log lines lost after the shards handed them over: the target took no more (full disk, closed pipe).
    /// Those dropped because the queue was full are counted by each `AccessLog`.
    pub fn access_lost(&self) -> u64 {
        self.access.lost()
    }

    /// Lines of diagnostics lost, whatever the cause.
    pub fn diagnostics_lost(&self) -> u64 {
        self.diagnostics.lost()
    }
}

/// Control's side of the two logs.
pub struct Writer {
    sink: LogSink,
}

impl Writer {
    /// Opens the access log anew (SIGUSR1 after a rotation, or a reload with another target). Lines that are queued go to
    /// the new one.
    ///
    /// # Errors
    /// It cannot be opened; then the old one stays in use.
    pub fn reopen(&self, target: &LogTarget) -> io::Result<()> {
        self.sink.access.set_file(output::open(target)?);
        Ok(())
    }

    /// Waits until everything queued before this call is written, for `limit` at most. False: time ran out.
    pub fn flush(&self, limit: Duration) -> bool {
        let start = Instant::now();
        // The access log first, since its failures may add diagnostics; if it is stuck, half the time is left for these.
        let access = self.sink.access.flush(start + limit / 2);
        let diagnostics = self.sink.diagnostics.flush(start + limit);
        access && diagnostics
    }

    /// The last flush before the process exits. A stuck pipe holds it no longer than `limit`.
    pub fn finish(self, limit: Duration) -> bool {
        self.flush(limit)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::fs;
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::super::batch::BATCH_BYTES;
    use super::super::queue::SPARE_BYTES;

    pub(in crate::log) const LIMIT: Duration = Duration::from_secs(20);

    pub(in crate::log) fn piped() -> (LogSink, Writer, PipeReader, PipeReader) {
        let (access_out, access_in) = io::pipe().unwrap();
        let (diagnostics_out, diagnostics_in) = io::pipe().unwrap();
        let file = |pipe| File::from(OwnedFd::from(pipe));
        let (sink, writer) = start_with(file(access_in), file(diagnostics_in)).unwrap();
        (sink, writer, access_out, diagnostics_out)
    }

    /// Sends empty lines until the thread blocks in a write to a full pipe and the queue is full, too. Returns how many
    /// lines were accepted.
    pub(in crate::log) fn stuff(sink: &LogSink) -> usize {
        let more_than_a_pipe_holds = vec![b'\n'; 1 << 20];
        sink.try_send(more_than_a_pipe_holds).unwrap();
        while !sink.access.is_empty() {
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
        assert!(sink.access.has_no_spare());
        drop(sink);
        reader.join().unwrap().unwrap();
    }
}
