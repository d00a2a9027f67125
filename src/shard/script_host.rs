//! What the scripts of a shard may use: its clock, ids, counters and log.
//!
//! Scripts reach the outside only through this: the engine itself does no I/O.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::clock::Clock;
use crate::base::cpu_time::cpu_time_of_thread;
use crate::base::id::RequestIds;
use crate::metrics::{ScriptMetrics, ShardMetrics};
use crate::pipeline::script::{NoticeKind, ScriptNotice};
use crate::script::ScriptFault;
use crate::script::{LogLine, ScriptHost};
use crate::store::ShardCounters;

/// Writes what a script's author should know into the log.
/// A script's own failure is an error, a coding that cannot be decoded a warning; a partial response, which body
/// hooks never see, is ordinary traffic and worth a debug line only.
pub fn log_notice(notice: &ScriptNotice<'_>) {
    let (route, request_id) = (notice.route, String::from_utf8_lossy(notice.request_id));
    match notice.kind {
        NoticeKind::Failed(ScriptFault { script, line, column, message }) => {
            tracing::error!(script, line, column, %request_id, route, "{message}");
        }
        NoticeKind::PassedBy(why) => {
            tracing::debug!(%request_id, route, "on_response_body is passed by: {why}");
        }
        NoticeKind::Unreadable(hook, ref why) => {
            tracing::warn!(%request_id, route, "{} is passed by: content coding {why}", hook.name());
        }
    }
}

/// Shares the shard's cells; it lives as long as the engine, over many generations.
pub struct ShardScriptHost {
    pub clock: Rc<Clock>,
    pub ids: Rc<RefCell<RequestIds>>,
    pub counters: Rc<ShardCounters>,
    pub metrics: Rc<ShardMetrics>,
}

impl ScriptHost for ShardScriptHost {
    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms(Instant::now())
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn cpu_time(&self) -> Duration {
        cpu_time_of_thread()
    }

    fn uuid(&self, out: &mut Vec<u8>) {
        self.ids.borrow_mut().write(out);
    }

    fn log(&self, line: &LogLine<'_>) {
        let request_id = String::from_utf8_lossy(line.request_id);
        tracing::info!(script = line.script, route = line.route, %request_id, "{}", line.text);
    }

    fn add_to_counter(&self, route: &str, name: &str, n: i64) -> bool {
        self.counters.may_use(route, name) && self.counters.add(name, n)
    }

    fn counter(&self, route: &str, name: &str) -> i64 {
        if self.counters.may_use(route, name) { self.counters.value(name) } else { 0 }
    }

    fn metrics(&self, script: &str) -> Rc<ScriptMetrics> {
        self.metrics.script(script)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
