//! The control thread: starts the process, then turns one loop of signals, admin requests and timers.
//!
//! Everything that may wait (a configuration being read, names being looked up, a slow admin client) is on a thread
//! of its own and comes back here as an [`Event`]; everything that shards are told goes through their mailboxes.
//! So this thread never waits for a shard, and no shard ever waits for it.

mod admin;
mod current;
mod drain;
pub mod failure;
mod jwks;
pub mod link;
pub mod listen;
mod placement;
mod prepare;
mod process;
mod reload;
mod resolve;
mod scrape;
mod signals;
pub mod source;
mod start;
mod status;
mod supervisor;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvError, Sender, at, never, select};

use crate::log::{diagnostics, writer};
use crate::plan::{LogTarget, Plan};
use crate::shard::Command;
use crate::store;
use admin::Question;

use admin::decide::Ask;
use current::Current;
use drain::Drain;
use failure::NotStarted;
use jwks::UnknownKeys;
pub use prepare::RunOptions;
use prepare::{Prepared, Rejected};
use reload::{Asker, Reload};
use resolve::Name;
use scrape::Scrape;
use signals::Signal;
use supervisor::Supervisor;

/// What the loop turns on.
pub enum Event {
    Signal(Signal),
    Admin(Question),
    /// A shard's thread is gone; `life` tells which one of those that sat there.
    ShardEnded {
        shard: usize,
        life: u64,
        panic: Option<String>,
    },
    /// The next generation is ready, or refused.
    Prepared(Box<Result<Prepared, Rejected>>),
    /// A round of look-ups is over.
    Resolved(HashMap<Name, resolve::Answer>),
    /// The fetch of a JWK set is over.
    Fetched(jwks::Source, jwks::Answer),
}

/// The process, as its control thread knows it.
pub struct Control {
    options: RunOptions,
    started_at: SystemTime,
    events: Receiver<Event>,
    /// For the threads that are started along the way.
    post: Sender<Event>,
    current: Current,
    supervisor: Supervisor,
    reload: Reload,
    scrape: Scrape,
    drain: Option<Drain>,
    /// When names are looked up again; `None` while they are.
    refresh_at: Option<Instant>,
    unknown_keys: UnknownKeys,
    log: Log,
    store: Store,
    admin: Option<SocketAddr>,
    exit: bool,
}

/// The log's two handles.
struct Log {
    writer: writer::Writer,
    sink: writer::LogSink,
    level: Option<diagnostics::Handle>,
}

/// The store link's two handles.
struct Store {
    link: store::Link,
    stop: store::LinkStop,
}

/// Starts the gateway and serves until it has drained.
///
/// # Errors
/// What keeps it from starting. Once it serves nothing is an error any more.
pub fn run(options: RunOptions) -> Result<(), NotStarted> {
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

    /// Where clients are served, real ports included.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.current.listeners.addresses()
    }

    /// Where the admin listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Serves until the process is to exit.
    pub fn serve(mut self) {
        while !self.exit {
            self.turn();
        }
        // What the shards sent last is still counted.
        self.store.stop.stop();
        self.log.writer.finish(Duration::from_secs(2));
    }

    fn turn(&mut self) {
        let timer = self.deadline().map_or_else(never, at);
        select! {
            recv(self.events) -> event => self.handle(event.expect("control holds a sender itself")),
            recv(self.reload.done()) -> shard => self.swapped(shard),
            recv(self.drain.as_ref().map_or(&never(), Drain::done)) -> shard => self.drained(shard),
            recv(self.scrape.snapshots()) -> snapshot => self.scraped(snapshot),
            recv(self.unknown_keys.posted()) -> jwt => self.unknown_key(jwt),
            recv(timer) -> _ => {}
        }
        self.tick(Instant::now());
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Signal(Signal::Stop) => self.stop(),
            Event::Signal(Signal::Reload) => self.ask_reload(Asker::Signal),
            Event::Signal(Signal::ReopenLogs) => self.reopen_log(),
            Event::Admin(question) => self.answer(question),
            Event::ShardEnded { shard, life, panic } => self.shard_ended(shard, life, panic),
            Event::Prepared(prepared) => self.prepared(*prepared),
            Event::Resolved(answers) => self.resolved(&answers),
            Event::Fetched(source, answer) => self.fetched(&source, answer),
        }
    }

    fn answer(&mut self, Question { ask, reply }: Question) {
        match ask {
            Ask::Ready => {
                let _ = reply.send(status::ready(&self.supervisor));
            }
            Ask::Metrics | Ask::Status => self.ask_scrape(ask, reply),
            Ask::Reload => self.ask_reload(Asker::Admin(reply)),
        }
    }

    /// What is due by time.
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

    fn shard_ended(&mut self, shard: usize, life: u64, panic: Option<String>) {
        self.supervisor.ended(shard, life, panic, Instant::now());
        // It answers nothing any more; what takes its place is seated with the newest generation.
        self.swapped(Ok(shard));
        if self.drain.is_some() {
            self.drained(Ok(shard));
        }
    }

    /// SIGUSR1, after a rotation has renamed the file.
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

    fn refresh_names(&mut self) {
        self.refresh_at = None;
        if self.current.names.is_empty() {
            return;
        }
        let (names, post) = (self.current.names.clone(), self.post.clone());
        let body = move || {
            let answers = resolve::look_up(names, resolve::REFRESH_EVERY);
            let _ = post.send(Event::Resolved(answers));
        };
        if let Err(error) = thread::Builder::new().name("refresh".into()).spawn(body) {
            tracing::error!("cannot look names up: {error}");
            self.plan_refresh();
        }
    }

    fn resolved(&mut self, answers: &HashMap<Name, resolve::Answer>) {
        for ((host, port), answer) in answers {
            if let Err(error) = answer {
                tracing::warn!(
                    "cannot look up {host} (port {port}): {error}; the addresses last known stay in use"
                );
            }
        }
        if let Some(merged) = resolve::merge(&self.current.addresses, answers) {
            // A reload meanwhile may have dropped some of these names.
            let addresses = std::sync::Arc::new(resolve::keep(&merged, &self.current.names));
            self.current.addresses = addresses.clone();
            self.supervisor.tell_all(|_| Command::Addresses(addresses.clone()));
        }
        self.plan_refresh();
    }

    /// Sets the time of the next look-ups; sooner while a name has no address at all.
    fn plan_refresh(&mut self) {
        let Current { names, addresses, .. } = &self.current;
        let missing = names.iter().any(|name| !addresses.contains_key(name));
        let pause = if missing { resolve::RETRY_EVERY } else { resolve::REFRESH_EVERY };
        self.refresh_at = (!names.is_empty()).then(|| Instant::now() + pause);
    }
}

/// What a channel of answers gives: a shard, or the news that every shard has answered or is gone.
type Done = Result<usize, RecvError>;
