//! One core's event loop with everything it owns. Plain `Rc` and `Cell` data: nothing here is shared
//! with another thread; messages come in through two mailboxes, one from control and one from the store link.
//!
//! A request's way: [`accept`] → [`h1`] (its connection: a whole head, framing) → [`serve`] (route, steps, action) →
//! an answer of the gateway's own, or [`proxy`] (attempts, both directions at once) → [`request_log`] (counters, one
//! access-log line). What a protocol gives to a request is in [`protocol`], what a request has on its way in [`turn`].
//!
//! One thread, one event loop, one core: so a request takes no lock and touches no atomic that another core writes to.
//! What crosses threads is either immutable (`Arc<Plan>`) or a message on a channel that a shard never blocks on.

mod accept;
mod clock;
mod connections;
mod descriptors;
mod fence;
mod generation;
mod h1;
mod heartbeat;
mod held;
mod limits;
mod protocol;
mod proxy;
mod request_log;
mod run;
mod script_host;
mod serve;
mod step_host;
mod tick;
mod turn;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::auth::api_keys::DynamicKeys;
use crate::auth::cache::TokenCache;
use crate::auth::jwt::Provider;
use crate::auth::refetch::UnknownKeyReports;
use crate::base::error::{Error, Reason};
use crate::base::id::RequestIds;
use crate::log::batch::AccessLog;
use crate::log::writer::LogSink;
use crate::metrics::{MetricsSnapshot, ShardMetrics};
use crate::net::doorbell::Mailbox;
use crate::net::{Buffers, Deadlines, Pipes};
use crate::plan::{self, Plan};
use crate::route::RouteTable;
use crate::store::{Link, ShardCounters, StoreReply};

pub use crate::upstream::{Addresses, BreakerChange, UnhealthyEndpoints};
pub use descriptors::DescriptorShare;
pub use heartbeat::Heartbeat;
pub use run::{ChosenDriver, run};

use clock::Clock;
use connections::Connections;
use generation::{GenerationContext, LiveGeneration};
use held::HeldBodies;
use limits::ShardLimits;
use turn::RequestBuffers;

/// A bound listening socket. Control keeps the original; shards get clones of it.
/// The kernel spreads connections over the shards' own sockets (`SO_REUSEPORT`). Closing one resets what is in its
/// accept queue, which is why the original stays with control over reloads.
pub struct Listener {
    pub address: SocketAddr,
    pub socket: std::net::TcpListener,
}

/// A configuration made ready for one shard.
pub struct Generation {
    /// Counts up with each reload.
    /// The first one is 1; it is in every line of the access log.
    pub number: u64,
    pub plan: Arc<Plan>,
    /// This shard's private copy.
    pub table: RouteTable,
    pub addresses: Arc<Addresses>,
    pub unhealthy: Arc<UnhealthyEndpoints>,
    /// Who signs tokens, by the plan's indices.
    pub providers: Arc<[Arc<Provider>]>,
    /// All listeners of this generation; those the shard has already are known by their address.
    pub listeners: Vec<Listener>,
}

/// A message from control to a shard. Handled in the order of arrival, between two tasks of the event loop; none is
/// answered but by the channels it carries. None is lost, however far the shard is behind, so they must stay rare; what
/// the store link says comes through a mailbox of its own, which can be full.
pub enum Command {
    /// A reload: serve new requests by this generation from now on; those in flight keep theirs. `done` is told once that
    /// is so and the listeners that the generation does not have are closed, or why it is not to be.
    Swap { generation: Box<Generation>, done: Sender<SwapOutcome> },
    /// DNS: the addresses of all names, after some have changed.
    Addresses(Arc<Addresses>),
    /// Health checks: the endpoints that are unhealthy now, all of them.
    Unhealthy(Arc<UnhealthyEndpoints>),
    /// A breaker has opened or closed on another shard.
    Breaker(BreakerChange),
    /// A JWK set was fetched and has other keys: all providers of the generation sent last, in the plan's order.
    Providers(Arc<[Arc<Provider>]>),
    /// A scrape: send a copy of all counters.
    Scrape(Sender<MetricsSnapshot>),
    /// Stop accepting, finish the requests in flight, then return from [`run`]; `done` gets the shard's id once no
    /// connection is left.
    Drain { done: Sender<usize> },
    /// The time for the drain is over: end the requests in flight, each with its line in the log.
    Cut,
}

/// How a shard has followed a reload.
#[derive(Debug)]
pub struct SwapOutcome {
    pub shard: usize,
    /// The error says what keeps it from serving by the new generation, or from accepting on one of its listeners.
    pub result: Result<(), String>,
}

/// What a shard thread is started with.
pub struct ShardSpawn {
    pub id: usize,
    /// How many shards there are.
    pub shards: usize,
    /// The core to stay on.
    pub core: Option<core_affinity::CoreId>,
    /// As configured; `auto` is resolved by what the kernel allows.
    pub driver: plan::Driver,
    /// What it may have open.
    pub share: DescriptorShare,
    pub mailbox: Mailbox<Command>,
    /// What the store link answers, and changes of shared state.
    pub replies: Mailbox<StoreReply>,
    /// Shows control that the event loop turns.
    pub heartbeat: Arc<Heartbeat>,
    pub sink: LogSink,
    /// The bounded channel to the store link's thread.
    pub link: Link,
    /// Says that a token's key is not in the set of a provider, named by its index. Never blocks.
    pub unknown_key: Box<dyn Fn(usize) + Send>,
    /// Says that a breaker has opened or closed, for the other shards. Never blocks.
    pub breaker_changed: Box<dyn Fn(BreakerChange) + Send>,
    /// Gets the driver that won once the shard accepts, or why it cannot.
    pub started: Sender<Result<ChosenDriver, String>>,
}

/// The shard itself.
/// Everything that outlives a generation is here: a reload exchanges `live` and leaves the rest as it is. Cells and
/// borrows are never held over an `await`, since any other task of the shard may run there.
struct Shard {
    id: usize,
    /// How many shards there are.
    shards: usize,
    clock: Rc<Clock>,
    heartbeat: Arc<Heartbeat>,
    /// One flat table for all sockets, looked through by the tick: no timer per operation.
    deadlines: Rc<Deadlines>,
    /// Free buffers for reads and writes, in two sizes.
    buffers: Buffers,
    /// Kernel pipes through which long bodies are spliced.
    pipes: Pipes,
    metrics: Rc<ShardMetrics>,
    log: RefCell<AccessLog>,
    /// Makes request ids, for requests and for `uuid()` of scripts.
    ids: Rc<RefCell<RequestIds>>,
    link: Link,
    counters: Rc<ShardCounters>,
    limits: Rc<ShardLimits>,
    context: GenerationContext,
    /// API keys that were added and revoked while running; `None` until they have been read from the store.
    dynamic_keys: RefCell<Option<DynamicKeys>>,
    /// Tokens that were verified.
    tokens: RefCell<TokenCache>,
    /// Called with a provider whose key set lacks a token's key.
    unknown_key: Box<dyn Fn(usize) + Send>,
    /// Called with what breakers have to tell other shards.
    breaker_changed: Box<dyn Fn(BreakerChange) + Send>,
    /// When a report of `unknown_key` is due.
    unknown_key_reports: RefCell<UnknownKeyReports>,
    /// The generation for requests that begin now; those in flight hold an `Rc` of theirs.
    live: RefCell<Rc<LiveGeneration>>,
    #[expect(clippy::vec_box, reason = "moved out and in for every request: a pointer, not 500 bytes")]
    request_buffers: RefCell<Vec<Box<RequestBuffers>>>,
    /// What it may have open.
    share: DescriptorShare,
    /// Client connections, each until its task has ended.
    connections: Connections,
    /// Connections beyond `max_connections` that are being refused.
    refusing: Cell<usize>,
    /// The bodies that are held for scripts.
    held_bodies: Rc<HeldBodies>,
    /// Upstream connections that are being opened.
    connecting: Rc<Cell<usize>>,
    /// Set once and never cleared: connections answer with `Connection: close` from then on.
    draining: Cell<bool>,
    /// Set once and never cleared: connections end where they are.
    cut: Cell<bool>,
    /// A test has requested a fault of this shard.
    doomed: Cell<bool>,
}

impl Shard {
    /// The generation that a request beginning now belongs to.
    fn live(&self) -> Rc<LiveGeneration> {
        self.live.borrow().clone()
    }

    /// Sockets that are open, or about to be.
    fn sockets(&self) -> usize {
        self.deadlines.open() + self.connecting.get()
    }

    /// Counts an upstream connection as being opened, until the guard is dropped.
    ///
    /// # Errors
    /// `overloaded`, where there is no descriptor for it.
    fn begin_connect(&self) -> Result<Connecting, Error> {
        if self.sockets() >= self.share.sockets && !self.close_idle_upstreams() {
            // Not soon enough for this one.
            accept::close_idlest(self);
            return Err(Error::gateway(Reason::Overloaded, "no file descriptor is left"));
        }
        self.connecting.set(self.connecting.get() + 1);
        Ok(Connecting(self.connecting.clone()))
    }

    /// Closes the upstream connections that are idle, to have their descriptors for another; whether there was one.
    fn close_idle_upstreams(&self) -> bool {
        self.live().upstreams.iter().map(|upstream| upstream.close_idle()).sum::<usize>() > 0
    }

    /// Unix time in seconds.
    fn unix_s(&self) -> u64 {
        self.clock.unix_ms(Instant::now()) / 1000
    }
}

/// Counts an upstream connection as being opened.
struct Connecting(Rc<Cell<usize>>);

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
