//! One core's event loop with everything it owns. Plain `Rc` and `Cell` data: nothing here is shared
//! with another thread; messages come in through the mailbox.
//!
//! A request's way: [`accept`] → [`connection`] (whole head, keep-alive) → [`request`] (framing, host,
//! path, route) → [`answer`] or [`exchange`] (pick, connect, send, replay) → [`response`] and [`pump`]
//! (both directions at once) → [`relay`] or [`tunnel`] → [`record`] (counters, one access-log line).

mod accept;
mod answer;
mod connection;
mod exchange;
mod live;
mod pump;
mod record;
mod relay;
mod request;
mod response;
mod run;
mod scratch;
mod tick;
mod tunnel;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::Sender;

use crate::base::id::Ids;
use crate::config::{Plan, plan};
use crate::log::batch::AccessLog;
use crate::log::writer::Sink;
use crate::metrics::{ShardMetrics, Snapshot};
use crate::net::doorbell::Mailbox;
use crate::net::{Buffers, Deadlines, Pipes};
use crate::route::Table;

pub use crate::upstream::Addresses;
pub use run::{DriverKind, run};

use live::Live;
use scratch::Scratch;

/// A bound listening socket. Control keeps the original; shards get clones of it.
pub struct Listener {
    pub address: SocketAddr,
    pub socket: std::net::TcpListener,
}

/// A configuration made ready for one shard.
pub struct Generation {
    /// Counts up with each reload.
    pub number: u64,
    pub plan: Arc<Plan>,
    /// This shard's private copy.
    pub table: Table,
    pub addresses: Arc<Addresses>,
    /// All listeners of this generation; those the shard has already are told by their address.
    pub listeners: Vec<Listener>,
}

/// What control tells a shard.
pub enum Command {
    /// Serve by this generation from now on; `done` gets the shard's id when it does.
    Swap { generation: Box<Generation>, done: Sender<usize> },
    /// Names resolve differently now.
    Addresses(Arc<Addresses>),
    /// Send a copy of all counters.
    Scrape(Sender<Snapshot>),
    /// Stop accepting, finish what is in flight, then return from [`run`]; `done` gets the shard's id.
    Drain { done: Sender<usize> },
}

/// What a shard thread is started with.
pub struct Seat {
    pub id: usize,
    /// How many shards there are.
    pub shards: usize,
    /// The core to stay on.
    pub core: Option<core_affinity::CoreId>,
    pub driver: plan::Driver,
    pub mailbox: Mailbox<Command>,
    pub sink: Sink,
    /// Gets the driver that won once the shard accepts, or why it cannot.
    pub started: Sender<Result<DriverKind, String>>,
}

/// The shard itself.
struct Shard {
    id: usize,
    began: Instant,
    /// Unix time at `began`, corrected at each tick.
    began_unix: Cell<Duration>,
    deadlines: Rc<Deadlines>,
    buffers: Buffers,
    pipes: Pipes,
    metrics: Rc<ShardMetrics>,
    log: RefCell<AccessLog>,
    ids: RefCell<Ids>,
    live: RefCell<Rc<Live>>,
    addresses: RefCell<Arc<Addresses>>,
    #[expect(clippy::vec_box, reason = "moved out and in for every request: a pointer, not 500 bytes")]
    scratch: RefCell<Vec<Box<Scratch>>>,
    /// Client connections, each counted until its task has ended.
    open: Cell<usize>,
    /// Connections beyond `max_connections` that are being told so.
    refusing: Cell<usize>,
    draining: Cell<bool>,
    /// A test asked for the death of this shard.
    doomed: Cell<bool>,
}

impl Shard {
    /// The generation that a request beginning now belongs to.
    fn live(&self) -> Rc<Live> {
        self.live.borrow().clone()
    }

    /// Unix time in milliseconds of a moment.
    fn unix_ms(&self, moment: Instant) -> u64 {
        let unix = self.began_unix.get() + moment.saturating_duration_since(self.began);
        u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
    }

    /// Follows the system's clock, should it have been set.
    fn correct_clock(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.began_unix.set(unix.saturating_sub(self.began.elapsed()));
    }

    fn take_scratch(&self) -> Box<Scratch> {
        self.scratch.borrow_mut().pop().unwrap_or_default()
    }

    fn give_back_scratch(&self, scratch: Box<Scratch>) {
        let mut kept = self.scratch.borrow_mut();
        if kept.len() < scratch::KEPT && scratch.is_ordinary() {
            kept.push(scratch);
        }
    }
}
