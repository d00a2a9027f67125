//! The drain: no new connections, requests in flight are finished, then the process exits.
//!
//! Every shard gets [`Command::Drain`] and confirms it when its last connection is gone; its thread then ends, which
//! the supervisor reports. The process exits when all have ended. When `drain_timeout` is over, or at a second signal,
//! the shards end what is still open ([`Command::Cut`]), each request with its line in the log.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::control::listen::Listeners;
use crate::control::{Control, ShardAck};
use crate::shard::Command;

/// How long shards whose last connection is gone may take to end their threads.
const THREAD_END_TIMEOUT: Duration = Duration::from_secs(1);
/// How long shards may take to end what is cut: longer only where one hangs.
const CUT_TIMEOUT: Duration = Duration::from_millis(500);
/// How long to wait for the numbers in the last line of the log.
const COUNT_TIMEOUT: Duration = Duration::from_millis(200);

/// A drain under way.
pub struct Drain {
    done: Receiver<usize>,
    /// Shards that still have connections.
    pending: HashSet<usize>,
    until: Instant,
    /// The shards were told to end what is still open.
    is_cut: bool,
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
            return self.cut("a second signal");
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
        self.drain = Some(Drain { done: acks, pending, until: Instant::now() + timeout, is_cut: false });
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
            if !drain.is_cut {
                tracing::info!("every connection has ended");
            }
            self.exit = true;
        } else if drain.pending.is_empty() {
            drain.until = drain.until.min(Instant::now() + THREAD_END_TIMEOUT);
        }
    }

    pub(super) fn tick_drain(&mut self, now: Instant) {
        match &self.drain {
            Some(drain) if drain.until > now => {}
            Some(drain) if !drain.pending.is_empty() => self.cut("drain_timeout is over"),
            Some(_) => self.exit = true,
            None => {}
        }
    }

    /// Ends what is still open, and the process a moment later.
    fn cut(&mut self, why: &str) {
        let Some(drain) = &mut self.drain else { return };
        if std::mem::replace(&mut drain.is_cut, true) {
            self.exit = true;
            return;
        }
        drain.until = Instant::now() + CUT_TIMEOUT;
        tracing::warn!("{why}: {}", self.count_cut());
        self.supervisor.broadcast(|_| Command::Cut);
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
