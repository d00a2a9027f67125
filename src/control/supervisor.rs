//! The shard threads: seated on their cores, told things, watched, and seated anew when one dies.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use crossbeam_channel::{Receiver, Sender, TryRecvError};

use crate::control::ControlEvent;
use crate::control::current::CurrentGeneration;
use crate::control::failure::StartFailure;
use crate::log::writer::LogSink;
use crate::net::doorbell::{self, Post};
use crate::plan::Driver;
use crate::shard::{self, Command, DriverKind, ShardSpawn};
use crate::store::Link;

/// Commands that may wait for a shard. A healthy one takes each within milliseconds; a burst of requests that all need
/// the store's answer must fit.
const MAILBOX: usize = 8 * 1024;
/// How long a shard may take until it serves.
const START_WITHIN: Duration = Duration::from_secs(10);
/// How often a shard that is starting again is asked whether it serves yet.
const POLL_EVERY: Duration = Duration::from_millis(5);

/// What all shards are seated with.
pub struct ShardContext {
    pub driver: Driver,
    pub sink: LogSink,
    pub events: Sender<ControlEvent>,
    pub link: Link,
    /// Where shards post the providers of tokens whose keys they do not know.
    pub unknown_key: Sender<usize>,
}

/// All shards of the process.
pub struct Supervisor {
    context: ShardContext,
    slots: Vec<ShardSlot>,
    draining: bool,
}

struct ShardSlot {
    core: Option<CoreId>,
    post: Post<Command>,
    /// How many threads have sat here: news of a former one is told by it.
    life: u64,
    state: ShardState,
    /// Of the last thread that started.
    driver: Option<DriverKind>,
    backoff: RestartBackoff,
    seated_at: Instant,
}

enum ShardState {
    Starting(Receiver<Result<DriverKind, String>>),
    Serving,
    /// Dead; to be seated again at that time.
    Down(Instant),
    /// It has drained.
    Stopped,
}

/// One shard, for `/status` and the metrics.
#[derive(Clone, Debug)]
pub struct ShardFacts {
    pub id: usize,
    pub core: Option<usize>,
    pub driver: Option<String>,
    pub state: &'static str,
    pub restarts: u64,
}

impl Supervisor {
    /// Seats one shard per core of `cores` and waits until all of them serve.
    pub fn start(
        context: ShardContext,
        cores: &[Option<CoreId>],
        current: &CurrentGeneration,
    ) -> Result<Supervisor, StartFailure> {
        let mut supervisor = Supervisor { context, slots: Vec::with_capacity(cores.len()), draining: false };
        for (id, &core) in cores.iter().enumerate() {
            let slot = supervisor.seat(id, cores.len(), core, 0, current);
            supervisor
                .slots
                .push(slot.map_err(|error| StartFailure::thread(&format!("shard-{id}"), &error))?);
        }
        for (id, slot) in supervisor.slots.iter_mut().enumerate() {
            slot.await_start(id, supervisor.context.driver)?;
        }
        Ok(supervisor)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// What the shards run on: the first one's, since all are set up alike.
    pub fn driver(&self) -> Option<&DriverKind> {
        self.slots.first().and_then(|slot| slot.driver.as_ref())
    }

    /// Whether every shard takes requests.
    pub fn all_serve(&self) -> bool {
        !self.draining && self.slots.iter().all(|slot| matches!(slot.state, ShardState::Serving))
    }

    /// Whether every shard has drained and ended.
    pub fn all_stopped(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot.state, ShardState::Stopped))
    }

    /// Restarts since the process began, over all shards.
    pub fn restarts(&self) -> u64 {
        self.slots.iter().map(|slot| slot.life).sum()
    }

    pub fn facts(&self) -> Vec<ShardFacts> {
        let facts = |(id, slot): (usize, &ShardSlot)| ShardFacts {
            id,
            core: slot.core.map(|core| core.id),
            driver: slot.driver.as_ref().map(ToString::to_string),
            state: slot.state_name(self.draining),
            restarts: slot.life,
        };
        self.slots.iter().enumerate().map(facts).collect()
    }

    /// Sends a command to every shard that lives, and returns which: from those an answer may be awaited.
    pub fn tell_all(&self, mut command: impl FnMut(usize) -> Command) -> Vec<usize> {
        let mut told = Vec::with_capacity(self.slots.len());
        for (id, slot) in self.slots.iter().enumerate() {
            if !matches!(slot.state, ShardState::Starting(_) | ShardState::Serving) {
                continue;
            }
            match slot.post.send(command(id)) {
                Ok(()) => told.push(id),
                Err(_) => tracing::warn!(shard = id, "the shard takes no commands"),
            }
        }
        told
    }

    /// From now on a shard that ends is not seated again.
    pub fn drain(&mut self) {
        self.draining = true;
        for slot in &mut self.slots {
            if matches!(slot.state, ShardState::Down(_)) {
                slot.state = ShardState::Stopped;
            }
        }
    }

    /// A shard's thread has ended: after a drain that is all; else it is seated again, at once or after a pause.
    pub fn ended(&mut self, id: usize, life: u64, panic: Option<String>, now: Instant) {
        let draining = self.draining;
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.life == life) else { return };
        if let Some(panic) = &panic {
            tracing::error!(shard = id, "the shard has panicked: {panic}");
        }
        if draining {
            slot.state = ShardState::Stopped;
        } else if !matches!(slot.state, ShardState::Down(_)) {
            slot.down(id, now);
        }
    }

    /// Does what is due: seats dead shards again, notes those that serve.
    pub fn tick(&mut self, now: Instant, current: &CurrentGeneration) {
        let shards = self.slots.len();
        for id in 0..shards {
            let slot = &mut self.slots[id];
            slot.note_start(id, now);
            let ShardState::Down(until) = slot.state else { continue };
            if until > now {
                continue;
            }
            let (core, life, backoff) = (slot.core, slot.life + 1, slot.backoff);
            match self.seat(id, shards, core, life, current) {
                Ok(slot) => self.slots[id] = ShardSlot { backoff, ..slot },
                Err(error) => {
                    tracing::error!(shard = id, "cannot start the shard again: {error}");
                    self.slots[id].down(id, now);
                }
            }
        }
    }

    /// When `tick` has something to do next.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let due = |slot: &ShardSlot| match slot.state {
            ShardState::Starting(_) => Some(now + POLL_EVERY),
            ShardState::Down(until) => Some(until),
            ShardState::Serving | ShardState::Stopped => None,
        };
        self.slots.iter().filter_map(due).min()
    }

    fn seat(
        &self,
        id: usize,
        shards: usize,
        core: Option<CoreId>,
        life: u64,
        current: &CurrentGeneration,
    ) -> std::io::Result<ShardSlot> {
        let (post, mailbox) = doorbell::mailbox(MAILBOX)?;
        let (started, starting) = crossbeam_channel::bounded(1);
        let ShardContext { driver, sink, events, link, unknown_key } = &self.context;
        let (sink, link) = (sink.clone(), link.clone());
        let unknown_key = unknown_key.clone();
        // Where many wait, one more is no news.
        let unknown_key = Box::new(move |jwt| _ = unknown_key.try_send(jwt));
        let replies = post.clone();
        link.join_shard(id, Box::new(move |reply| replies.send(Command::Store(reply)).is_ok()));
        let seat =
            ShardSpawn { id, shards, core, driver: *driver, mailbox, sink, link, unknown_key, started };
        let first = current.generation_for(id)?;
        let events = events.clone();
        let body = move || {
            let panic = catch_unwind(AssertUnwindSafe(|| shard::run(seat, first))).err().map(text_of);
            let _ = events.send(ControlEvent::ShardEnded { shard: id, life, panic });
        };
        thread::Builder::new().name(format!("shard-{id}")).spawn(body)?;
        let (state, seated_at) = (ShardState::Starting(starting), Instant::now());
        Ok(ShardSlot { core, post, life, state, driver: None, backoff: RestartBackoff::default(), seated_at })
    }
}

impl ShardSlot {
    fn await_start(&mut self, id: usize, driver: Driver) -> Result<(), StartFailure> {
        let ShardState::Starting(starting) = &self.state else { return Ok(()) };
        match starting.recv_timeout(START_WITHIN) {
            Ok(Ok(driver)) => {
                self.driver = Some(driver);
                self.state = ShardState::Serving;
                Ok(())
            }
            Ok(Err(refusal)) => Err(StartFailure::machine(
                format!("shard {id} cannot start: {refusal}"),
                match driver {
                    Driver::IoUring => {
                        "set `[server] driver = \"auto\"` to fall back to epoll where io_uring is refused"
                    }
                    Driver::Auto | Driver::Epoll => {
                        "look at this user's limits of open files and memory (`ulimit -a`)"
                    }
                },
            )),
            Err(_) => Err(StartFailure::machine(
                format!("shard {id} does not start"),
                "the log above may say why; `[server] driver = \"epoll\"` is the plainest set-up",
            )),
        }
    }

    fn note_start(&mut self, id: usize, now: Instant) {
        let ShardState::Starting(starting) = &self.state else { return };
        match starting.try_recv() {
            Ok(Ok(driver)) => {
                tracing::info!(shard = id, "the shard serves again");
                self.driver = Some(driver);
                self.state = ShardState::Serving;
            }
            Ok(Err(refusal)) => {
                tracing::error!(shard = id, "the shard cannot start again: {refusal}");
                self.down(id, now);
            }
            Err(TryRecvError::Empty) => {}
            // Its thread has ended: the event that says so is on its way.
            Err(TryRecvError::Disconnected) => {}
        }
    }

    fn down(&mut self, id: usize, now: Instant) {
        let pause = self.backoff.after(now.saturating_duration_since(self.seated_at));
        tracing::error!(shard = id, "the shard is down; it is started again in {} ms", pause.as_millis());
        self.state = ShardState::Down(now + pause);
    }

    fn state_name(&self, draining: bool) -> &'static str {
        match self.state {
            ShardState::Starting(_) => "starting",
            ShardState::Serving if draining => "draining",
            ShardState::Serving => "serving",
            ShardState::Down(_) => "down",
            ShardState::Stopped => "stopped",
        }
    }
}

/// How long to wait before a dead shard is seated again: not at all if it had lived, longer each time if not.
#[derive(Clone, Copy, Debug, Default)]
struct RestartBackoff {
    last: Duration,
}

impl RestartBackoff {
    /// A life shorter than this is a failed start.
    const LIVED: Duration = Duration::from_secs(10);
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(10);

    fn after(&mut self, lived: Duration) -> Duration {
        self.last = if lived >= Self::LIVED {
            Duration::ZERO
        } else {
            (self.last * 2).clamp(Self::FIRST, Self::LONGEST)
        };
        self.last
    }
}

/// What a panic said.
fn text_of(payload: Box<dyn Any + Send>) -> String {
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => payload.downcast_ref::<&str>().copied().unwrap_or("(no text)").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_had_lived_is_seated_again_at_once() {
        assert_eq!(RestartBackoff::default().after(Duration::from_secs(3600)), Duration::ZERO);
    }

    #[test]
    fn a_shard_that_dies_at_once_waits_longer_each_time_but_never_for_ever() {
        let mut backoff = RestartBackoff::default();
        let pauses: Vec<_> = (0..10).map(|_| backoff.after(Duration::from_millis(1)).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
    }

    #[test]
    fn a_long_life_makes_the_next_pause_short_again() {
        let mut backoff = RestartBackoff::default();
        for _ in 0..5 {
            backoff.after(Duration::ZERO);
        }
        backoff.after(RestartBackoff::LIVED);
        assert_eq!(backoff.after(Duration::ZERO), RestartBackoff::FIRST);
    }

    #[test]
    fn the_text_of_a_panic_is_kept() {
        assert_eq!(text_of(Box::new("plain")), "plain");
        assert_eq!(text_of(Box::new("made".to_owned())), "made");
        assert_eq!(text_of(Box::new(7)), "(no text)");
    }
}
