//! The handle by which others speak to the store link's thread.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded, unbounded};

use super::link_thread::{LinkThread, Order};
use super::message::{ReplySink, StoreRequest};
use super::remote::RemoteConfig;
use super::snapshot::StoreSnapshot;

/// Requests that may wait: some milliseconds' worth of a busy process. What comes on top is refused at once.
pub(super) const MAX_WAITING: usize = 16 * 1024;

/// Where the shared view lives.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StoreConfig {
    /// In this process.
    #[default]
    Embedded,
    Remote(RemoteConfig),
}

/// Speaks to the link's thread; clones speak to the same. The thread ends when it is stopped or all are dropped.
#[derive(Clone)]
pub struct Link {
    requests: Sender<StoreRequest>,
    orders: Sender<Order>,
    published: Arc<Mutex<StoreSnapshot>>,
    refused: Arc<AtomicU64>,
}

/// A request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsent;

/// Ends the link's thread.
pub struct LinkStop {
    orders: Sender<Order>,
    thread: JoinHandle<()>,
}

impl Link {
    /// Starts the thread. It does not wait for the store: whether there is one, [`Link::snapshot`] says.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(config: StoreConfig) -> io::Result<(Link, LinkStop)> {
        let (requests, waiting) = bounded(MAX_WAITING);
        let (orders, ordered) = unbounded();
        let link_thread = LinkThread::new(config, waiting, ordered);
        let link = Link { requests, orders, published: link_thread.published(), refused: Arc::default() };
        let orders = link.orders.clone();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || link_thread.run())?;
        Ok((link, LinkStop { orders, thread }))
    }

    /// Leaves a request; never blocks.
    ///
    /// # Errors
    /// Too many wait, or the link is stopped. Nothing will answer: the shard goes on as if the store had failed.
    pub fn send(&self, request: StoreRequest) -> Result<(), Unsent> {
        self.requests.try_send(request).map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Unsent
        })
    }

    /// Replies for `shard` go to `sink` from now on, first of all what is known so far. To be called before the shard's
    /// first request; a shard that was started again joins again, with the same number. Without effect when the link is
    /// stopped.
    pub fn join_shard(&self, shard: usize, sink: ReplySink) {
        let _ = self.orders.send(Order::Join { shard, sink });
    }

    pub fn snapshot(&self) -> StoreSnapshot {
        let mut snapshot = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.queue = self.requests.len();
        snapshot.refused = self.refused.load(Ordering::Relaxed);
        snapshot
    }
}

impl LinkStop {
    /// Handles the requests that were sent before, sends the counters that are left, and ends the thread. Waits for it:
    /// for a few timeouts of the store at most.
    pub fn stop(self) {
        let _ = self.orders.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the store link had panicked");
        }
    }
}
