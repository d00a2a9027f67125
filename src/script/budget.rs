//! What a call may use: operations, time, memory. Looked at before every operation of a script.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rhai::{Dynamic, Engine};

use super::call_stage::{ScriptHost, ScriptResult, thrown};
use crate::base::memory::ThreadMemory;

/// The limits of one call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallLimits {
    /// Steps of the script, roughly one an expression.
    pub operations: u64,
    /// By the clock on the wall.
    pub time: Duration,
    /// Bytes of a body that is buffered, and of a string.
    pub body_bytes: usize,
}

/// Bytes of memory per byte of `body_bytes`: a body is there as text, parsed, changed and written.
const MEMORY_PER_BODY_BYTE: usize = 32;
/// Whatever `body_bytes` says.
const LEAST_MEMORY_BYTES: usize = 4 * 1024 * 1024;
/// Operations between two looks at the clock, at the most.
const CLOCK_EVERY: u64 = 32;
/// Bytes allocated between two looks at the clock: operations that take long (parsing a body, say) allocate much.
const CLOCK_EVERY_BYTES: u64 = 64 * 1024;
/// Bytes allocated between two looks at how deep values nest: each level takes some eighty.
const DEPTH_EVERY_BYTES: u64 = 32 * 1024;
/// Variables read after that, of which three are looked at.
const DEPTH_READS: u32 = 10;
/// Operations without any variable read, after which as much memory means that a value grows out of sight.
const MAX_UNREAD: u64 = 512;

impl CallLimits {
    /// What a call may hold, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.body_bytes.saturating_mul(MEMORY_PER_BODY_BYTE).max(LEAST_MEMORY_BYTES)
    }
}

/// Watches over the call that runs.
pub(super) struct Budget {
    limits: CallLimits,
    memory: ThreadMemory,
    began: Cell<Option<Instant>>,
    began_bytes: Cell<i64>,
    operations: Cell<u64>,
    /// What had been allocated when the clock was looked at last.
    looked_bytes: Cell<u64>,
    /// The same for the look at how deep values nest.
    depth_bytes: Cell<u64>,
    /// Variables read since then, and how many times it was.
    depth_looks: Cell<(u32, u32)>,
    /// The operation at which a variable was read last.
    read: Cell<u64>,
    clock: Rc<dyn ScriptHost>,
}

impl Budget {
    pub fn new(limits: CallLimits, clock: Rc<dyn ScriptHost>) -> Budget {
        Budget {
            limits,
            memory: ThreadMemory::of_this_thread(),
            began: Cell::new(None),
            began_bytes: Cell::new(0),
            operations: Cell::new(0),
            looked_bytes: Cell::new(0),
            depth_bytes: Cell::new(0),
            depth_looks: Cell::new((DEPTH_READS, 0)),
            read: Cell::new(0),
            clock,
        }
    }

    /// Sets the engine's own limits, and this watch beside them.
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
        // Operations are counted here: the language forgets those of closures that its own functions call.
        let watch = self.clone();
        engine.on_progress(move |_| watch.look());
    }

    /// A call begins. `now`: from when its time is counted, if it is.
    pub fn begin(&self, now: Option<Instant>) {
        self.began.set(now);
        self.began_bytes.set(self.memory.bytes());
        self.operations.set(0);
        self.read.set(0);
        self.looked_bytes.set(self.memory.allocated_bytes());
        self.depth_bytes.set(self.memory.allocated_bytes());
        self.depth_looks.set((DEPTH_READS, self.depth_looks.get().1));
    }

    /// How many operations the call has made.
    pub fn operations(&self) -> u64 {
        self.operations.get()
    }

    /// For what allocates much within one operation: whether there is room for more.
    pub fn room(&self) -> ScriptResult<()> {
        if self.is_full() { Err(thrown(self.full())) } else { Ok(()) }
    }

    /// A variable is being read. True: so much was allocated since the last time that values may nest too deep.
    ///
    /// A value that is being built may be in no variable just then, so the next read is one to look at as well, and
    /// a later one, another each time.
    pub fn is_depth_due(&self) -> bool {
        self.read.set(self.operations.get());
        let allocated = self.memory.allocated_bytes();
        let (mut reads, mut times) = self.depth_looks.get();
        if allocated.wrapping_sub(self.depth_bytes.get()) > DEPTH_EVERY_BYTES {
            self.depth_bytes.set(allocated);
            (reads, times) = (0, times.wrapping_add(1));
        } else if reads == DEPTH_READS {
            return false;
        }
        self.depth_looks.set((reads + 1, times));
        reads < 2 || reads == 2 + times % (DEPTH_READS - 2)
    }

    /// What `build` allocates does not nest deeper than scripts may.
    pub fn shallow<T>(&self, build: impl FnOnce() -> T) -> T {
        let before = self.memory.allocated_bytes();
        let built = build();
        let more = self.memory.allocated_bytes().wrapping_sub(before);
        self.depth_bytes.set(self.depth_bytes.get().wrapping_add(more));
        built
    }

    fn is_full(&self) -> bool {
        let held = self.memory.bytes().wrapping_sub(self.began_bytes.get());
        usize::try_from(held).is_ok_and(|held| held > self.limits.memory_bytes())
    }

    fn full(&self) -> String {
        format!("it holds more than {} bytes of memory", self.limits.memory_bytes())
    }

    /// `Some`: the call ends here, with this as its reason.
    fn look(&self) -> Option<Dynamic> {
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        if operations > self.limits.operations {
            return Some("it needs more operations than max_operations".into());
        }
        if self.is_full() {
            return Some(self.full().into());
        }
        let allocated = self.memory.allocated_bytes();
        if operations.saturating_sub(self.read.get()) > MAX_UNREAD
            && allocated.wrapping_sub(self.depth_bytes.get()) > DEPTH_EVERY_BYTES
        {
            return Some("it builds a value for long without reading any variable".into());
        }
        let is_light = allocated.wrapping_sub(self.looked_bytes.get()) < CLOCK_EVERY_BYTES;
        if is_light && !operations.is_multiple_of(CLOCK_EVERY) {
            return None;
        }
        self.looked_bytes.set(allocated);
        let took = self.clock.instant().saturating_duration_since(self.began.get()?);
        (took > self.limits.time)
            .then(|| format!("it took longer than {} ms (max_time)", self.limits.time.as_millis()).into())
    }
}
