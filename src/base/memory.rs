//! The allocator, and how much of it this thread has in use: what bounds the memory of scripts.
//!
//! jemalloc, because it keeps two counters per thread that cost a load each to read; what a script may hold is then
//! exact, whatever the language's own limits miss.

use tikv_jemalloc_ctl::thread;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Reads what the thread that made it has in use. Not `Send`: the counters are the thread's own.
pub struct ThreadMemory {
    allocated: thread::ThreadLocal<u64>,
    deallocated: thread::ThreadLocal<u64>,
}

impl ThreadMemory {
    /// A gauge of this thread.
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

    /// Bytes allocated less bytes freed by this thread, ever: only differences mean something, since memory may be
    /// freed by another thread than the one that took it.
    pub fn bytes(&self) -> i64 {
        self.allocated.get().wrapping_sub(self.deallocated.get()).cast_signed()
    }

    /// Bytes that this thread has ever allocated: a measure of work done. Wraps.
    pub fn allocated_bytes(&self) -> u64 {
        self.allocated.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_shows_and_what_is_freed_does_not() {
        let gauge = ThreadMemory::of_this_thread();
        let before = gauge.bytes();
        let held = std::hint::black_box(vec![0_u8; 1 << 20]);
        assert!(gauge.bytes() - before >= 1 << 20);
        drop(held);
        assert!(gauge.bytes() - before < 1 << 20);
    }
}
