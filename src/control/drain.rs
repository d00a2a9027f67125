//! SIGTERM: no new connections, what is in flight ends, and then the process.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::control::listen::Listeners;
use crate::control::{Control, ShardAck};
use crate::shard::Command;

/// How long shards whose last connection is gone may take to end their threads.
const WIND_DOWN: Duration = Duration::from_secs(1);
/// How long to wait for the numbers that the last line of the log tells.
const COUNT_WITHIN: Duration = Duration::from_millis(200);

/// A drain under way.
pub struct Drain {
    done: Receiver<usize>,
    /// Shards that still have connections.
    waiting: HashSet<usize>,
    until: Instant,
}

impl Drain {
    /// Where shards say that their last connection is gone.
    pub fn done(&self) -> &Receiver<usize> {
        &self.done
    }

    pub fn deadline(&self) -> Instant {
        self.until
    }
}

impl Control {
    /// The first signal drains, the second one ends the process at once.
    pub(super) fn stop(&mut self) {
        if self.drain.is_some() {
            tracing::warn!("a second signal: {}", self.cut());
            self.exit = true;
            return;
        }
        let timeout = self.current.plan.server.drain_timeout;
        tracing::info!("shutting down: no new connections, {timeout:?} for those that are open");
        self.supervisor.drain();
        let (done, answers) = crossbeam_channel::unbounded();
        let told = self.supervisor.tell_all(|_| Command::Drain { done: done.clone() });
        // The shards have handles of their own; these would keep the ports open.
        self.current.listeners = Listeners::default();
        self.refresh_at = None;
        let waiting = told.into_iter().collect();
        self.drain = Some(Drain { done: answers, waiting, until: Instant::now() + timeout });
        self.check_drain();
    }

    /// A shard has no connection left, or is gone altogether; an error means that no other can say so.
    pub(super) fn drained(&mut self, shard: ShardAck) {
        let Some(drain) = &mut self.drain else { return };
        match shard {
            Ok(shard) => _ = drain.waiting.remove(&shard),
            Err(_) => {
                drain.waiting.clear();
                drain.done = crossbeam_channel::never();
            }
        }
        self.check_drain();
    }

    fn check_drain(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        if self.supervisor.all_stopped() {
            tracing::info!("every connection has ended");
            self.exit = true;
        } else if drain.waiting.is_empty() {
            drain.until = drain.until.min(Instant::now() + WIND_DOWN);
        }
    }

    pub(super) fn tick_drain(&mut self, now: Instant) {
        let Some(drain) = self.drain.as_ref().filter(|drain| drain.until <= now) else { return };
        if !drain.waiting.is_empty() {
            tracing::warn!("drain_timeout is over: {}", self.cut());
        }
        self.exit = true;
    }

    /// How many client connections the end of the process cuts. Waits a moment for the shards to say so.
    fn cut(&self) -> String {
        let (post, snapshots) = crossbeam_channel::unbounded();
        self.supervisor.tell_all(|_| Command::Scrape(post.clone()));
        drop(post);
        let until = Instant::now() + COUNT_WITHIN;
        let snapshots = std::iter::from_fn(|| snapshots.recv_deadline(until).ok());
        match snapshots.map(|snapshot| snapshot.connections()).sum::<u64>() {
            1 => "1 connection is cut".to_owned(),
            many => format!("{many} connections are cut"),
        }
    }
}
