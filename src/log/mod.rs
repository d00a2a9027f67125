//! The access log and the diagnostics: lines formatted on the shards, written by threads of their own.
//!
//! A shard never writes to a pipe, a terminal or a disk. It puts whole batches of lines into a bounded queue; where the
//! queue is full, lines are dropped and counted, because a slow reader of logs must not slow the traffic down.
//!
//! | file | concern |
//! |---|---|
//! | `access`, `text` | a finished request, and its line in either format |
//! | `batch` | a shard's lines gathered into batches |
//! | `diagnostics`, `quiet` | `tracing` events as lines, and a limit on those that clients can cause |
//! | `writer`, `queue`, `output` | the handles, the threads, and the files they write to |

pub mod access;
pub mod batch;
pub mod diagnostics;
mod output;
mod queue;
mod quiet;
mod text;
pub mod writer;

pub use access::AccessEntry;
pub use batch::AccessLog;
pub use quiet::Quiet;
pub use writer::{LogSink, Writer};

/// Unix time in milliseconds; 0 if the clock is set before 1970.
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
