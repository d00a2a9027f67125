//! The handle to the store link's thread.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded, unbounded};

use super::keys::KeyList;
use super::link_thread::{LinkCommand, LinkThread};
use super::message::{ReplySink, StoreRequest};
use super::remote::RemoteConfig;
use super::snapshot::StoreSnapshot;

/// Requests that may wait: some milliseconds' worth of a busy process. Those beyond are refused at once.
pub(super) const MAX_WAITING: usize = 16 * 1024;

/// Where the store is.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum StoreConfig {
    /// In this process.
    #[default]
    Embedded,
    Remote(RemoteConfig),
}

/// A handle to the link's thread; clones lead to the same thread. It ends when it is stopped or all handles are
/// dropped.
#[derive(Clone)]
pub struct Link {
    requests: Sender<StoreRequest>,
    commands: Sender<LinkCommand>,
    published: Arc<Mutex<StoreSnapshot>>,
    refused: Arc<AtomicU64>,
}

/// A request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSent;

/// Ends the link's thread.
pub struct LinkStop {
    commands: Sender<LinkCommand>,
    thread: JoinHandle<()>,
}

impl Link {
    /// Starts the thread. It does not wait for the store to answer; [`Link::snapshot`] says whether it does.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(config: StoreConfig) -> io::Result<(Link, LinkStop)> {
        let (requests, waiting) = bounded(MAX_WAITING);
        let (commands, received) = unbounded();
        let link_thread = LinkThread::new(config, waiting, received);
        let link = Link { requests, commands, published: link_thread.published(), refused: Arc::default() };
        let commands = link.commands.clone();
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || link_thread.run())?;
        Ok((link, LinkStop { commands, thread }))
    }

    /// Sends a request; never blocks.
    ///
    /// # Errors
    /// Too many wait, or the link is stopped. There will be no reply: the shard goes on as if the store had failed.
    pub fn send(&self, request: StoreRequest) -> Result<(), NotSent> {
        self.requests.try_send(request).map_err(|_| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            NotSent
        })
    }

    /// Replies for `shard` go to `sink` from now on; the first ones are the present counters, API keys and state. To be
    /// called before the shard's first request; a shard that was restarted joins again, with the same number. Without
    /// effect when the link is stopped.
    pub fn join_shard(&self, shard: usize, sink: ReplySink) {
        let _ = self.commands.send(LinkCommand::Join { shard, sink });
    }

    /// The API keys that were added and revoked while gateways run; `None` until they have been read from the store.
    pub fn keys(&self) -> Option<Arc<KeyList>> {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    pub fn snapshot(&self) -> StoreSnapshot {
        let mut snapshot = self.published.lock().unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.queue = self.requests.len();
        snapshot.refused = self.refused.load(Ordering::Relaxed);
        snapshot
    }
}

impl LinkStop {
    /// Has the thread handle the requests sent before and send the counters that are left, then ends it. Blocks until
    /// it has ended: for a few timeouts of the store at most.
    pub fn stop(self) {
        let _ = self.commands.send(LinkCommand::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the store link has panicked");
        }
    }
}
