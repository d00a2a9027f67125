//! How long this thread ran. Unlike the time of day and the time elapsed, it stands still while the thread waits for a core.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time of this thread, since it began. A system call: some hundred nanoseconds.
pub fn cpu_time_of_thread() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn work_counts_and_waiting_does_not() {
        let before = cpu_time_of_thread();
        while cpu_time_of_thread() - before < Duration::from_millis(2) {}
        let (began, worked) = (Instant::now(), cpu_time_of_thread());
        let (_keep, never) = std::sync::mpsc::channel::<()>();
        assert!(never.recv_timeout(Duration::from_millis(200)).is_err());
        assert!(cpu_time_of_thread() - worked < began.elapsed() / 2);
    }
}
