//! This process's resource use as `/proc` reports it, for the metrics. `None`: it cannot be read, and is left out there.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The unit of times in `/proc`: USER_HZ, 100 on every architecture that Rust's Linux targets have.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system CPU time so far, in seconds (fields 14 and 15 of proc_pid_stat(5)).
pub fn cpu_seconds() -> Option<f64> {
    cpu_seconds_in(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The second field, the program's name in parentheses, may hold spaces and parentheses itself: what stands behind the
/// last one is field 3.
fn cpu_seconds_in(stat: &str) -> Option<f64> {
    let fields = stat.rsplit_once(')')?.1;
    let mut times = fields.split_whitespace().skip(11).map(|ticks| ticks.parse::<f64>().ok());
    Some((times.next()?? + times.next()??) / TICKS_PER_SECOND)
}

/// Resident memory.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// File descriptors open now.
pub fn open_files() -> Option<u64> {
    // The directory itself is open while it is read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
}

/// The soft limit of open file descriptors.
pub fn max_files() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

/// Unix time with its fraction; `None` before 1970.
pub fn seconds_since_1970(time: SystemTime) -> Option<f64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "17 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 150 0 0 20 0 3 0 99 1 2";
        assert_eq!(cpu_seconds_in(stat), Some(4.0));
        assert_eq!(cpu_seconds_in("garbage"), None);
        assert_eq!(cpu_seconds_in("1 (a) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_open_files() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 0));
        assert!(open_files().is_some_and(|files| files > 0));
        assert!(cpu_seconds().is_some());
    }
}
