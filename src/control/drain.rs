//! The drain: no new connections, requests in flight are finished, then the process exits.
//!
//! Every shard gets [`Command::Drain`] and confirms it when its last connection is gone; its thread then ends, which
//! the supervisor reports. The process exits when all have ended, when `drain_timeout` is over, or at a second signal.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::control::listen::Listeners;
use crate::control::{Control, ShardAck};
use crate::shard::Command;

/// How long shards whose last connection is gone may take to end their threads.
const THREAD_END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for the numbers in the last line of the log.
const COUNT_TIMEOUT: Duration = Duration::from_millis(200);

/// A drain under way.
pub struct Drain {
    done: Receiver<usize>,
    /// Shards that still have connections.
    pending: HashSet<usize>,
    until: Instant,
}

impl Drain {
    /// Gets the ids of shards whose last connection is gone.
    pub fn done(&self) -> &Receiver<usize> {
        &self.done
    }

    /// When the drain ends, whatever is still open.
    pub fn deadline(&self) -> Instant {
        self.until
    }
}

impl Control {
    /// The first signal drains, the second one ends the process at once.
    pub(super) fn stop(&mut self) {
        if self.drain.is_some() {
            tracing::warn!("a second signal: {}", self.count_cut());
            self.exit = true;
            return;
        }
        let timeout = self.current.plan.server.drain_timeout;
        tracing::info!("shutting down: no new connections, {timeout:?} for those that are open");
        self.supervisor.drain();
        let (done, acks) = crossbeam_channel::unbounded();
        let reached = self.supervisor.broadcast(|_| Command::Drain { done: done.clone() });
        // The shards have clones of their own, which they close; these would keep the ports open.
        self.current.listeners = Listeners::default();
        self.refresh_at = None;
        let pending = reached.into_iter().collect();
        self.drain = Some(Drain { done: acks, pending, until: Instant::now() + timeout });
        self.check_drain();
    }

    /// A shard has no connection left, or its thread has ended. An error: all have confirmed or are gone.
    pub(super) fn drained(&mut self, shard: ShardAck) {
        let Some(drain) = &mut self.drain else { return };
        match shard {
            Ok(shard) => _ = drain.pending.remove(&shard),
            Err(_) => {
                drain.pending.clear();
                drain.done = crossbeam_channel::never();
            }
        }
        self.check_drain();
    }

    /// Exits once all threads have ended. When no connection is left they get only a moment more.
    fn check_drain(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        if self.supervisor.all_stopped() {
            tracing::info!("every connection has ended");
            self.exit = true;
        } else if drain.pending.is_empty() {
            drain.until = drain.until.min(Instant::now() + THREAD_END_TIMEOUT);
        }
    }

    pub(super) fn tick_drain(&mut self, now: Instant) {
        let Some(drain) = self.drain.as_ref().filter(|drain| drain.until <= now) else { return };
        if !drain.pending.is_empty() {
            tracing::warn!("drain_timeout is over: {}", self.count_cut());
        }
        self.exit = true;
    }

    /// How many client connections the end of the process cuts, in words. Waits a moment for the shards' numbers: the
    /// one place where control waits for shards, since nothing else is left to do.
    fn count_cut(&self) -> String {
        let (sender, snapshots) = crossbeam_channel::unbounded();
        let now = Instant::now();
        self.supervisor.scrape(&sender, now);
        drop(sender);
        let until = now + COUNT_TIMEOUT;
        let snapshots = std::iter::from_fn(|| snapshots.recv_deadline(until).ok());
        match snapshots.map(|snapshot| snapshot.connections()).sum::<u64>() {
            1 => "1 connection is cut".to_owned(),
            many => format!("{many} connections are cut"),
        }
    }
}
