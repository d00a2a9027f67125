//! The shard threads: how each one starts, is watched, and is restarted.
//!
//! - **Start.** [`Supervisor::start`] spawns one thread a shard. Each gets a [`ShardSpawn`] (its core, its mailbox,
//!   handles of the log and the store link) and its own copy of the current generation. The supervisor then waits
//!   until every shard has reported the I/O driver it runs on; if one cannot start, the process does not start.
//! - **Watch.** A shard's thread runs under `catch_unwind`, since a panic in any task unwinds the whole event loop.
//!   However it ends, its last act is to send [`ControlEvent::ShardEnded`] with its incarnation (0, then one more with
//!   each restart), so that a late event of an earlier thread is not taken for one of the current thread.
//! - **Stall.** Each thread stamps a [`Heartbeat`](crate::shard::Heartbeat) while its event loop turns. One that is
//!   too old makes the gateway not ready; nothing can be done about such a thread but wait, or end the process.
//! - **Restart.** A shard that ends outside a drain is down until its backoff is over ([`backoff`]). Then
//!   [`Supervisor::tick`] spawns it again, on the same core and with the generation that is current by then. The
//!   control thread does not wait for it: `tick` polls whether it serves. The other shards go on serving meanwhile;
//!   the sockets of the dead one stay open in control, so the kernel keeps its share of new connections queued.
//! - **Drain.** After [`Supervisor::drain`] nothing is restarted: a shard that ends has stopped.

mod backoff;
mod slot;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use crossbeam_channel::Sender;

use crate::control::ControlEvent;
use crate::control::current::CurrentGeneration;
use crate::control::failure::StartFailure;
use crate::log::writer::LogSink;
use crate::metrics::MetricsSnapshot;
use crate::net::doorbell;
use crate::plan::Driver;
use crate::shard::{self, BreakerChange, ChosenDriver, Command, DescriptorShare, Heartbeat, ShardSpawn};
use crate::store::Link;
use backoff::RestartBackoff;
use slot::{ShardSlot, ShardState};

/// Replies of the store link that may wait for a shard. A healthy shard takes each within milliseconds; a burst of
/// requests that all need the store's response must fit.
const REPLY_CAPACITY: usize = 8 * 1024;
/// How often a restarted shard is polled whether it serves yet.
const POLL_EVERY: Duration = Duration::from_millis(5);
/// How often a shard that serves is looked at whether its event loop turns.
const WATCH_EVERY: Duration = Duration::from_millis(500);

/// What every shard is spawned with.
pub struct ShardContext {
    pub driver: Driver,
    /// What each may have open.
    pub share: DescriptorShare,
    pub sink: LogSink,
    pub events: Sender<ControlEvent>,
    pub link: Link,
    /// Takes the indices of JWT providers whose key sets lack the key of a token.
    pub unknown_key: Sender<usize>,
}

/// All shards of the process.
pub struct Supervisor {
    context: ShardContext,
    slots: Vec<ShardSlot>,
    draining: bool,
}

/// One shard, for `/status` and the metrics.
#[derive(Clone, Debug)]
pub struct ShardFacts {
    pub id: usize,
    pub core: Option<usize>,
    pub driver: Option<String>,
    pub state: &'static str,
    /// How long ago its event loop last turned; `None`: it does not serve.
    pub tick_age: Option<Duration>,
    pub restarts: u64,
}

impl Supervisor {
    /// Spawns one shard per entry of `cores` (`None`: not pinned) and waits until all of them serve.
    ///
    /// # Errors
    /// A thread cannot be created, or a shard cannot start.
    pub fn start(
        context: ShardContext,
        cores: &[Option<CoreId>],
        current: &CurrentGeneration,
    ) -> Result<Supervisor, StartFailure> {
        let mut supervisor = Supervisor { context, slots: Vec::with_capacity(cores.len()), draining: false };
        for (id, &core) in cores.iter().enumerate() {
            let slot = supervisor.spawn(id, cores.len(), core, 0, current);
            supervisor
                .slots
                .push(slot.map_err(|error| StartFailure::thread(&format!("shard-{id}"), &error))?);
        }
        for (id, slot) in supervisor.slots.iter_mut().enumerate() {
            slot.await_start(id, supervisor.context.driver)?;
        }
        Ok(supervisor)
    }

    /// How many shards there are, alive or not.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// What each shard may have open.
    pub fn share(&self) -> DescriptorShare {
        self.context.share
    }

    /// What the shards run on: the first one's driver, since all are set up alike.
    pub fn driver(&self) -> Option<&ChosenDriver> {
        self.slots.first().and_then(|slot| slot.driver.as_ref())
    }

    /// Whether every shard takes requests.
    pub fn all_serve(&self, now: Instant) -> bool {
        let serves = |slot: &ShardSlot| matches!(slot.state, ShardState::Serving) && !slot.is_stalled(now);
        !self.draining && self.slots.iter().all(serves)
    }

    /// Whether every shard has drained and ended.
    pub fn all_stopped(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.state, ShardState::Stopped))
    }

    /// Restarts since the process began, over all shards.
    pub fn restarts(&self) -> u64 {
        self.slots.iter().map(|slot| slot.incarnation).sum()
    }

    /// Every shard as it is now, by rising id.
    pub fn facts(&self, now: Instant) -> Vec<ShardFacts> {
        let facts = |(id, slot): (usize, &ShardSlot)| ShardFacts {
            id,
            core: slot.core.map(|core| core.id),
            driver: slot.driver.as_ref().map(|driver| driver.kind.to_string()),
            state: slot.state_name(self.draining, now),
            tick_age: slot.tick_age(now),
            restarts: slot.incarnation,
        };
        self.slots.iter().enumerate().map(facts).collect()
    }

    /// Sends a command to every shard that is alive; `command` makes the one for each shard id. Returns the ids of the
    /// shards that got it: only from those may a response be awaited.
    pub fn broadcast(&self, mut command: impl FnMut(usize) -> Command) -> Vec<usize> {
        let alive = self.slots.iter().enumerate().filter(|(_, slot)| slot.is_alive());
        // Refused only by a thread that has just ended.
        alive.filter(|(id, slot)| slot.mailbox.send(command(*id)).is_ok()).map(|(id, _)| id).collect()
    }

    /// Tells all shards but `from` what a breaker of that one has done.
    pub fn pass_on(&self, from: usize, change: &BreakerChange) {
        for (_, slot) in self.slots.iter().enumerate().filter(|(id, slot)| *id != from && slot.is_alive()) {
            // Refused only by a thread that has just ended.
            let _ = slot.mailbox.send(Command::Breaker(change.clone()));
        }
    }

    /// Asks every shard for its counters; returns how many will send them. Those that are stalled are not asked: nobody
    /// takes the question out of their mailboxes.
    pub fn scrape(&self, answer: &Sender<MetricsSnapshot>, now: Instant) -> usize {
        let asked = self.slots.iter().filter(|slot| slot.is_alive() && !slot.is_stalled(now));
        asked.filter(|slot| slot.mailbox.send(Command::Scrape(answer.clone())).is_ok()).count()
    }

    /// From now on a shard that ends is not restarted.
    pub fn drain(&mut self) {
        self.draining = true;
        for slot in &mut self.slots {
            if matches!(slot.state, ShardState::Down(_)) {
                slot.state = ShardState::Stopped;
            }
        }
    }

    /// A shard's thread has ended. During a drain it has stopped; else its restart is scheduled.
    pub fn ended(&mut self, id: usize, incarnation: u64, panic: Option<String>, now: Instant) {
        let draining = self.draining;
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.incarnation == incarnation) else {
            return;
        };
        if let Some(panic) = &panic {
            tracing::error!(shard = id, "the shard has panicked: {panic}");
        }
        if draining {
            slot.state = ShardState::Stopped;
        } else if !matches!(slot.state, ShardState::Down(_)) {
            slot.schedule_restart(id, now);
        }
    }

    /// Does what is due: notes restarted shards that serve by now, and those whose event loops do not turn, and restarts
    /// those whose pause is over.
    pub fn tick(&mut self, now: Instant, current: &CurrentGeneration) {
        let shards = self.slots.len();
        for id in 0..shards {
            let slot = &mut self.slots[id];
            slot.poll_start(id, now);
            slot.watch(id, now);
            let ShardState::Down(until) = slot.state else { continue };
            if until > now {
                continue;
            }
            let (core, incarnation, backoff) = (slot.core, slot.incarnation + 1, slot.backoff);
            match self.spawn(id, shards, core, incarnation, current) {
                Ok(slot) => self.slots[id] = ShardSlot { backoff, ..slot },
                Err(error) => {
                    tracing::error!(shard = id, "cannot start the shard again: {error}");
                    self.slots[id].schedule_restart(id, now);
                }
            }
        }
    }

    /// When `tick` has something to do next.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = |slot: &ShardSlot| match slot.state {
            ShardState::Starting(_) => Some(now + POLL_EVERY),
            ShardState::Down(until) => Some(until),
            ShardState::Serving => Some(now + WATCH_EVERY),
            ShardState::Stopped => None,
        };
        self.slots.iter().filter_map(due).min()
    }

    /// Spawns a shard's thread. The slot it returns is starting; nothing here waits.
    fn spawn(
        &self,
        id: usize,
        shards: usize,
        core: Option<CoreId>,
        incarnation: u64,
        current: &CurrentGeneration,
    ) -> std::io::Result<ShardSlot> {
        // Each of the commands is needed, and none comes often.
        let (sender, mailbox) = doorbell::unbounded_mailbox()?;
        let (store_replies, replies) = doorbell::mailbox(REPLY_CAPACITY)?;
        let (started, starting) = crossbeam_channel::bounded(1);
        let ShardContext { driver, share, sink, events, link, unknown_key } = &self.context;
        let (sink, link) = (sink.clone(), link.clone());
        let unknown_key = unknown_key.clone();
        // A full channel drops the report: the shard makes it again a second later, if there is another such token.
        let unknown_key = Box::new(move |jwt| _ = unknown_key.try_send(jwt));
        let breaker_events = events.clone();
        let breaker_changed = Box::new(move |change| {
            _ = breaker_events.send(ControlEvent::BreakerChanged { shard: id, change })
        });
        // In place of the shard's earlier thread, if it had one.
        link.join_shard(id, Box::new(move |reply| store_replies.send(reply).is_ok()));
        let spawned_at = Instant::now();
        let heartbeat = Arc::new(Heartbeat::new(spawned_at));
        let spawn = ShardSpawn {
            id,
            shards,
            core,
            driver: *driver,
            share: *share,
            mailbox,
            replies,
            heartbeat: heartbeat.clone(),
            sink,
            link,
            unknown_key,
            breaker_changed,
            started,
        };
        let first = current.generation_for(id)?;
        let events = events.clone();
        let body = move || {
            let panic = catch_unwind(AssertUnwindSafe(|| shard::run(spawn, first))).err().map(panic_text);
            let _ = events.send(ControlEvent::ShardEnded { shard: id, incarnation, panic });
        };
        thread::Builder::new().name(format!("shard-{id}")).spawn(body)?;
        Ok(ShardSlot {
            core,
            mailbox: sender,
            incarnation,
            state: ShardState::Starting(starting),
            heartbeat,
            stalled: false,
            driver: None,
            backoff: RestartBackoff::default(),
            spawned_at,
        })
    }
}

/// The message of a panic, from what `catch_unwind` returns.
fn panic_text(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("(no text)").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_panic_is_kept() {
        assert_eq!(panic_text(Box::new("plain")), "plain");
        assert_eq!(panic_text(Box::new("made".to_owned())), "made");
        assert_eq!(panic_text(Box::new(7)), "(no text)");
    }
}
