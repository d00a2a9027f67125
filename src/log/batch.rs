//! A shard's side of the access log: lines gathered into batches, handed to the writer without ever waiting.

use super::access::{AccessEntry, write_common, write_json};
use super::writer::LogSink;
use crate::base::time;
use crate::plan::AccessFormat;

/// A batch is handed over once it is longer than this.
pub const BATCH_BYTES: usize = 32 * 1024;

/// One shard's access log. In steady state it allocates nothing: buffers go to the writer and come back.
pub struct AccessLog {
    format: AccessFormat,
    sink: LogSink,
    batch: Vec<u8>,
    /// How many lines `batch` holds.
    lines: u64,
    dropped: u64,
    clock: LogClock,
}

impl AccessLog {
    /// An access log that hands its lines to `sink`.
    pub fn new(format: AccessFormat, sink: LogSink) -> AccessLog {
        AccessLog { format, sink, batch: Vec::new(), lines: 0, dropped: 0, clock: LogClock::new() }
    }

    /// Changes the format of the lines to come.
    pub fn set_format(&mut self, format: AccessFormat) {
        self.format = format;
    }

    /// Whether there is an access log at all.
    pub fn is_on(&self) -> bool {
        self.format != AccessFormat::Off
    }

    /// Adds the line of a request that ended at `now_unix_ms` (Unix time in milliseconds).
    pub fn record(&mut self, now_unix_ms: u64, entry: &AccessEntry) {
        if self.format == AccessFormat::Off {
            return;
        }
        // The last batch took its buffer along.
        if self.batch.capacity() == 0 {
            self.batch = self.sink.buffer();
        }
        self.clock.set(now_unix_ms);
        match self.format {
            AccessFormat::Json => write_json(entry, &self.clock.rfc3339, &mut self.batch),
            AccessFormat::Common => write_common(entry, &self.clock.common, &mut self.batch),
            AccessFormat::Off => return,
        }
        self.lines += 1;
        if self.batch.len() > BATCH_BYTES {
            self.flush();
        }
    }

    /// Hands the batch to the writer; called at each tick of the shard. If the writer's queue is full, the batch is kept
    /// for the next call, unless it has grown beyond its size: then its lines are dropped and counted.
    pub fn flush(&mut self) {
        if self.lines == 0 {
            return;
        }
        match self.sink.try_send(std::mem::take(&mut self.batch)) {
            Ok(()) => self.lines = 0,
            Err(batch) => {
                self.batch = batch;
                if self.batch.len() > BATCH_BYTES {
                    self.batch.clear();
                    self.dropped += std::mem::take(&mut self.lines);
                }
            }
        }
    }

    /// Lines dropped because the writer did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Drop for AccessLog {
    /// Hands the last lines over. Those that do not fit are counted in the sink, since `dropped` is gone with this.
    fn drop(&mut self) {
        self.flush();
        self.sink.add_lost(self.lines);
    }
}

/// The time as both formats write it; only the milliseconds change more than once a second.
struct LogClock {
    unix_s: u64,
    rfc3339: [u8; 24],
    common: [u8; 26],
}

impl LogClock {
    fn new() -> LogClock {
        LogClock { unix_s: 0, rfc3339: time::rfc3339_ms(0), common: time::common_log(0) }
    }

    /// Sets the time; both texts are made anew when the second changes.
    fn set(&mut self, unix_ms: u64) {
        let unix_s = unix_ms / 1000;
        if unix_s != self.unix_s {
            *self = LogClock { unix_s, rfc3339: time::rfc3339_ms(unix_ms), common: time::common_log(unix_s) };
        }
        time::put_ms(&mut self.rfc3339, unix_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::super::access::tests::sample;
    use super::super::writer::tests::{LIMIT, piped, stuff};
    use super::*;
    use std::io;

    const NOON_MS: u64 = 1_795_521_600_000;

    fn lines_of(text: &str) -> u64 {
        text.lines().count() as u64
    }

    #[test]
    fn a_stuck_writer_never_blocks_a_shard_and_every_dropped_line_is_counted() {
        let (sink, writer, access, _diagnostics) = piped();
        let stuffing = stuff(&sink) as u64;
        let mut log = AccessLog::new(AccessFormat::Json, sink.clone());
        let recorded = 100_000;
        for number in 0..recorded {
            log.record(NOON_MS + number, &sample());
        }
        assert!(log.dropped() > 0);
        let reader = std::thread::spawn(move || io::read_to_string(access).unwrap());
        assert!(writer.flush(LIMIT));
        log.flush();
        assert!(writer.finish(LIMIT));
        let dropped = log.dropped();
        drop((log, sink));
        assert_eq!(lines_of(&reader.join().unwrap()), stuffing + recorded - dropped);
    }

    #[test]
    fn a_short_batch_waits_out_a_full_queue_instead_of_being_dropped() {
        let (sink, writer, access, _diagnostics) = piped();
        let stuffing = stuff(&sink);
        let mut log = AccessLog::new(AccessFormat::Json, sink.clone());
        log.record(NOON_MS, &sample());
        log.flush();
        assert_eq!(log.dropped(), 0);
        let reader = std::thread::spawn(move || io::read_to_string(access).unwrap());
        assert!(writer.flush(LIMIT));
        log.flush();
        assert!(writer.finish(LIMIT));
        drop((log, sink));
        assert_eq!(lines_of(&reader.join().unwrap()), stuffing as u64 + 1);
    }

    #[test]
    fn lines_that_a_dying_shard_cannot_hand_over_are_counted_as_lost() {
        let (sink, _writer, _access, _diagnostics) = piped();
        stuff(&sink);
        let mut log = AccessLog::new(AccessFormat::Common, sink.clone());
        log.record(NOON_MS, &sample());
        log.record(NOON_MS, &sample());
        drop(log);
        assert_eq!(sink.access_lost(), 2);
    }

    #[test]
    fn the_time_follows_the_clock_and_the_format_a_reload() {
        let (sink, writer, access, _diagnostics) = piped();
        let mut log = AccessLog::new(AccessFormat::Json, sink.clone());
        log.record(NOON_MS + 7, &sample());
        log.record(NOON_MS + 999, &sample());
        log.record(NOON_MS + 1000, &sample());
        log.set_format(AccessFormat::Common);
        log.record(NOON_MS + 2000, &sample());
        log.set_format(AccessFormat::Off);
        log.record(NOON_MS + 3000, &sample());
        drop(log);
        assert!(writer.finish(LIMIT));
        drop(sink);
        let text = io::read_to_string(access).unwrap();
        let starts = [
            "{\"time\":\"2026-11-24T12:00:00.007Z\"",
            "{\"time\":\"2026-11-24T12:00:00.999Z\"",
            "{\"time\":\"2026-11-24T12:00:01.000Z\"",
            "192.0.2.7 - - [24/Nov/2026:12:00:02 +0000]",
        ];
        assert_eq!(lines_of(&text), starts.len() as u64, "{text}");
        for (line, start) in text.lines().zip(starts) {
            assert!(line.starts_with(start), "{line}");
        }
    }
}
