//! The shard thread: pins itself, builds its event loop, serves until drained.
//!
//! A panic of one connection stays in its fence (`accept`). One of the shard itself ends the thread; control then
//! starts another shard on the same listeners.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::time::Duration;

use crossbeam_channel::Sender;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};

use super::accept::Acceptors;
use super::clock::Clock;
use super::connections::Connections;
use super::generation::{GenerationContext, LiveGeneration};
use super::limits::ShardLimits;
use super::script_host::ShardScriptHost;
use super::{Command, Generation, Shard, ShardSpawn, SwapOutcome, tick};
use crate::auth::api_keys::DynamicKeys;
use crate::auth::cache::TokenCache;
use crate::base::id::RequestIds;
use crate::log::batch::AccessLog;
use crate::metrics::ShardMetrics;
use crate::net::{Buffers, Deadlines, Pipes, socket};
use crate::plan::Driver;
use crate::script;
use crate::store::{KeyList, ShardCounters, StoreReply};
use crate::upstream::{BreakerOutbox, Upstream};

/// Submission queue entries: more than one burst of work ever fills.
const RING_ENTRIES: u32 = 4096;

/// How long a request waits for the embedded store, which is only late when the whole process is.
/// With Redis, `[store] timeout` takes its place.
const EMBEDDED_TIMEOUT: Duration = Duration::from_secs(1);

/// Which driver a shard runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring with `SINGLE_ISSUER` and `DEFER_TASKRUN` (kernel 6.1 and later).
    /// A relayed request costs about a fifth less CPU than with the plain set-up.
    IoUringDeferred,
    /// The set-up of the library, for kernels before 6.1.
    IoUring,
    /// Where io_uring is refused, as by the default seccomp profile of Docker.
    Epoll,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DriverKind::IoUringDeferred => "io_uring (single issuer, deferred task run)",
            DriverKind::IoUring => "io_uring",
            DriverKind::Epoll => "epoll",
        })
    }
}

/// The driver that a shard has got.
#[derive(Clone, Debug)]
pub struct ChosenDriver {
    pub kind: DriverKind,
    /// Why io_uring is refused, where `auto` has taken epoll in its place.
    pub refusal: Option<String>,
}

/// The two runtimes differ in type; requests run on either through the same `monoio` calls.
enum EventLoop {
    Uring(Runtime<TimeDriver<IoUringDriver>>),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

impl EventLoop {
    /// Builds the loop that the configuration names; `auto` takes epoll where io_uring is not to be had.
    ///
    /// # Errors
    /// A named driver that the system refuses: there is no silent replacement for what was set explicitly.
    fn build(driver: Driver) -> io::Result<(EventLoop, ChosenDriver)> {
        let (built, refusal) = match driver {
            Driver::Epoll => (Self::epoll()?, None),
            Driver::IoUring => (Self::uring()?, None),
            Driver::Auto => match Self::uring() {
                Ok(built) => (built, None),
                Err(error) => (Self::epoll()?, Some(error.to_string())),
            },
        };
        let (event_loop, kind) = built;
        Ok((event_loop, ChosenDriver { kind, refusal }))
    }

    /// Tries the deferred set-up, then the plain one.
    ///
    /// # Errors
    /// No io_uring here, or a ring of this size cannot be had (locked memory, descriptors).
    fn uring() -> io::Result<(EventLoop, DriverKind)> {
        // A kernel may let a ring be made and still lack operations that are needed: this asks for those.
        if !monoio::utils::detect_uring() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, why_refused()));
        }
        let builder = || RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES);
        let mut deferred = io_uring::IoUring::builder();
        deferred.setup_single_issuer().setup_defer_taskrun();
        match builder().uring_builder(deferred).enable_timer().build() {
            Ok(runtime) => Ok((EventLoop::Uring(runtime), DriverKind::IoUringDeferred)),
            Err(_) => {
                let runtime = builder().enable_timer().build()?;
                Ok((EventLoop::Uring(runtime), DriverKind::IoUring))
            }
        }
    }

    /// # Errors
    /// Descriptors or memory are used up.
    fn epoll() -> io::Result<(EventLoop, DriverKind)> {
        let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?;
        Ok((EventLoop::Epoll(runtime), DriverKind::Epoll))
    }

    fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        match self {
            EventLoop::Uring(runtime) => runtime.block_on(future),
            EventLoop::Epoll(runtime) => runtime.block_on(future),
        }
    }
}

/// Why the library finds no io_uring that it can use, in words for the log.
fn why_refused() -> String {
    const SWITCH: &str = "MONOIO_FORCE_LEGACY_DRIVER";
    if std::env::var_os(SWITCH).is_some_and(|value| !value.is_empty()) {
        return format!("the environment variable {SWITCH} is set");
    }
    match io_uring::IoUring::new(2) {
        Ok(_) => "this kernel's io_uring lacks operations that are needed".to_owned(),
        Err(error) => cause_of(&error),
    }
}

/// What a refused `io_uring_setup` means.
fn cause_of(error: &io::Error) -> String {
    let cause = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "it is forbidden by kernel.io_uring_disabled or a seccomp profile, as Docker's default one"
        }
        Some(libc::ENOSYS) => "the kernel has none, or a seccomp profile hides it",
        Some(libc::ENOMEM) => "too little memory may be locked (`ulimit -l`)",
        Some(libc::EMFILE | libc::ENFILE) => "too few files may be open (`ulimit -n`)",
        _ => return error.to_string(),
    };
    format!("{cause}: {error}")
}

/// The thread's body: returns once drained. Reports through `spawn.started` whether it serves.
///
/// # Panics
/// When the shard itself (not a mere connection) panicked: its connections are shut down first, and
/// the caller may start another shard on the same listeners.
pub fn run(spawn: ShardSpawn, first: Generation) {
    if let Some(core) = spawn.core {
        core_affinity::set_for_current(core);
    }
    let (mut event_loop, driver) = match EventLoop::build(spawn.driver) {
        Ok(built) => built,
        Err(error) => {
            let _ = spawn.started.send(Err(error.to_string()));
            return;
        }
    };
    let (deadlines, acceptors) = (Rc::new(Deadlines::default()), Rc::new(Acceptors::default()));
    let serving = serve(spawn, first, driver, deadlines.clone(), acceptors.clone());
    let served = catch_unwind(AssertUnwindSafe(|| event_loop.block_on(serving)));
    if served.is_err() {
        let _ = catch_unwind(AssertUnwindSafe(|| event_loop.block_on(clear_away(&deadlines, &acceptors))));
    }
    // Operations may still be in flight, and a dropped event loop does not wait for them while it
    // frees their buffers. It lives as long as the process.
    std::mem::forget(event_loop);
    if let Err(panic) = served {
        resume_unwind(panic);
    }
}

/// After the shard's own panic: takes back its accept operations, which would swallow connections that
/// nobody serves, and ends what its clients and upstreams would otherwise wait for.
async fn clear_away(deadlines: &Deadlines, acceptors: &Acceptors) {
    const STEP: Duration = Duration::from_millis(1);
    const STEPS: usize = 1000;
    acceptors.stop_all();
    for _ in 0..STEPS {
        socket::shut_down_all(deadlines);
        if acceptors.is_empty() {
            break;
        }
        monoio::time::sleep(STEP).await;
    }
}

/// The shard from its first listener to the end of its drain. `started` gets exactly one message, either way: control
/// waits for it before it goes on with the start.
async fn serve(
    mut spawn: ShardSpawn,
    mut first: Generation,
    driver: ChosenDriver,
    deadlines: Rc<Deadlines>,
    acceptors: Rc<Acceptors>,
) {
    // Built before anything is accepted: no connection may meet a shard that cannot serve it.
    let listeners = std::mem::take(&mut first.listeners);
    let shard = match Shard::new(&mut spawn, first, deadlines) {
        Ok(shard) => Rc::new(shard),
        Err(fault) => {
            let _ = spawn.started.send(Err(format!("script {fault}")));
            return;
        }
    };
    if let Err(error) = acceptors.change(&shard, listeners) {
        let _ = spawn.started.send(Err(error.to_string()));
        return;
    }
    let drained = Rc::new(RefCell::new(Vec::new()));
    let _ = spawn.started.send(Ok(driver));
    let handle = {
        let (shard, acceptors, drained) = (shard.clone(), acceptors.clone(), drained.clone());
        move |command| {
            match command {
                Command::Drain { done } => {
                    shard.draining.set(true);
                    acceptors.stop_all();
                    drained.borrow_mut().push(done);
                }
                Command::Cut => {
                    shard.cut.set(true);
                    shard.connections.wake_all();
                }
                Command::Swap { generation, done } => {
                    let result = shard.swap(*generation, &acceptors);
                    let outcome = SwapOutcome { shard: shard.id, result };
                    monoio::spawn(report_swap(outcome, acceptors.clone(), done));
                }
                Command::Addresses(addresses) => shard.live().set_addresses(&addresses),
                Command::Unhealthy(unhealthy) => shard.live().set_unhealthy(unhealthy),
                Command::Breaker(change) => {
                    shard.live().follow_breaker(&change, shard.deadlines.now_ms());
                }
                Command::Providers(providers) => shard.live().renew_providers(providers),
                Command::Scrape(answer) => drop(answer.send(shard.scrape())),
            }
            true
        }
    };
    monoio::spawn(spawn.mailbox.listen(handle));
    let hear = {
        let shard = shard.clone();
        move |reply| {
            shard.hear(reply);
            true
        }
    };
    monoio::spawn(spawn.replies.listen(hear));
    tick::until_drained(&shard, || acceptors.is_empty()).await;
    tick::send_last_counters(&shard).await;
    shard.log.borrow_mut().flush();
    for done in drained.take() {
        let _ = done.send(shard.id);
    }
}

/// Tells control of a swap once the removed listeners are closed: until then their addresses cannot be bound anew.
async fn report_swap(outcome: SwapOutcome, acceptors: Rc<Acceptors>, done: Sender<SwapOutcome>) {
    const STEP: Duration = Duration::from_millis(1);
    const STEPS: usize = 1000;
    for _ in 0..STEPS {
        if acceptors.have_stopped() {
            break;
        }
        // Also lets the event loop hand over what the ended tasks have left to it: closing their sockets.
        monoio::time::sleep(STEP).await;
    }
    // Control may have given up waiting.
    let _ = done.send(outcome);
}

impl Shard {
    /// Builds the shard and makes its first generation live.
    ///
    /// # Errors
    /// A script that does not compile.
    fn new(
        spawn: &mut ShardSpawn,
        first: Generation,
        deadlines: Rc<Deadlines>,
    ) -> Result<Shard, script::ScriptFault> {
        use std::hash::{BuildHasher, RandomState};
        // Request ids of two shards, or of a shard and its successor, must not begin alike.
        let seed = RandomState::new().hash_one(spawn.id);
        let metrics = Rc::new(ShardMetrics::new(spawn.id));
        let log = AccessLog::new(first.plan.log.access, spawn.sink.clone());
        let script_host = Rc::new(ShardScriptHost {
            clock: Rc::new(Clock::new()),
            ids: Rc::new(RefCell::new(RequestIds::new(seed))),
            counters: Rc::new(ShardCounters::new()),
            metrics: metrics.clone(),
        });
        let store_timeout = first.plan.store.as_ref().map_or(EMBEDDED_TIMEOUT, |store| store.timeout);
        let limits = ShardLimits::new(
            spawn.id,
            spawn.shards,
            spawn.link.clone(),
            script_host.clock.clone(),
            store_timeout,
        );
        let limits = Rc::new(limits);
        let context = GenerationContext {
            metrics: metrics.clone(),
            script_host: script_host.clone(),
            limits: limits.clone(),
            breakers: BreakerOutbox::default(),
            seed: spawn.id as u64,
        };
        let live = LiveGeneration::build(first, None, &context)?;
        let shard = Shard {
            id: spawn.id,
            shards: spawn.shards,
            clock: script_host.clock.clone(),
            heartbeat: spawn.heartbeat.clone(),
            deadlines,
            buffers: Buffers::default(),
            pipes: Pipes::new(spawn.share.pipes),
            metrics,
            log: RefCell::new(log),
            ids: script_host.ids.clone(),
            link: spawn.link.clone(),
            counters: script_host.counters.clone(),
            limits,
            context,
            // A change after this comes as a message: the shard has joined the link before its thread began.
            dynamic_keys: RefCell::new(spawn.link.keys().map(|keys| dynamic_keys(&keys))),
            unknown_key: std::mem::replace(&mut spawn.unknown_key, Box::new(|_| ())),
            breaker_changed: std::mem::replace(&mut spawn.breaker_changed, Box::new(|_| ())),
            unknown_key_reports: RefCell::default(),
            tokens: RefCell::new(TokenCache::new(TokenCache::MAX_ENTRIES, TokenCache::MAX_BYTES)),
            live: RefCell::new(Rc::new(live)),
            request_buffers: RefCell::default(),
            share: spawn.share,
            connections: Connections::default(),
            refusing: Cell::new(0),
            held_bodies: Rc::default(),
            connecting: Rc::default(),
            draining: Cell::new(false),
            cut: Cell::new(false),
            doomed: Cell::new(false),
        };
        Ok(shard)
    }

    /// Serves by another generation from here on; what is in flight ends on the old one.
    /// Everything that could fail for ordinary reasons was tried by control beforehand.
    ///
    /// # Errors
    /// What failed all the same. If it was a script, the shard goes on by the old generation.
    fn swap(self: &Rc<Self>, mut generation: Generation, acceptors: &Acceptors) -> Result<(), String> {
        let listeners = std::mem::take(&mut generation.listeners);
        let old = self.live();
        // The scripts were compiled when the configuration was checked, by the same engine.
        let live = LiveGeneration::build(generation, Some(&old), &self.context)
            .map_err(|fault| format!("it keeps the old configuration: script {fault}"))?;
        self.log.borrow_mut().set_format(live.plan.log.access);
        // In this order: counters and idle connections of what is gone are dropped, then new requests see the new
        // rules, and last come the new listeners, whose first connection must find them in force.
        live.retain_metrics(&self.metrics);
        Upstream::retire(&old.upstreams, &live.upstreams);
        self.live.replace(Rc::new(live));
        acceptors.change(self, listeners).map_err(|error| format!("a new listener cannot accept: {error}"))
    }

    /// Takes what the store has said.
    /// Called between two tasks, so no borrow of a request is alive.
    fn hear(&self, reply: StoreReply) {
        match reply {
            StoreReply::Counters(news) => self.counters.apply(&news),
            StoreReply::Keys(keys) => drop(self.dynamic_keys.replace(Some(dynamic_keys(&keys)))),
            StoreReply::Lease { .. }
            | StoreReply::Strict { .. }
            | StoreReply::Failed { .. }
            | StoreReply::Reachable(_) => {
                self.limits.take_reply(reply);
            }
        }
    }

    /// A copy of all counters. Gauges that others keep are read here, once a scrape, rather than maintained per
    /// request.
    fn scrape(&self) -> crate::metrics::MetricsSnapshot {
        self.metrics.limit_keys.set(self.limits.keys() as u64);
        self.metrics.connections_open.set(self.connections.len() as u64);
        self.metrics.access_log_dropped.set(self.log.borrow().dropped());
        for upstream in &self.live().upstreams {
            upstream.count_endpoints();
        }
        self.metrics.snapshot()
    }
}

/// The keys that were added and revoked while running.
/// The list replaces the one before as a whole: a message that was lost is made good by the next.
fn dynamic_keys(keys: &KeyList) -> DynamicKeys {
    let mut dynamic = DynamicKeys::default();
    for (hash, consumer) in &keys.added {
        dynamic.add(*hash, consumer.clone());
    }
    for hash in &keys.revoked {
        dynamic.revoke(*hash);
    }
    dynamic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_ring_is_explained_and_the_error_of_the_system_is_kept() {
        for (code, words) in [
            (libc::EPERM, "seccomp"),
            (libc::ENOSYS, "the kernel has none"),
            (libc::ENOMEM, "ulimit -l"),
            (libc::EINVAL, "Invalid argument"),
        ] {
            let error = io::Error::from_raw_os_error(code);
            let cause = cause_of(&error);
            assert!(cause.contains(words) && cause.ends_with(&error.to_string()), "{cause}");
        }
    }
}
