//! The course of a reload: requested, prepared on a thread of its own, swapped on every shard, answered.
//!
//! A reload that is refused changes nothing. So all that can fail (reading, checking, binding, cloning sockets, opening
//! the log) is done before the next generation becomes the current one; after that, shards only confirm the swap.
//! One that does not confirm, or cannot follow, is named in the response and in the log. The generation is in force all
//! the same: taking it back would need the same shard. A shard that is late swaps when it gets to it, since its command
//! waits for it; one that cannot follow serves by its old generation until the next reload or its restart.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvError, never};
use serde_json::json;

use crate::control::admin::decide::AdminRules;
use crate::control::admin::response::AdminResponse;
use crate::control::failure::StartFailure;
use crate::control::listen::Listeners;
use crate::control::prepare::{Prepared, ReloadRefusal};
use crate::control::{Control, ControlEvent, start};
use crate::net::doorbell::Post;
use crate::plan::LogSettings;
use crate::shard::{Command, SwapOutcome};

/// How long the shards may take to swap.
const SWAP_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a reload was requested, and so where its result goes; it is logged in any case.
pub enum ReloadRequester {
    /// SIGHUP.
    Signal,
    /// `POST /reload`: the response goes here.
    Admin(Post<AdminResponse>),
}

/// At most one reload is under way. A request that arrives meanwhile is answered by the next one, since the file may
/// have changed after the present one read it.
#[derive(Default)]
pub struct Reload {
    /// Those for the next reload.
    waiting: Vec<ReloadRequester>,
    stage: ReloadStage,
    /// Reloads since the process began that every shard has followed.
    pub succeeded: u64,
    /// The others: refused, or not followed by every shard.
    pub failed: u64,
}

#[derive(Default)]
enum ReloadStage {
    #[default]
    Idle,
    /// A thread reads and checks the configuration.
    Preparing(Vec<ReloadRequester>),
    Swapping(Swap),
}

/// A generation that is in force and that shards swap to.
struct Swap {
    requesters: Vec<ReloadRequester>,
    done: Receiver<SwapOutcome>,
    /// The shards that have not confirmed.
    pending: HashSet<usize>,
    /// The shards that cannot follow, with the cause.
    refused: BTreeMap<usize, String>,
    deadline: Instant,
    /// Listeners that the new generation does not have; closed here once the shards have closed their clones.
    removed: Listeners,
}

impl Reload {
    /// Where shards tell that they have swapped.
    pub fn done(&self) -> &Receiver<SwapOutcome> {
        static NEVER: LazyLock<Receiver<SwapOutcome>> = LazyLock::new(never);
        match &self.stage {
            ReloadStage::Swapping(swap) => &swap.done,
            ReloadStage::Idle | ReloadStage::Preparing(_) => &NEVER,
        }
    }

    /// When a swap ends without the shards that have not confirmed.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            ReloadStage::Swapping(swap) => Some(swap.deadline),
            ReloadStage::Idle | ReloadStage::Preparing(_) => None,
        }
    }
}

impl Control {
    /// SIGHUP or `POST /reload`.
    pub(super) fn request_reload(&mut self, requester: ReloadRequester) {
        self.reload.waiting.push(requester);
        self.begin_reload();
    }

    /// Begins a reload if none is under way and one was requested.
    fn begin_reload(&mut self) {
        if !matches!(self.reload.stage, ReloadStage::Idle) || self.reload.waiting.is_empty() {
            return;
        }
        let requesters = std::mem::take(&mut self.reload.waiting);
        if self.drain.is_some() {
            return refuse(requesters, &ReloadRefusal::Draining);
        }
        let (options, event_sender) = (self.options.clone(), self.event_sender.clone());
        let (known, running) = (self.current.names.clone(), self.current.plan.clone());
        let body = move || {
            // The event is sent even after a panic: without it no reload would ever begin again.
            let prepared = catch_unwind(AssertUnwindSafe(|| options.prepare(&known, Some(&running))));
            let prepared = prepared.unwrap_or(Err(ReloadRefusal::Panicked));
            let _ = event_sender.send(ControlEvent::Prepared(Box::new(prepared)));
        };
        match thread::Builder::new().name("reload".into()).spawn(body) {
            Ok(_) => self.reload.stage = ReloadStage::Preparing(requesters),
            Err(error) => refuse(requesters, &ReloadRefusal::Machine(StartFailure::thread("reload", &error))),
        }
    }

    /// The thread is done: either the swap begins, or the reload is refused.
    pub(super) fn prepared(&mut self, prepared: Result<Prepared, ReloadRefusal>) {
        let ReloadStage::Preparing(requesters) = std::mem::take(&mut self.reload.stage) else { return };
        match prepared.and_then(|prepared| self.swap(prepared)) {
            Ok((done, pending, removed)) => {
                let deadline = Instant::now() + SWAP_TIMEOUT;
                let refused = BTreeMap::new();
                self.reload.stage =
                    ReloadStage::Swapping(Swap { requesters, done, pending, refused, deadline, removed });
                self.check_swap();
            }
            Err(refusal) => {
                self.reload.failed += 1;
                refuse(requesters, &refusal);
                self.begin_reload();
            }
        }
    }

    /// Makes the prepared generation the current one and sends it to the shards. Returns where they confirm, which of
    /// them will, and the listeners that are no longer needed.
    ///
    /// # Errors
    /// A listener or the log is refused, or the process drains. Nothing has changed then.
    fn swap(
        &mut self,
        prepared: Prepared,
    ) -> Result<(Receiver<SwapOutcome>, HashSet<usize>, Listeners), ReloadRefusal> {
        if self.drain.is_some() {
            return Err(ReloadRefusal::Draining);
        }
        let (listeners, shards) = (&self.current.listeners, self.supervisor.len());
        let change =
            listeners.plan_change(&prepared.plan.server.listen, shards).map_err(ReloadRefusal::Machine)?;
        // One `Option` for each shard, so that the closure of `broadcast` can take them out.
        let clones = (0..shards).map(|shard| listeners.of_shard_after(&change, shard).map(Some));
        let mut clones: Vec<_> = clones.collect::<io::Result<_>>().map_err(no_descriptors)?;
        // The last step that can fail: from here on the reload is certain.
        self.change_log(&prepared.plan.log)?;
        prepared.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let removed = self.current.advance(prepared, change);
        self.follow_health();
        self.admin_rules.set(AdminRules::of(self.current.plan.admin.as_ref()));
        self.schedule_refresh();
        // Shards that are down get this generation when they are restarted.
        let (done, acks) = crossbeam_channel::unbounded();
        let reached = self.supervisor.broadcast(|shard| {
            let listeners = clones[shard].take().expect("broadcast makes one command for each shard");
            let generation = Box::new(self.current.generation_with(listeners));
            Command::Swap { generation, done: done.clone() }
        });
        Ok((acks, reached.into_iter().collect(), removed))
    }

    /// Opens the log's new target, if it is another one, and sets the level.
    fn change_log(&self, wanted: &LogSettings) -> Result<(), ReloadRefusal> {
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

    /// A shard has swapped, or its thread has ended. An error: all have confirmed or are gone.
    pub(super) fn swapped(&mut self, outcome: Result<SwapOutcome, RecvError>) {
        if let ReloadStage::Swapping(swap) = &mut self.reload.stage {
            match outcome {
                Ok(SwapOutcome { shard, result }) => {
                    swap.pending.remove(&shard);
                    match result {
                        Ok(()) => {}
                        Err(cause) => _ = swap.refused.insert(shard, cause),
                    }
                }
                Err(_) => swap.pending.clear(),
            }
            self.check_swap();
        }
    }

    /// Ends a swap that has taken too long.
    pub(super) fn tick_reload(&mut self, now: Instant) {
        if self.reload.deadline().is_some_and(|deadline| deadline <= now) {
            self.end_swap();
        }
    }

    /// Ends the swap if every shard has confirmed.
    fn check_swap(&mut self) {
        if matches!(&self.reload.stage, ReloadStage::Swapping(swap) if swap.pending.is_empty()) {
            self.end_swap();
        }
    }

    /// Closes the removed listeners, responds, and begins the next reload if one was requested meanwhile.
    fn end_swap(&mut self) {
        let ReloadStage::Swapping(swap) = std::mem::take(&mut self.reload.stage) else { return };
        drop(swap.removed);
        let generation = self.current.number;
        let failures = failures(swap.pending, swap.refused);
        let response = match failures.first() {
            None => {
                self.reload.succeeded += 1;
                let listening = start::list(self.addresses());
                let source = self.options.source.name();
                tracing::info!(generation, "reloaded {source}; listening on {listening}");
                AdminResponse::json(200, &json!({ "generation": generation }))
            }
            Some(first) => {
                self.reload.failed += 1;
                for SwapFailure { shard, problem, .. } in &failures {
                    tracing::error!(generation, shard, "reloaded, but {problem}");
                }
                partial(generation, first, &failures)
            }
        };
        respond(swap.requesters, &response);
        self.begin_reload();
    }
}

/// A shard that has not followed a reload.
struct SwapFailure {
    shard: usize,
    /// It may still follow.
    late: bool,
    /// In words, as part of a sentence.
    problem: String,
}

/// The shards that have not confirmed, and those that cannot follow.
fn failures(pending: HashSet<usize>, refused: BTreeMap<usize, String>) -> Vec<SwapFailure> {
    let late = pending.into_iter().map(|shard| {
        let problem = format!(
            "shard {shard} did not answer within {SWAP_TIMEOUT:?}: it serves by the earlier configuration until it does"
        );
        SwapFailure { shard, late: true, problem }
    });
    let refused = refused.into_iter().map(|(shard, cause)| {
        let problem = format!("shard {shard} did not follow: {cause}");
        SwapFailure { shard, late: false, problem }
    });
    let mut all: Vec<_> = late.chain(refused).collect();
    // The gravest first: it gives the response its status.
    all.sort_by_key(|failure| (failure.late, failure.shard));
    all
}

/// The response to a reload that is in force, but not on every shard. `first`: the gravest of the failures.
fn partial(generation: u64, first: &SwapFailure, all: &[SwapFailure]) -> AdminResponse {
    let (status, reason) = if first.late { (503, "shard_late") } else { (500, "shard_refused") };
    let error = format!("Reloaded, but {}", first.problem);
    let shards: Vec<_> = all.iter().map(|failure| failure.shard).collect();
    let problems: Vec<_> = all.iter().map(|failure| &failure.problem).collect();
    let members = json!({ "generation": generation, "shards": shards, "problems": problems });
    AdminResponse::problem_with(status, reason, &error, members)
}

/// Cloning a socket has failed.
fn no_descriptors(error: io::Error) -> ReloadRefusal {
    ReloadRefusal::Machine(StartFailure::machine(
        format!("cannot hand the listeners to the shards: {error}"),
        "raise the limit of open files (`ulimit -Hn`, LimitNOFILE=)",
    ))
}

/// Logs why nothing was reloaded, and responds to those who requested it.
fn refuse(requesters: Vec<ReloadRequester>, refusal: &ReloadRefusal) {
    tracing::error!("nothing was reloaded: {}", refusal.reason());
    refusal.problems().iter().for_each(|problem| tracing::error!("{problem}"));
    refusal.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
    respond(requesters, &refusal.response());
}

/// Sends the response to those requesters that take one.
fn respond(requesters: Vec<ReloadRequester>, response: &AdminResponse) {
    for requester in requesters {
        if let ReloadRequester::Admin(responder) = requester {
            // The admin thread may have given up waiting.
            let _ = responder.send(response.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_that_did_not_follow_are_named_each_with_its_cause() {
        let refused = BTreeMap::from([(3, "script x".to_owned())]);
        for (pending, refused, status, reason, shards) in [
            (vec![2, 1], BTreeMap::new(), 503, "shard_late", json!([1, 2])),
            (vec![1], refused, 500, "shard_refused", json!([3, 1])),
        ] {
            let failures = failures(pending.into_iter().collect(), refused);
            let response = partial(7, &failures[0], &failures);
            let body: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
            assert_eq!((response.status, &body["reason"]), (status, &json!(reason)));
            assert_eq!((&body["generation"], &body["shards"]), (&json!(7), &shards));
            assert!(body["problems"].to_string().contains("shard 1 did not answer within 5s"), "{body}");
            assert!(body["error"].to_string().contains(&format!("shard {}", failures[0].shard)), "{body}");
        }
    }
}
