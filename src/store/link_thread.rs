//! The store link's thread: answers the requests that have gathered, and announces to the shards what has changed.

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, TryRecvError};

use super::embedded::EmbeddedStore;
use super::keys::KeyList;
use super::link::{MAX_WAITING, StoreConfig};
use super::message::{CounterSums, ReplySink, StoreReply, StoreRequest};
use super::remote::RemoteStore;
use super::snapshot::{StoreSnapshot, StoreState, StoreTraffic};
use super::totals::CounterTotals;

/// Requests that are answered together.
const MAX_BATCH: usize = 1024;
/// How long after a full mailbox a shard is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// How long to wait when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// From the control thread. Commands are few, and must not be lost.
pub enum LinkCommand {
    Join { shard: usize, sink: ReplySink },
    Stop,
}

/// After a panic that comes so soon after the last, the thread waits so long before it goes on.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// What the thread owns.
pub struct LinkThread {
    config: StoreConfig,
    /// Identifies this process to a remote store.
    process: u64,
    requests: Receiver<StoreRequest>,
    commands: Receiver<LinkCommand>,
    published: Arc<Mutex<StoreSnapshot>>,
    backend: StoreBackend,
    shards: Vec<JoinedShard>,
    totals: CounterTotals,
    announced: AnnouncedState,
    /// Its last panic, and when that was.
    panicked: Option<(Arc<str>, Instant)>,
    stopping: bool,
}

enum StoreBackend {
    Embedded(EmbeddedStore),
    Remote(Box<RemoteStore>),
}

struct JoinedShard {
    shard: usize,
    sink: ReplySink,
    /// It has sent counters, and was not sent their sums.
    unacknowledged: bool,
    /// Its mailbox was full. When it has room again, the shard is sent the whole state.
    behind: bool,
}

/// The state that was last announced to the shards, except the sums.
#[derive(Default)]
struct AnnouncedState {
    counters_full: bool,
    reachable: Option<bool>,
    keys: Option<Arc<KeyList>>,
}

/// What has changed since the last announcement.
struct Announcement {
    sums: Arc<[(Arc<str>, i64)]>,
    counters_full: bool,
    /// `counters_full` has just become true.
    newly_full: bool,
    reachable: Option<bool>,
    keys: Option<Arc<KeyList>>,
}

impl StoreBackend {
    fn new(config: &StoreConfig, process: u64) -> StoreBackend {
        let now = Instant::now();
        match config {
            StoreConfig::Embedded => StoreBackend::Embedded(EmbeddedStore::new(now)),
            StoreConfig::Remote(config) => {
                StoreBackend::Remote(Box::new(RemoteStore::new(config.clone(), process, now)))
            }
        }
    }
}

impl LinkThread {
    pub fn new(
        config: StoreConfig,
        requests: Receiver<StoreRequest>,
        commands: Receiver<LinkCommand>,
    ) -> LinkThread {
        let process = RandomState::new().hash_one("process");
        let backend = StoreBackend::new(&config, process);
        let (name, state, keys) = match &backend {
            // None can be added or revoked in it.
            StoreBackend::Embedded(_) => ("embedded", StoreState::Up, Some(Arc::default())),
            StoreBackend::Remote(remote) => ("redis", remote.state(), remote.keys()),
        };
        let published = StoreSnapshot {
            backend: name,
            state,
            last_error: None,
            queue: 0,
            refused: 0,
            traffic: StoreTraffic::default(),
            counters: Arc::default(),
            counters_full: false,
            keys,
        };
        LinkThread {
            config,
            process,
            requests,
            commands,
            published: Arc::new(Mutex::new(published)),
            backend,
            shards: Vec::new(),
            totals: CounterTotals::default(),
            announced: AnnouncedState::default(),
            panicked: None,
            stopping: false,
        }
    }

    /// The snapshot, which the thread keeps up to date.
    pub fn published(&self) -> Arc<Mutex<StoreSnapshot>> {
        self.published.clone()
    }

    /// Serves until it is stopped. A panic costs the requests in hand, which fail by their timeout, and what an embedded
    /// store held; then it goes on.
    pub fn run(mut self) {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.serve())) {
            let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            self.begin_anew(&text);
            if self.stopping {
                return;
            }
        }
    }

    /// Drops what a panic may have left half done. Shards and counters stay.
    fn begin_anew(&mut self, panic: &str) {
        tracing::error!("the store link has panicked, and begins anew: {panic}");
        let now = Instant::now();
        let again_soon = self.panicked.as_ref().is_some_and(|(_, last)| now - *last < PANIC_PAUSE);
        let error: Arc<str> = format!("the store link has panicked: {panic}").into();
        self.panicked = Some((error.clone(), now));
        {
            let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
            published.state = StoreState::Down { since: now };
            published.last_error = Some(error);
        }
        if again_soon && !self.stopping {
            // No request is to wait meanwhile.
            for shard in &self.shards {
                let _ = catch_unwind(AssertUnwindSafe(|| (shard.sink)(StoreReply::Reachable(false))));
            }
            std::thread::sleep(PANIC_PAUSE);
        }
        self.backend = StoreBackend::new(&self.config, self.process);
        self.announced = AnnouncedState::default();
        self.shards.iter_mut().for_each(|shard| shard.behind = true);
    }

    fn serve(&mut self) {
        let mut batch = Vec::new();
        while !self.stopping || !self.requests.is_empty() || self.is_busy() {
            self.wait();
            self.run_commands();
            self.settle();
            if self.takes_requests() && !(self.stopping && self.requests.is_empty()) {
                let queue_full = self.requests.len() >= MAX_WAITING;
                self.gather(&mut batch);
                self.handle(&mut batch, queue_full);
            }
            self.announce();
        }
        if let StoreBackend::Remote(remote) = &mut self.backend {
            remote.finish(&mut self.totals);
        }
        self.announce();
    }

    /// Blocks until there is something to do.
    fn wait(&self) {
        let now = Instant::now();
        let takes_requests = self.takes_requests();
        if self.stopping && takes_requests && !(self.requests.is_empty() && self.is_busy()) {
            return;
        }
        let (due, remote) = match &self.backend {
            StoreBackend::Embedded(embedded) => (embedded.next_tick(), None),
            StoreBackend::Remote(remote) => (remote.next_due(&self.totals, now), Some(remote)),
        };
        let mut timeout = due.map_or(IDLE, |due| due.saturating_duration_since(now));
        if self.shards.iter().any(|shard| shard.behind) {
            timeout = timeout.min(RETRY);
        }
        let mut select = Select::new();
        if takes_requests && !self.stopping {
            select.recv(&self.requests);
        }
        if !self.stopping {
            select.recv(&self.commands);
        }
        if let Some(remote) = remote {
            select.recv(remote.finished());
            if let Some(attempt) = remote.attempt() {
                select.recv(attempt);
            }
        }
        // Which one is ready does not matter: all are read after this.
        let _ = select.ready_timeout(timeout);
    }

    /// Whether requests are to be taken out of the queue now.
    fn takes_requests(&self) -> bool {
        match &self.backend {
            StoreBackend::Embedded(_) => true,
            StoreBackend::Remote(remote) => remote.takes_requests(Instant::now()),
        }
    }

    /// Whether there are exchanges under way.
    fn is_busy(&self) -> bool {
        matches!(&self.backend, StoreBackend::Remote(remote) if remote.is_busy())
    }

    /// Does what is due by the clock, and takes the exchanges that have ended.
    fn settle(&mut self) {
        let LinkThread { backend, shards, totals, .. } = self;
        match backend {
            StoreBackend::Embedded(embedded) => embedded.tick(Instant::now()),
            StoreBackend::Remote(remote) => {
                remote.take_finished(totals, &mut |shard, answer| reply(shards, shard, answer));
                remote.tick(Instant::now());
            }
        }
    }

    /// Carries out all commands, before any request is taken: a shard's first request may have come after it joined.
    fn run_commands(&mut self) {
        loop {
            match self.commands.try_recv() {
                Ok(LinkCommand::Stop) => self.stopping = true,
                Ok(LinkCommand::Join { shard, sink }) => {
                    self.shards.retain(|joined| joined.shard != shard);
                    self.shards.push(JoinedShard { shard, sink, unacknowledged: false, behind: true });
                }
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    fn gather(&mut self, batch: &mut Vec<StoreRequest>) {
        while batch.len() < MAX_BATCH {
            match self.requests.try_recv() {
                Ok(request) => batch.push(request),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    /// Answers the batch, or begins an exchange with it. `queue_full`: more requests came than may wait.
    fn handle(&mut self, batch: &mut Vec<StoreRequest>, queue_full: bool) {
        let LinkThread { backend, shards, totals, .. } = self;
        batch.retain_mut(|request| match request {
            StoreRequest::Counters { shard, deltas } => {
                totals.add(std::mem::take(deltas));
                shards
                    .iter_mut()
                    .filter(|joined| joined.shard == *shard)
                    .for_each(|joined| joined.unacknowledged = true);
                false
            }
            _ => true,
        });
        let now = Instant::now();
        match backend {
            StoreBackend::Embedded(embedded) => {
                batch
                    .drain(..)
                    .filter_map(|request| embedded.answer(request, now))
                    .for_each(|(shard, answer)| reply(shards, shard, answer));
                totals.confirm_locally();
            }
            StoreBackend::Remote(remote) => {
                remote.begin(batch, totals, queue_full, &mut |shard, answer| reply(shards, shard, answer));
            }
        }
    }

    /// Publishes what has changed, and sends it to every shard.
    fn announce(&mut self) {
        let (reachable, keys) = match &self.backend {
            StoreBackend::Embedded(_) => (true, None),
            StoreBackend::Remote(remote) => (remote.is_reachable(), remote.keys()),
        };
        let known_keys = self.announced.keys.as_ref();
        let counters_full = self.totals.full();
        let announcement = Announcement {
            sums: self.totals.take_changed(),
            counters_full,
            newly_full: counters_full && !self.announced.counters_full,
            reachable: (self.announced.reachable != Some(reachable)).then_some(reachable),
            keys: keys.clone().filter(|keys| known_keys.is_none_or(|known| !Arc::ptr_eq(known, keys))),
        };
        self.announced = AnnouncedState { counters_full, reachable: Some(reachable), keys };
        self.publish(&announcement);
        for shard in &mut self.shards {
            if shard.behind {
                shard.send_state(&self.totals, &self.announced);
            } else {
                shard.send_changes(&announcement);
            }
        }
    }

    fn publish(&self, announcement: &Announcement) {
        let panicked = || self.panicked.as_ref().map(|(error, _)| error.clone());
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if let StoreBackend::Remote(remote) = &self.backend {
            published.state = remote.state();
            published.traffic = remote.traffic();
            published.last_error = remote.last_error().or_else(panicked);
        } else {
            published.state = StoreState::Up;
        }
        if !announcement.sums.is_empty() {
            published.counters = self.totals.all();
        }
        if let Some(keys) = &announcement.keys {
            published.keys = Some(keys.clone());
        }
        published.counters_full = announcement.counters_full;
    }
}

/// A shard whose mailbox is full is so far behind that the requests have timed out there.
fn reply(shards: &[JoinedShard], shard: usize, reply: StoreReply) {
    if let Some(joined) = shards.iter().find(|joined| joined.shard == shard) {
        (joined.sink)(reply);
    }
}

impl JoinedShard {
    fn send_changes(&mut self, changes: &Announcement) {
        if let Some(reachable) = changes.reachable {
            self.send(StoreReply::Reachable(reachable));
        }
        if let Some(keys) = &changes.keys {
            self.send(StoreReply::Keys(keys.clone()));
        }
        if !changes.sums.is_empty() || changes.newly_full || self.unacknowledged {
            self.send_sums(changes.sums.clone(), changes.counters_full);
        }
    }

    /// Sends the whole state: to a shard that has just joined, or was behind.
    fn send_state(&mut self, totals: &CounterTotals, announced: &AnnouncedState) {
        self.behind = false;
        if let Some(reachable) = announced.reachable {
            self.send(StoreReply::Reachable(reachable));
        }
        if let Some(keys) = &announced.keys {
            self.send(StoreReply::Keys(keys.clone()));
        }
        self.send_sums(totals.all(), announced.counters_full);
    }

    fn send_sums(&mut self, sums: Arc<[(Arc<str>, i64)]>, full: bool) {
        let acknowledges = self.unacknowledged;
        if self.send(StoreReply::Counters(CounterSums { sums, acknowledges, full })) {
            self.unacknowledged = false;
        }
    }

    /// After a reply that was not taken none is sent, until the shard is sent the whole state.
    fn send(&mut self, reply: StoreReply) -> bool {
        self.behind = self.behind || !(self.sink)(reply);
        !self.behind
    }
}
