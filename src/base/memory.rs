//! The allocator, and what this thread has allocated from it, by which the memory of scripts is bounded.
//!
//! jemalloc, because it keeps two counters per thread that are read by one load each. So the limit of a script counts
//! every allocation, also those that the language's own limits miss.

use tikv_jemalloc_ctl::thread;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The allocation counters of the thread that made it. Not `Send`.
pub struct ThreadMemory {
    allocated: thread::ThreadLocal<u64>,
    deallocated: thread::ThreadLocal<u64>,
}

impl ThreadMemory {
    /// The counters of this thread.
    ///
    /// # Panics
    /// When jemalloc was built without statistics, which this crate's dependencies never do.
    pub fn of_this_thread() -> ThreadMemory {
        let read = |mib: Result<_, _>| mib.expect("jemalloc keeps thread statistics unless built without");
        ThreadMemory {
            allocated: read(thread::allocatedp::read()),
            deallocated: read(thread::deallocatedp::read()),
        }
    }

    /// Bytes allocated less bytes freed by this thread. Only differences are meaningful, since memory may be freed by
    /// another thread than the one that allocated it.
    pub fn bytes(&self) -> i64 {
        self.allocated.get().wrapping_sub(self.deallocated.get()).cast_signed()
    }

    /// Bytes that this thread has ever allocated, as a measure of work. Wraps.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_bytes_count_and_freed_ones_do_not() {
        let memory = ThreadMemory::of_this_thread();
        let before = memory.bytes();
        let held = std::hint::black_box(vec![0_u8; 1 << 20]);
        assert!(memory.bytes() - before >= 1 << 20);
        drop(held);
        assert!(memory.bytes() - before < 1 << 20);
    }
}
