//! What a child process prints, line by line, and waiting for a line.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared by the thread that reads and the test that waits.
#[derive(Clone, Default)]
pub struct Lines(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    /// Reads until the end of the stream, on a thread of its own.
    pub fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let writer = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_string();
                line.clear();
                writer.change(|state| state.lines.push(text));
            }
            writer.change(|state| state.ended = true);
        });
        lines
    }

    /// All lines so far.
    pub fn all(&self) -> Vec<String> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }

    /// The first line for which `pick` has an answer, whether printed already or yet to come.
    /// `None` when the stream ends or the time is over without one.
    pub fn wait_for<T>(&self, time: Duration, mut pick: impl FnMut(&str) -> Option<T>) -> Option<T> {
        let until = Instant::now() + time;
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = 0;
        loop {
            while let Some(line) = state.lines.get(seen) {
                if let Some(found) = pick(line) {
                    return Some(found);
                }
                seen += 1;
            }
            let left = until.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of the stream: the process has ended.
    pub fn wait_for_end(&self, time: Duration) -> bool {
        self.wait_for(time, |_| None::<()>);
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.1.notify_all();
    }
}
