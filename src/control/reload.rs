//! A reload's course: asked for, prepared on a thread of its own, swapped on every shard, answered.

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, never};
use serde_json::json;

use crate::control::admin::response::AdminResponse;
use crate::control::failure::StartFailure;
use crate::control::listen::Listeners;
use crate::control::prepare::{Prepared, ReloadRefusal};
use crate::control::{Control, ControlEvent, ShardAck, start};
use crate::net::doorbell::Post;
use crate::plan::LogSettings as LogPlan;
use crate::shard::Command;

/// How long the shards may take. One that is slower is named, not waited for.
const SWAP_WITHIN: Duration = Duration::from_secs(10);

/// Who asked for a reload.
pub enum ReloadRequester {
    Signal,
    Admin(Post<AdminResponse>),
}

/// At most one reload is under way. Whoever asks meanwhile is answered by the next one, since the file may have
/// changed after the present one read it.
#[derive(Default)]
pub struct Reload {
    asked: Vec<ReloadRequester>,
    stage: ReloadStage,
    /// Since the process began.
    pub succeeded: u64,
    pub failed: u64,
}

#[derive(Default)]
enum ReloadStage {
    #[default]
    Idle,
    Preparing(Vec<ReloadRequester>),
    Swapping(Swap),
}

/// A generation on its way into the shards.
struct Swap {
    askers: Vec<ReloadRequester>,
    done: Receiver<usize>,
    /// The shards that have not answered.
    waiting: HashSet<usize>,
    until: Instant,
    /// Listeners that the new generation has no more; the shards let go of them first.
    gone: Listeners,
}

impl Reload {
    /// Where shards say that they have swapped.
    pub fn done(&self) -> &Receiver<usize> {
        static NEVER: LazyLock<Receiver<usize>> = LazyLock::new(never);
        match &self.stage {
            ReloadStage::Swapping(swap) => &swap.done,
            ReloadStage::Idle | ReloadStage::Preparing(_) => &NEVER,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            ReloadStage::Swapping(swap) => Some(swap.until),
            ReloadStage::Idle | ReloadStage::Preparing(_) => None,
        }
    }
}

impl Control {
    pub(super) fn ask_reload(&mut self, asker: ReloadRequester) {
        self.reload.asked.push(asker);
        self.begin_reload();
    }

    fn begin_reload(&mut self) {
        if !matches!(self.reload.stage, ReloadStage::Idle) || self.reload.asked.is_empty() {
            return;
        }
        let askers = std::mem::take(&mut self.reload.asked);
        if self.drain.is_some() {
            return reject(askers, &ReloadRefusal::Draining);
        }
        let (options, post) = (self.options.clone(), self.post.clone());
        let (known, running) = (self.current.names.clone(), self.current.plan.clone());
        let body = move || {
            // Without an answer no reload would ever begin again.
            let prepared = catch_unwind(AssertUnwindSafe(|| options.prepare(&known, Some(&running))));
            let prepared = prepared.unwrap_or(Err(ReloadRefusal::Panicked));
            let _ = post.send(ControlEvent::Prepared(Box::new(prepared)));
        };
        match thread::Builder::new().name("reload".into()).spawn(body) {
            Ok(_) => self.reload.stage = ReloadStage::Preparing(askers),
            Err(error) => reject(askers, &ReloadRefusal::Machine(StartFailure::thread("reload", &error))),
        }
    }

    /// The thread is done: now everything that can be refused is, and then nothing any more.
    pub(super) fn prepared(&mut self, prepared: Result<Prepared, ReloadRefusal>) {
        let ReloadStage::Preparing(askers) = std::mem::take(&mut self.reload.stage) else { return };
        match prepared.and_then(|prepared| self.swap(prepared)) {
            Ok((done, waiting, gone)) => {
                let until = Instant::now() + SWAP_WITHIN;
                self.reload.stage = ReloadStage::Swapping(Swap { askers, done, waiting, until, gone });
                self.finish_swap();
            }
            Err(rejected) => {
                self.reload.failed += 1;
                reject(askers, &rejected);
                self.begin_reload();
            }
        }
    }

    /// Makes the prepared generation the current one and sends it to the shards. Refuses before anything changes.
    fn swap(
        &mut self,
        prepared: Prepared,
    ) -> Result<(Receiver<usize>, HashSet<usize>, Listeners), ReloadRefusal> {
        if self.drain.is_some() {
            return Err(ReloadRefusal::Draining);
        }
        let (listeners, shards) = (&self.current.listeners, self.supervisor.len());
        let change =
            listeners.plan_change(&prepared.plan.server.listen, shards).map_err(ReloadRefusal::Machine)?;
        let handles = (0..shards).map(|shard| listeners.of_shard_after(&change, shard).map(Some));
        let mut handles: Vec<_> = handles.collect::<io::Result<_>>().map_err(no_descriptors)?;
        self.change_log(&prepared.plan.log)?;
        prepared.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let gone = self.current.advance(prepared, change);
        self.plan_refresh();
        let (done, answers) = crossbeam_channel::unbounded();
        let told = self.supervisor.tell_all(|shard| {
            let handles = handles[shard].take().expect("tell_all asks once for each shard");
            Command::Swap { generation: Box::new(self.current.generation_with(handles)), done: done.clone() }
        });
        Ok((answers, told.into_iter().collect(), gone))
    }

    fn change_log(&self, wanted: &LogPlan) -> Result<(), ReloadRefusal> {
        let target = &wanted.target;
        if *target != self.current.plan.log.target {
            let reopened = self.log.writer.reopen(target);
            reopened.map_err(|error| ReloadRefusal::Machine(start::log_refused(target, &error)))?;
        }
        if let Some(level) = &self.log.level {
            level.set_level(wanted.level);
        }
        Ok(())
    }

    /// A shard has swapped or died; an error means that no answer can come any more.
    pub(super) fn swapped(&mut self, shard: ShardAck) {
        if let ReloadStage::Swapping(swap) = &mut self.reload.stage {
            match shard {
                Ok(shard) => _ = swap.waiting.remove(&shard),
                Err(_) => swap.waiting.clear(),
            }
            self.finish_swap();
        }
    }

    pub(super) fn tick_reload(&mut self, now: Instant) {
        if self.reload.deadline().is_some_and(|until| until <= now) {
            self.end_swap();
        }
    }

    fn finish_swap(&mut self) {
        if matches!(&self.reload.stage, ReloadStage::Swapping(swap) if swap.waiting.is_empty()) {
            self.end_swap();
        }
    }

    fn end_swap(&mut self) {
        let ReloadStage::Swapping(swap) = std::mem::take(&mut self.reload.stage) else { return };
        self.reload.succeeded += 1;
        let generation = self.current.number;
        let mut late: Vec<_> = swap.waiting.into_iter().collect();
        late.sort_unstable();
        drop(swap.gone);
        let answer = if late.is_empty() {
            let listening = start::list(self.addresses());
            tracing::info!(generation, "reloaded {}; listening on {listening}", self.options.source.name());
            AdminResponse::json(200, &json!({ "generation": generation }))
        } else {
            tracing::error!(generation, "reloaded, but these shards have not swapped yet: {late:?}");
            let members = json!({ "generation": generation, "shards": late });
            AdminResponse::problem_with(
                503,
                "shard_late",
                "Reloaded, but not every shard has answered",
                members,
            )
        };
        tell(swap.askers, &answer);
        self.begin_reload();
    }
}

fn no_descriptors(error: io::Error) -> ReloadRefusal {
    ReloadRefusal::Machine(StartFailure::machine(
        format!("cannot hand the listeners to the shards: {error}"),
        "raise the limit of open files (`ulimit -Hn`, LimitNOFILE=)",
    ))
}

fn reject(askers: Vec<ReloadRequester>, rejected: &ReloadRefusal) {
    tracing::error!("nothing was reloaded: {}", rejected.reason());
    rejected.problems().iter().for_each(|problem| tracing::error!("{problem}"));
    tell(askers, &rejected.answer());
}

fn tell(askers: Vec<ReloadRequester>, answer: &AdminResponse) {
    for asker in askers {
        if let ReloadRequester::Admin(reply) = asker {
            // It may have given up waiting.
            let _ = reply.send(answer.clone());
        }
    }
}
