//! What scripts of this shard ask of the world around them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use super::clock::Clock;
use crate::base::id::RequestIds;
use crate::metrics::{ScriptMetrics, ShardMetrics};
use crate::script::{LogLine, ScriptHost};
use crate::store::ShardCounters;

pub struct ShardWorld {
    pub clock: Rc<Clock>,
    pub ids: Rc<RefCell<RequestIds>>,
    pub counters: Rc<ShardCounters>,
    pub metrics: Rc<ShardMetrics>,
}

impl ScriptHost for ShardWorld {
    fn unix_ms(&self) -> u64 {
        self.clock.unix_ms(Instant::now())
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn uuid(&self, out: &mut Vec<u8>) {
        self.ids.borrow_mut().write(out);
    }

    fn log(&self, line: &LogLine<'_>) {
        let request_id = String::from_utf8_lossy(line.request_id);
        tracing::info!(script = line.script, route = line.route, %request_id, "{}", line.text);
    }

    fn add_to_counter(&self, name: &str, n: i64) -> bool {
        self.counters.add(name, n)
    }

    fn counter(&self, name: &str) -> i64 {
        self.counters.value(name)
    }

    fn metrics(&self, script: &str) -> Rc<ScriptMetrics> {
        self.metrics.script(script)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
