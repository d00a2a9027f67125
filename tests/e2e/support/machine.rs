//! What tests share although each has its own gateway: the cores and the descriptors of this process.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// For a test that keeps the cores busy for seconds. Of those only one runs at a time, beside all the others, so that
/// what those others time stays in proportion.
#[must_use = "the next heavy test waits for its drop"]
pub struct HeavyLoad(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

impl HeavyLoad {
    /// To be taken before the test starts anything whose time counts.
    pub fn begin() -> HeavyLoad {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        // A test that failed in it has let go of the machine all the same.
        HeavyLoad(ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Raises this process's limit of open files, which gateways inherit, to the highest there may be, once; returns it.
pub fn raise_open_files() -> u64 {
    static LIMIT: LazyLock<u64> =
        LazyLock::new(|| rlimit::increase_nofile_limit(u64::MAX).expect("a soft limit may be raised"));
    *LIMIT
}

/// Where the passing of time itself is what a test is about: a slow reader, an origin that thinks. Never a way to wait
/// for something to have happened.
pub fn let_time_pass(time: Duration) {
    std::thread::sleep(time);
}
