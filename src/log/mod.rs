//! The access log and the diagnostics: lines made on the shards, written by threads of their own.
//!
//! A shard never touches a pipe, a terminal or a disk. It hands whole batches of lines to a bounded queue; where the
//! queue is full, lines are dropped and counted, because a slow reader of logs must not slow the traffic.

pub mod access;
pub mod batch;
pub mod diagnostics;
mod output;
mod quiet;
pub mod writer;

pub use access::AccessEntry;
pub use batch::AccessLog;
pub use quiet::Quiet;
pub use writer::{LogSink, Writer};

/// Milliseconds since 1970; 0 if the clock stands before that.
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
