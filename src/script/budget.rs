//! The limits of a call (operations, time, memory), checked before every operation of a script.
//!
//! The clock is read only every few operations, because reading it costs more than most of them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rhai::{Dynamic, Engine, EvalAltResult, Position};

use super::call_stage::{ScriptHost, ScriptResult, script_error};
use super::time_limit::{ClockReading, TimeLimit};
use crate::base::memory::ThreadMemory;

/// The limits of one call.
/// Each call of a hook has all of them anew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallLimits {
    /// Operations of the script, roughly one per expression.
    pub operations: u64,
    /// Time that the thread ran.
    pub time: Duration,
    /// Bytes of a buffered body. Strings may have twice as many.
    pub body_bytes: usize,
}

/// Bytes of memory per byte of `body_bytes`: a body may be held as text, parsed, changed and serialised at once.
/// 32 MiB with the default body of 1 MiB.
const MEMORY_PER_BODY_BYTE: usize = 32;
/// The least memory of a call, however small `body_bytes` is.
/// 4 MiB.
const MIN_MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// The most operations between two readings of the clock.
const CLOCK_INTERVAL: u64 = 32;
/// The most bytes allocated between two readings of the clock: slow operations, such as parsing a body, allocate much.
const CLOCK_INTERVAL_BYTES: u64 = 64 * 1024;
/// Bytes allocated between two checks of how deep values nest: each level takes about eighty.
const DEPTH_INTERVAL_BYTES: u64 = 32 * 1024;
/// Variable reads that belong to one depth check; three of them are examined.
const DEPTH_READS: u32 = 10;
/// The most operations without a variable read while memory grows: such a value is in no variable, so its depth cannot be
/// checked.
const MAX_UNREAD: u64 = 512;

impl CallLimits {
    /// The memory that a call may hold.
    pub fn memory_bytes(&self) -> usize {
        self.body_bytes.saturating_mul(MEMORY_PER_BODY_BYTE).max(MIN_MEMORY_BYTES)
    }
}

/// The budget of the running call: its limits and what it has used.
pub(super) struct Budget {
    limits: CallLimits,
    memory: ThreadMemory,
    /// `None`: the call's time is not limited.
    time: Cell<Option<TimeLimit>>,
    is_time_over: Cell<bool>,
    /// The last reading of the CPU clock for a start.
    reading: Cell<Option<ClockReading>>,
    /// What the thread held at the start.
    start_bytes: Cell<i64>,
    operations: Cell<u64>,
    /// Bytes allocated by the thread at the last reading of the clock.
    clock_bytes: Cell<u64>,
    /// The same at the last depth check.
    depth_bytes: Cell<u64>,
    /// Variable reads since the last depth check began, and the number of depth checks.
    depth_reads: Cell<(u32, u32)>,
    /// The operation of the last variable read.
    last_read: Cell<u64>,
    host: Rc<dyn ScriptHost>,
}

impl Budget {
    pub fn new(limits: CallLimits, host: Rc<dyn ScriptHost>) -> Budget {
        Budget {
            limits,
            memory: ThreadMemory::of_this_thread(),
            time: Cell::new(None),
            is_time_over: Cell::new(false),
            reading: Cell::new(None),
            start_bytes: Cell::new(0),
            operations: Cell::new(0),
            clock_bytes: Cell::new(0),
            depth_bytes: Cell::new(0),
            depth_reads: Cell::new((DEPTH_READS, 0)),
            last_read: Cell::new(0),
            host,
        }
    }

    /// Sets the engine's own limits, and these beside them.
    pub fn install(self: &Rc<Self>, engine: &mut Engine) {
        const LEVELS: usize = 32;
        const EXPRESSION_DEPTH: usize = 64;
        const ITEMS: usize = 100_000;
        engine
            .set_max_call_levels(LEVELS)
            .set_max_expr_depths(EXPRESSION_DEPTH, EXPRESSION_DEPTH)
            .set_max_variables(256)
            .set_max_functions(256)
            .set_max_modules(16)
            .set_max_array_size(ITEMS)
            .set_max_map_size(ITEMS)
            .set_max_string_size(self.limits.body_bytes.saturating_mul(2).max(64 * 1024));
        // Operations are counted here: the engine does not count those of closures that its own functions call.
        let budget = self.clone();
        engine.on_progress(move |_| budget.check());
    }

    /// Starts a call; `now`: the start of its time, if that is limited.
    pub fn start_call(&self, now: Option<Instant>) {
        self.time.set(now.map(|now| TimeLimit::new(self.limits.time, now, self.reading(now))));
        self.is_time_over.set(false);
        self.start_bytes.set(self.memory.bytes());
        self.operations.set(0);
        self.last_read.set(0);
        self.clock_bytes.set(self.memory.allocated_bytes());
        self.depth_bytes.set(self.memory.allocated_bytes());
        self.depth_reads.set((DEPTH_READS, self.depth_reads.get().1));
    }

    fn reading(&self, now: Instant) -> ClockReading {
        match self.reading.get() {
            Some(reading) if reading.serves(self.limits.time, now) => reading,
            _ => {
                let reading = ClockReading { at: now, cpu: self.host.cpu_time() };
                self.reading.set(Some(reading));
                reading
            }
        }
    }

    /// The time that each call has.
    pub fn max_time(&self) -> Duration {
        self.limits.time
    }

    /// The operations of the call so far.
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// Whether the call has time left. Also for operations that may take long, which look at it as they go.
    pub fn is_time_left(&self) -> bool {
        let Some(mut time) = self.time.get() else { return true };
        if time.is_over(self.host.instant(), || self.host.cpu_time()) {
            self.is_time_over.set(true);
        }
        self.time.set(Some(time));
        !self.is_time_over.get()
    }

    /// The error of an operation that had no time left. Scripts cannot catch it.
    pub fn time_error(&self) -> Box<EvalAltResult> {
        EvalAltResult::ErrorTerminated(self.time_message().into(), Position::NONE).into()
    }

    /// Whether the call was ended because its time was over.
    pub fn is_time_over(&self) -> bool {
        self.is_time_over.get()
    }

    /// The time that the call has used until now.
    pub fn used_time(&self, now: Instant) -> Duration {
        self.time.get().map_or(Duration::ZERO, |time| time.used(now, || self.host.cpu_time()))
    }

    /// Checks memory within an operation that allocates much.
    pub fn check_memory(&self) -> ScriptResult<()> {
        if self.is_full() { Err(script_error(self.memory_message())) } else { Ok(()) }
    }

    /// Notes a variable read; returns whether the depth of values must be checked now, because enough was allocated since
    /// the last check for them to nest too deep.
    ///
    /// A value under construction may be in no variable at that read, so the next read is checked as well, and one of the
    /// following, a different one each time.
    pub fn is_depth_due(&self) -> bool {
        self.last_read.set(self.operations.get());
        let allocated = self.memory.allocated_bytes();
        let (mut reads, mut times) = self.depth_reads.get();
        if allocated.wrapping_sub(self.depth_bytes.get()) > DEPTH_INTERVAL_BYTES {
            self.depth_bytes.set(allocated);
            (reads, times) = (0, times.wrapping_add(1));
        } else if reads == DEPTH_READS {
            return false;
        }
        self.depth_reads.set((reads + 1, times));
        reads < 2 || reads == 2 + times % (DEPTH_READS - 2)
    }

    /// Runs `build`, whose result nests within bounds: what it allocates does not count towards the next depth check.
    pub fn without_depth_check<T>(&self, build: impl FnOnce() -> T) -> T {
        let before = self.memory.allocated_bytes();
        let built = build();
        let more = self.memory.allocated_bytes().wrapping_sub(before);
        self.depth_bytes.set(self.depth_bytes.get().wrapping_add(more));
        built
    }

    /// Measured as the growth of what the thread holds, from the allocator's own counters: nothing else runs during a
    /// call.
    fn is_full(&self) -> bool {
        let held = self.memory.bytes().wrapping_sub(self.start_bytes.get());
        usize::try_from(held).is_ok_and(|held| held > self.limits.memory_bytes())
    }

    fn memory_message(&self) -> String {
        format!("it holds more than {} bytes of memory", self.limits.memory_bytes())
    }

    /// Counts an operation. `Some`: the call is terminated, for this reason.
    fn check(&self) -> Option<Dynamic> {
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        if operations > self.limits.operations {
            return Some("it needs more operations than max_operations".into());
        }
        if self.is_full() {
            return Some(self.memory_message().into());
        }
        let allocated = self.memory.allocated_bytes();
        if operations.saturating_sub(self.last_read.get()) > MAX_UNREAD
            && allocated.wrapping_sub(self.depth_bytes.get()) > DEPTH_INTERVAL_BYTES
        {
            return Some("it builds a value for long without reading any variable".into());
        }
        let is_light = allocated.wrapping_sub(self.clock_bytes.get()) < CLOCK_INTERVAL_BYTES;
        if is_light && !operations.is_multiple_of(CLOCK_INTERVAL) {
            return None;
        }
        self.clock_bytes.set(allocated);
        if self.is_time_left() { None } else { Some(self.time_message().into()) }
    }

    fn time_message(&self) -> String {
        format!("it took longer than {} ms (max_time)", self.limits.time.as_millis())
    }
}
