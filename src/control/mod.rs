//! The control thread: starts the process, then runs one loop over signals, admin requests, shard events and timers.
//!
//! Whatever may block (reading a configuration, looking names up, fetching a key set, a slow admin client) runs on a
//! thread of its own and reports back as a [`ControlEvent`]. Whatever shards are to do is sent to their mailboxes as a
//! [`Command`](crate::shard::Command). So the control thread never waits for a shard, and no shard ever waits for it.
//!
//! | file | concern |
//! |---|---|
//! | `start`, `placement`, `listen` | from a configuration to shards that accept |
//! | `supervisor` | shard threads: started, watched, restarted |
//! | `prepare`, `reload`, `current` | the next generation, its swap, the one in force |
//! | `drain`, `signals` | the end of the process, and what requests it |
//! | `admin`, `scrape`, `status`, `process` | the admin listener and the numbers it shows |
//! | `resolve`, `jwks` | names and key sets that are fetched and refreshed |
//! | `health` | health checks of endpoints |
//!
//! What the floors above use is re-exported here; all modules are private.

mod admin;
mod current;
mod drain;
mod failure;
mod health;
mod jwks;
mod listen;
mod placement;
mod prepare;
mod process;
mod reload;
mod resolve;
mod scrape;
mod signals;
mod source;
mod start;
mod status;
mod supervisor;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvError, Sender, at, never, select};

use crate::log::{diagnostics, writer};
use crate::plan::{LogTarget, Plan};
use crate::shard::{BreakerChange, SwapOutcome};
use crate::store;
use admin::decide::AdminRequest;
use admin::{AdminCall, SharedRules};
use current::CurrentGeneration;
use drain::Drain;
use jwks::UnknownKeys;
use prepare::{Prepared, ReloadRefusal};
use reload::{Reload, ReloadRequester};
use resolve::HostPort;
use scrape::ScrapeState;
use signals::Signal;
use supervisor::Supervisor;

pub use failure::{CommandFailure, FailureKind, StartFailure};
pub use listen::bind_exclusive;
pub use prepare::RunOptions;
pub use source::ConfigSource;
pub use start::remote_store;

/// How long log lines that are still queued may hold up the end of the process.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What other threads report to the control thread.
enum ControlEvent {
    Signal(Signal),
    Admin(AdminCall),
    /// A shard's thread has ended; `incarnation`: which of the threads that the shard has had. `panic`: its message,
    /// if that was the cause.
    ShardEnded {
        shard: usize,
        incarnation: u64,
        panic: Option<String>,
    },
    /// The next generation is ready, or refused.
    Prepared(Box<Result<Prepared, ReloadRefusal>>),
    /// A round of name look-ups is over.
    Resolved(HashMap<HostPort, resolve::Resolution>),
    /// A breaker has opened or closed on a shard: the others are to know.
    BreakerChanged {
        shard: usize,
        change: BreakerChange,
    },
    /// A health check is over.
    Checked(health::CheckResult),
    /// The fetch of a JWK set is over.
    Fetched(jwks::KeySetSource, jwks::KeySetFetch),
}

/// A started gateway, as its control thread holds it: [`Control::start`], then [`Control::serve`].
pub struct Control {
    options: RunOptions,
    started_at: SystemTime,
    events: Receiver<ControlEvent>,
    /// For threads that are spawned later, to report by.
    event_sender: Sender<ControlEvent>,
    current: CurrentGeneration,
    supervisor: Supervisor,
    reload: Reload,
    scrape: ScrapeState,
    drain: Option<Drain>,
    /// When names are looked up again; `None` while a look-up is under way.
    refresh_at: Option<Instant>,
    unknown_keys: UnknownKeys,
    log: LogHandles,
    store: StoreHandles,
    /// The admin listener's address, with its real port.
    admin: Option<SocketAddr>,
    /// Whom the admin listener answers, by the configuration in force.
    admin_rules: SharedRules,
    /// The loop ends after this turn.
    exit: bool,
}

/// The ends of the log that control holds.
struct LogHandles {
    writer: writer::Writer,
    sink: writer::LogSink,
    /// Changes the level of diagnostics; `None` where another subscriber was installed before.
    level: Option<diagnostics::LevelHandle>,
}

/// The ends of the store link that control holds.
struct StoreHandles {
    link: store::Link,
    stop: store::LinkStop,
}

/// Starts the gateway and serves until it has drained.
///
/// # Errors
/// What keeps it from starting. Once it serves, nothing ends it but a signal.
pub fn run(options: RunOptions) -> Result<(), CommandFailure> {
    Control::start(options)?.serve();
    Ok(())
}

impl Control {
    /// The plan that is served now.
    pub fn plan(&self) -> &Plan {
        &self.current.plan
    }

    /// The configuration's name, for people.
    pub fn source_name(&self) -> String {
        self.options.source.name()
    }

    /// The addresses where clients are served, with their real ports.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.current.listeners.addresses()
    }

    /// The address of the admin listener, if there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Serves until the process is to exit.
    pub fn serve(mut self) {
        while !self.exit {
            self.turn();
        }
        // First the store link: what the shards sent last is still counted there.
        self.store.stop.stop();
        self.log.writer.finish(LOG_FLUSH_TIMEOUT);
    }

    /// Waits for one event or for the next timer, handles it, and then does what is due by time.
    fn turn(&mut self) {
        let timer = self.deadline().map_or_else(never, at);
        select! {
            recv(self.events) -> event => self.handle(event.expect("control holds a sender itself")),
            // These channels exist only while a reload, drain or scrape is under way; without one they give nothing.
            recv(self.reload.done()) -> outcome => self.swapped(outcome),
            recv(self.drain.as_ref().map_or(&never(), Drain::done)) -> shard => self.drained(shard),
            recv(self.scrape.snapshots()) -> snapshot => self.scraped(snapshot),
            recv(self.unknown_keys.reports()) -> jwt => self.unknown_key(jwt),
            recv(timer) -> _ => {}
        }
        self.tick(Instant::now());
    }

    /// Passes an event on to the file it concerns.
    fn handle(&mut self, event: ControlEvent) {
        match event {
            ControlEvent::Signal(Signal::Stop) => self.stop(),
            ControlEvent::Signal(Signal::Reload) => self.request_reload(ReloadRequester::Signal),
            ControlEvent::Signal(Signal::ReopenLogs) => self.reopen_log(),
            ControlEvent::Admin(call) => self.handle_admin(call),
            ControlEvent::ShardEnded { shard, incarnation, panic } => {
                self.shard_ended(shard, incarnation, panic)
            }
            ControlEvent::Prepared(prepared) => self.prepared(*prepared),
            ControlEvent::Resolved(resolutions) => self.resolved(&resolutions),
            ControlEvent::BreakerChanged { shard, change } => self.supervisor.pass_on(shard, &change),
            ControlEvent::Checked(result) => self.checked(result),
            ControlEvent::Fetched(source, fetch) => self.fetched(&source, fetch),
        }
    }

    fn handle_admin(&mut self, AdminCall { request, responder }: AdminCall) {
        match request {
            AdminRequest::Ready => {
                // The admin thread may have given up waiting.
                let _ = responder.send(status::ready(self, Instant::now()));
            }
            AdminRequest::Metrics | AdminRequest::Status => self.request_scrape(request, responder),
            AdminRequest::Reload => self.request_reload(ReloadRequester::Admin(responder)),
        }
    }

    /// Does what is due by time.
    fn tick(&mut self, now: Instant) {
        self.supervisor.tick(now, &self.current);
        self.tick_reload(now);
        self.tick_drain(now);
        self.tick_scrape(now);
        self.tick_jwks(now);
        if self.refresh_at.is_some_and(|due| due <= now) {
            self.refresh_names();
        }
    }

    /// When [`Control::tick`] has something to do next.
    fn deadline(&self) -> Option<Instant> {
        let due = [
            self.supervisor.deadline(Instant::now()),
            self.reload.deadline(),
            self.drain.as_ref().map(Drain::deadline),
            self.scrape.deadline(),
            self.refresh_at,
            self.current.key_sets.deadline(),
            self.unknown_keys.deadline(),
        ];
        due.into_iter().flatten().min()
    }

    /// A shard's thread has ended: besides the supervisor, those learn of it who wait for its confirmation.
    fn shard_ended(&mut self, shard: usize, incarnation: u64, panic: Option<String>) {
        self.supervisor.ended(shard, incarnation, panic, Instant::now());
        // It confirms no swap any more, and needs none: its restart begins with the newest generation.
        self.swapped(Ok(SwapOutcome { shard, result: Ok(()) }));
        if self.drain.is_some() {
            self.drained(Ok(shard));
        }
    }

    /// SIGUSR1, after a log rotation has renamed the file.
    fn reopen_log(&self) {
        let target = &self.current.plan.log.target;
        if let LogTarget::File(path) = target {
            match self.log.writer.reopen(target) {
                Ok(()) => tracing::info!("the access log is opened anew: {}", path.display()),
                Err(error) => {
                    tracing::error!("cannot reopen {}, so the old one stays: {error}", path.display())
                }
            }
        }
    }
}

/// What a channel gives on which shards confirm a command by their ids. An error: every shard that had the sender has
/// confirmed or is gone, so nothing more will come.
type ShardAck = Result<usize, RecvError>;
