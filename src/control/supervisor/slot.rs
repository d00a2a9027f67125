//! One shard's place in the supervisor: its core, its current thread's mailbox, and the state that thread is in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use crossbeam_channel::{Receiver, TryRecvError};

use super::backoff::RestartBackoff;
use crate::control::failure::StartFailure;
use crate::net::doorbell::Post;
use crate::plan::Driver;
use crate::shard::{ChosenDriver, Command, Heartbeat};

/// How long a shard may take until it serves, at the start of the process.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A shard whose event loop has not turned for so long is stalled. A healthy one turns every 20 ms.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A shard keeps its slot, its core and its backoff over restarts; all else belongs to its current thread.
pub(super) struct ShardSlot {
    pub core: Option<CoreId>,
    /// The sending end of the thread's mailbox.
    pub mailbox: Post<Command>,
    /// How often the shard has been restarted: 0 is the first thread. It distinguishes events of the current
    /// thread from those of an earlier one.
    pub incarnation: u64,
    pub state: ShardState,
    /// When the thread's event loop last turned.
    pub heartbeat: Arc<Heartbeat>,
    /// It was stalled when it was last looked at, and the log says so.
    pub stalled: bool,
    /// What the last thread that started runs on.
    pub driver: Option<ChosenDriver>,
    pub backoff: RestartBackoff,
    pub spawned_at: Instant,
}

pub(super) enum ShardState {
    /// The channel gets the driver once the shard accepts connections, or why it cannot.
    Starting(Receiver<Result<ChosenDriver, String>>),
    Serving,
    /// The thread has ended; it is restarted at that time.
    Down(Instant),
    /// It has drained, or ended during a drain, and is not restarted.
    Stopped,
}

impl ShardSlot {
    /// Waits until the shard serves: only at the start of the process, where nothing else is to be done.
    ///
    /// # Errors
    /// The shard has refused to start, or does not answer in time.
    pub fn await_start(&mut self, id: usize, wanted: Driver) -> Result<(), StartFailure> {
        let ShardState::Starting(started) = &self.state else { return Ok(()) };
        match started.recv_timeout(START_TIMEOUT) {
            Ok(Ok(driver)) => {
                self.driver = Some(driver);
                self.state = ShardState::Serving;
                Ok(())
            }
            Ok(Err(refusal)) => Err(StartFailure::machine(
                format!("shard {id} cannot start: {refusal}"),
                match wanted {
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

    /// Checks, without waiting, whether a restarted shard serves by now.
    pub fn poll_start(&mut self, id: usize, now: Instant) {
        let ShardState::Starting(started) = &self.state else { return };
        match started.try_recv() {
            Ok(Ok(driver)) => {
                tracing::info!(shard = id, "the shard serves again");
                self.driver = Some(driver);
                self.state = ShardState::Serving;
            }
            Ok(Err(refusal)) => {
                tracing::error!(shard = id, "the shard cannot start again: {refusal}");
                self.schedule_restart(id, now);
            }
            // Disconnected: its thread has ended, and the event that reports this is on its way.
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => {}
        }
    }

    /// The thread has ended or could not be started: it is down until the backoff is over.
    pub fn schedule_restart(&mut self, id: usize, now: Instant) {
        let pause = self.backoff.pause_after(now.saturating_duration_since(self.spawned_at));
        tracing::error!(shard = id, "the shard is down; it is started again in {} ms", pause.as_millis());
        self.state = ShardState::Down(now + pause);
    }

    /// Whether a thread of this slot reads its mailbox.
    pub fn is_alive(&self) -> bool {
        matches!(self.state, ShardState::Starting(_) | ShardState::Serving)
    }

    /// How long ago the event loop last turned; `None` where none is to turn.
    pub fn tick_age(&self, now: Instant) -> Option<Duration> {
        matches!(self.state, ShardState::Serving).then(|| self.heartbeat.age(now))
    }

    /// Whether its event loop should turn and does not.
    pub fn is_stalled(&self, now: Instant) -> bool {
        self.tick_age(now).is_some_and(|age| age >= STALLED_AFTER)
    }

    /// Logs when the event loop has stopped turning, and when it turns again.
    pub fn watch(&mut self, id: usize, now: Instant) {
        let stalled = self.is_stalled(now);
        if stalled && !self.stalled {
            let age = self.heartbeat.age(now);
            tracing::error!(shard = id, "the shard has not answered for {:.1}s", age.as_secs_f64());
        } else if self.stalled && !stalled && matches!(self.state, ShardState::Serving) {
            tracing::info!(shard = id, "the shard answers again");
        }
        self.stalled = stalled;
    }

    /// The state's name in `/status` and `/readyz`.
    pub fn state_name(&self, draining: bool, now: Instant) -> &'static str {
        match self.state {
            _ if self.is_stalled(now) => "stalled",
            ShardState::Starting(_) => "starting",
            ShardState::Serving if draining => "draining",
            ShardState::Serving => "serving",
            ShardState::Down(_) => "down",
            ShardState::Stopped => "stopped",
        }
    }
}
