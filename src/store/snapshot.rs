//! How the store is doing, for metrics and the status page.

use std::sync::Arc;

/// Whether the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Up,
}

impl State {
    /// As the status page has it.
    pub fn name(self) -> &'static str {
        match self {
            State::Up => "up",
        }
    }
}

/// Taken at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// `embedded` or `redis`.
    pub backend: &'static str,
    pub state: State,
    /// Requests that wait for the link.
    pub queue: usize,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    /// All script counters, in no order.
    pub counters: Arc<[(Arc<str>, i64)]>,
    /// A script asked for more counters than there may be.
    pub counters_full: bool,
}
