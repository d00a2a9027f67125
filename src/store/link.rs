//! The store link: a thread, and the handle by which others speak to it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};

use super::message::{CounterSums, Reply, Request, Sink};
use super::snapshot::{Snapshot, State};
use super::totals::Totals;

/// Requests that may wait: some milliseconds' worth of a busy process. What comes on top is refused at once.
const MOST_WAITING: usize = 16 * 1024;
/// Requests that are answered together.
const MOST_BATCHED: usize = 1024;
/// When a shard that took no reply is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Where the shared view lives.
#[derive(Clone, Debug, Default)]
pub enum Config {
    /// In this process.
    #[default]
    Embedded,
}

/// Speaks to the link's thread; clones speak to the same. The thread ends when it is stopped or all are dropped.
#[derive(Clone)]
pub struct Link {
    requests: Sender<Request>,
    orders: Sender<Order>,
    published: Arc<Mutex<Snapshot>>,
    refused: Arc<AtomicU64>,
}

/// Ends the link's thread.
pub struct Stop {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

/// From the control side. There are few, and they must not be lost.
enum Order {
    Join { shard: usize, sink: Sink },
    Stop,
}

impl Link {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(config: Config) -> io::Result<(Link, Stop)> {
        let (requests, waiting) = bounded(MOST_WAITING);
        let (orders, ordered) = unbounded();
        let Config::Embedded = config;
        let published = Arc::new(Mutex::new(Snapshot {
            backend: "embedded",
            state: State::Up,
            queue: 0,
            refused: 0,
            counters: Arc::default(),
            counters_full: false,
        }));
        let link = Link { requests, orders: orders.clone(), published, refused: Arc::default() };
        let keeper = Keeper {
            waiting,
            ordered,
            published: link.published.clone(),
            members: Vec::new(),
            totals: Totals::default(),
            told_full: false,
            stopping: false,
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || keeper.run())?;
        Ok((link, Stop { orders, thread }))
    }

    /// Leaves a request; never blocks. A shard that gets it back goes on as if the store had failed.
    ///
    /// # Errors
    /// The request itself, when too many wait or the link is stopped.
    pub fn send(&self, request: Request) -> Result<(), Request> {
        self.requests.try_send(request).map_err(|error| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(request) | TrySendError::Disconnected(request) => request,
            }
        })
    }

    /// Replies for `shard` go to `sink` from now on, first of all what is known so far. A shard that was started again
    /// joins again, with the same number. Without effect when the link is stopped.
    pub fn join_shard(&self, shard: usize, sink: Sink) {
        let _ = self.orders.send(Order::Join { shard, sink });
    }

    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.queue = self.requests.len();
        snapshot.refused = self.refused.load(Ordering::Relaxed);
        snapshot
    }
}

impl Stop {
    /// Handles the requests that were sent before, then ends the thread. Waits for it.
    pub fn stop(self) {
        let _ = self.orders.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the store link had panicked");
        }
    }
}

/// What the thread owns.
struct Keeper {
    waiting: Receiver<Request>,
    ordered: Receiver<Order>,
    published: Arc<Mutex<Snapshot>>,
    members: Vec<Member>,
    totals: Totals,
    /// The shards know that there is no room for more counters.
    told_full: bool,
    stopping: bool,
}

/// A shard that has joined.
struct Member {
    shard: usize,
    sink: Sink,
    /// It has sent counters that it was not told the sums of.
    unacknowledged: bool,
    /// It could not take a reply: it gets all sums when it can again.
    behind: bool,
}

impl Keeper {
    fn run(mut self) {
        let mut batch = Vec::new();
        while !self.stopping || !self.waiting.is_empty() {
            self.wait(&mut batch);
            self.obey();
            batch.extend(self.waiting.try_iter().take(MOST_BATCHED - batch.len()));
            batch.drain(..).for_each(|request| self.take(request));
            self.tell();
        }
    }

    /// Until there is something to do.
    fn wait(&mut self, batch: &mut Vec<Request>) {
        if self.stopping {
            return;
        }
        let patience = if self.members.iter().any(|member| member.behind) { RETRY } else { Duration::MAX };
        crossbeam_channel::select! {
            recv(self.ordered) -> order => match order {
                Ok(order) => self.follow(order),
                Err(_) => self.stopping = true,
            },
            recv(self.waiting) -> request => match request {
                Ok(request) => batch.push(request),
                Err(_) => self.stopping = true,
            },
            default(patience) => {}
        }
    }

    /// Follows all orders, before any request is handled: a shard's own may have come after it joined.
    fn obey(&mut self) {
        while let Ok(order) = self.ordered.try_recv() {
            self.follow(order);
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Join { shard, sink } => self.join(shard, sink),
            Order::Stop => self.stopping = true,
        }
    }

    fn join(&mut self, shard: usize, sink: Sink) {
        self.members.retain(|member| member.shard != shard);
        self.members.push(Member { shard, sink, unacknowledged: false, behind: true });
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Counters { shard, deltas } => {
                self.totals.add(deltas);
                self.members
                    .iter_mut()
                    .filter(|member| member.shard == shard)
                    .for_each(|member| member.unacknowledged = true);
            }
        }
    }

    /// Tells every shard what has changed for it.
    fn tell(&mut self) {
        let full = self.totals.full();
        let changed = self.totals.take_changed();
        let news = !changed.is_empty() || std::mem::replace(&mut self.told_full, full) != full;
        for member in &mut self.members {
            if !news && !member.unacknowledged && !member.behind {
                continue;
            }
            let sums = if member.behind { self.totals.all() } else { changed.clone() };
            let acknowledges = member.unacknowledged;
            member.behind = !(member.sink)(Reply::Counters(CounterSums { sums, acknowledges, full }));
            member.unacknowledged &= member.behind;
        }
        if news {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            published.counters = self.totals.all();
            published.counters_full = full;
        }
    }
}

#[cfg(test)]
mod tests;
