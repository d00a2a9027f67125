//! The world of a test: its own clock, ids, counters and log, the same at every run.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::limits::OfflineLimits;
use crate::base::cpu_time::cpu_time_of_thread;
use crate::metrics::ScriptMetrics;
use crate::pipeline::script::{NoticeKind, ScriptNotice};
use crate::script::{self, LogLine};
use crate::store::ShardCounters;

/// When every test begins, in seconds since 1970.
const BEGINS_AT: u64 = 1_700_000_000;
/// The last second of the year 9999, beyond which a date has no four digits.
const LAST_SECOND: u64 = 253_402_300_799;

/// What a test and the scripts that it runs have in common.
pub struct TestState {
    unix_ms: Cell<u64>,
    ids: Cell<u64>,
    requests: Cell<u64>,
    counters: RefCell<ShardCounters>,
    lines: RefCell<Vec<String>>,
    pub limits: OfflineLimits,
}

impl Default for TestState {
    fn default() -> TestState {
        TestState {
            unix_ms: Cell::new(BEGINS_AT * 1000),
            ids: Cell::new(0),
            requests: Cell::new(0),
            counters: RefCell::new(ShardCounters::new()),
            lines: RefCell::default(),
            limits: OfflineLimits::default(),
        }
    }
}

impl TestState {
    /// Forgets the test before.
    pub fn begin(&self) {
        let TestState { unix_ms, ids, requests, counters, lines, .. } = TestState::default();
        self.unix_ms.swap(&unix_ms);
        self.ids.swap(&ids);
        self.requests.swap(&requests);
        self.counters.swap(&counters);
        self.lines.swap(&lines);
        self.limits.clear();
    }

    pub fn unix_s(&self) -> u64 {
        self.unix_ms.get() / 1000
    }

    /// Sets the clock; false where it has no such time.
    pub fn set_now(&self, unix_s: i64) -> bool {
        match u64::try_from(unix_s) {
            Ok(unix_s @ ..=LAST_SECOND) => {
                self.unix_ms.set(unix_s * 1000);
                true
            }
            _ => false,
        }
    }

    /// The id of the next request, which no `uuid()` gives.
    pub fn request_id(&self) -> Vec<u8> {
        self.requests.set(self.requests.get() + 1);
        format!("00000000-0000-4000-9000-{:012}", self.requests.get()).into_bytes()
    }

    /// Unix time in milliseconds.
    pub fn unix_ms(&self) -> u64 {
        self.unix_ms.get()
    }

    /// How many lines have been logged.
    pub fn lines(&self) -> usize {
        self.lines.borrow().len()
    }

    /// The lines from the `from`th on.
    pub fn lines_from(&self, from: usize) -> Vec<String> {
        self.lines.borrow().get(from..).unwrap_or_default().to_vec()
    }

    pub fn take_lines(&self) -> Vec<String> {
        self.lines.take()
    }

    /// Logs as the gateway would.
    pub fn log_notice(&self, notice: &ScriptNotice<'_>) {
        let line = match &notice.kind {
            NoticeKind::Failed(fault) => fault.to_string(),
            NoticeKind::PassedBy(why) => format!("on_response_body is passed by: {why}"),
            NoticeKind::Unreadable(hook, why) => {
                format!("{} is passed by: content coding {why}", hook.name())
            }
        };
        self.lines.borrow_mut().push(line);
    }
}

/// How a script sees it.
pub struct TestScriptHost {
    pub state: Rc<TestState>,
    /// `None`: time passes for the deadline of a call.
    pub frozen_at: Option<Instant>,
}

impl script::ScriptHost for TestScriptHost {
    fn unix_ms(&self) -> u64 {
        self.state.unix_ms.get()
    }

    fn instant(&self) -> Instant {
        self.frozen_at.unwrap_or_else(Instant::now)
    }

    fn cpu_time(&self) -> Duration {
        match self.frozen_at {
            Some(_) => Duration::ZERO,
            None => cpu_time_of_thread(),
        }
    }

    fn uuid(&self, out: &mut Vec<u8>) {
        self.state.ids.set(self.state.ids.get() + 1);
        out.extend_from_slice(format!("00000000-0000-4000-8000-{:012}", self.state.ids.get()).as_bytes());
    }

    fn log(&self, line: &LogLine<'_>) {
        self.state.lines.borrow_mut().push(line.text.to_owned());
    }

    fn add_to_counter(&self, route: &str, name: &str, n: i64) -> bool {
        let counters = self.state.counters.borrow();
        counters.may_use(route, name) && counters.add(name, n)
    }

    fn counter(&self, route: &str, name: &str) -> i64 {
        let counters = self.state.counters.borrow();
        if counters.may_use(route, name) { counters.value(name) } else { 0 }
    }

    fn metrics(&self, _: &str) -> Rc<ScriptMetrics> {
        Rc::default()
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}
