//! The store link's thread: takes what has gathered, has it answered, tells the shards what is new.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Select, TryRecvError};

use super::embedded::Banks;
use super::keys::KeyList;
use super::link::{MAX_WAITING, StoreConfig};
use super::message::{CounterSums, ReplySink, StoreReply, StoreRequest};
use super::remote::Remote;
use super::snapshot::{StoreSnapshot, StoreState, Traffic};
use super::totals::Totals;

/// Requests that are answered together.
const MAX_BATCH: usize = 1024;
/// When a shard that took no reply is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// When nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// From the control side. There are few, and they must not be lost.
pub enum Order {
    Join { shard: usize, sink: ReplySink },
    Stop,
}

/// What the thread owns.
pub struct LinkThread {
    waiting: Receiver<StoreRequest>,
    ordered: Receiver<Order>,
    published: Arc<Mutex<StoreSnapshot>>,
    backend: Backend,
    members: Vec<Member>,
    totals: Totals,
    told: Told,
    stopping: bool,
}

enum Backend {
    Embedded(Banks),
    Remote(Box<Remote>),
}

/// A shard that has joined.
struct Member {
    shard: usize,
    sink: ReplySink,
    /// It has sent counters that it was not told the sums of.
    unacknowledged: bool,
    /// It could not take a reply: it is told everything when it can again.
    behind: bool,
}

/// What the shards know, but for the sums.
#[derive(Default)]
struct Told {
    full: bool,
    reachable: Option<bool>,
    keys: Option<Arc<KeyList>>,
}

impl LinkThread {
    pub fn new(config: StoreConfig, waiting: Receiver<StoreRequest>, ordered: Receiver<Order>) -> LinkThread {
        let now = Instant::now();
        let backend = match config {
            StoreConfig::Embedded => Backend::Embedded(Banks::new(now)),
            StoreConfig::Remote(config) => Backend::Remote(Box::new(Remote::new(config, now))),
        };
        let (name, state) = match &backend {
            Backend::Embedded(_) => ("embedded", StoreState::Up),
            Backend::Remote(remote) => ("redis", remote.state()),
        };
        let published = StoreSnapshot {
            backend: name,
            state,
            last_error: None,
            queue: 0,
            refused: 0,
            traffic: Traffic::default(),
            counters: Arc::default(),
            counters_full: false,
            keys: (0, 0),
        };
        LinkThread {
            waiting,
            ordered,
            published: Arc::new(Mutex::new(published)),
            backend,
            members: Vec::new(),
            totals: Totals::default(),
            told: Told::default(),
            stopping: false,
        }
    }

    /// Kept up to date while the thread runs.
    pub fn published(&self) -> Arc<Mutex<StoreSnapshot>> {
        self.published.clone()
    }

    pub fn run(mut self) {
        let mut batch = Vec::new();
        while !self.stopping || !self.waiting.is_empty() {
            self.wait();
            self.obey();
            let crowded = self.waiting.len() >= MAX_WAITING;
            self.gather(&mut batch);
            self.handle(&mut batch, crowded);
            self.tell();
        }
        if let Backend::Remote(remote) = &mut self.backend {
            remote.finish(&mut self.totals);
        }
        self.tell();
    }

    /// Until there is something to do.
    fn wait(&self) {
        if self.stopping {
            return;
        }
        let (due, attempt) = match &self.backend {
            Backend::Embedded(banks) => (banks.next_tick(), None),
            Backend::Remote(remote) => (remote.next_due(&self.totals), remote.attempt()),
        };
        let mut patience = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
        if self.members.iter().any(|member| member.behind) {
            patience = patience.min(RETRY);
        }
        let mut select = Select::new();
        select.recv(&self.waiting);
        select.recv(&self.ordered);
        if let Some(attempt) = attempt {
            select.recv(attempt);
        }
        // Whichever is ready, or none: all are looked at.
        let _ = select.ready_timeout(patience);
    }

    /// Follows all orders, before any request is taken: a shard's own may have come after it joined.
    fn obey(&mut self) {
        loop {
            match self.ordered.try_recv() {
                Ok(order) => self.follow(order),
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
            match self.waiting.try_recv() {
                Ok(request) => batch.push(request),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.stopping = true;
                    return;
                }
            }
        }
    }

    fn follow(&mut self, order: Order) {
        match order {
            Order::Stop => self.stopping = true,
            Order::Join { shard, sink } => {
                self.members.retain(|member| member.shard != shard);
                self.members.push(Member { shard, sink, unacknowledged: false, behind: true });
            }
        }
    }

    /// Has the batch answered, and does what else is due.
    fn handle(&mut self, batch: &mut Vec<StoreRequest>, crowded: bool) {
        let LinkThread { backend, members, totals, .. } = self;
        batch.retain_mut(|request| match request {
            StoreRequest::Counters { shard, deltas } => {
                totals.add(std::mem::take(deltas));
                members
                    .iter_mut()
                    .filter(|member| member.shard == *shard)
                    .for_each(|member| member.unacknowledged = true);
                false
            }
            _ => true,
        });
        let mut reply = |shard: usize, reply: StoreReply| {
            if let Some(member) = members.iter().find(|member| member.shard == shard) {
                // One whose mailbox is full has long stopped waiting.
                (member.sink)(reply);
            }
        };
        let now = Instant::now();
        match backend {
            Backend::Embedded(banks) => {
                banks.tick(now);
                batch
                    .drain(..)
                    .filter_map(|request| banks.answer(request, now))
                    .for_each(|(shard, answer)| reply(shard, answer));
                totals.settle_here();
            }
            Backend::Remote(remote) => {
                remote.tick(now);
                remote.serve(batch, totals, crowded, &mut reply);
            }
        }
    }

    /// Tells the status page and every shard what has changed for it.
    fn tell(&mut self) {
        let (reachable, keys) = match &self.backend {
            Backend::Embedded(_) => (true, None),
            Backend::Remote(remote) => (remote.is_reachable(), remote.keys()),
        };
        let news = News {
            changed: self.totals.take_changed(),
            full: self.totals.full(),
            filled: self.totals.full() && !self.told.full,
            reachable: (self.told.reachable != Some(reachable)).then_some(reachable),
            keys: keys
                .clone()
                .filter(|keys| self.told.keys.as_ref().is_none_or(|told| !Arc::ptr_eq(told, keys))),
        };
        self.told = Told { full: news.full, reachable: Some(reachable), keys };
        self.publish(&news);
        for member in &mut self.members {
            if member.behind {
                member.tell_all(&self.totals, &self.told);
            } else {
                member.tell(&news);
            }
        }
    }

    fn publish(&self, news: &News) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if let Backend::Remote(remote) = &self.backend {
            published.state = remote.state();
            published.last_error = remote.last_error();
            published.traffic = remote.traffic();
        }
        if !news.changed.is_empty() {
            published.counters = self.totals.all();
        }
        if let Some(keys) = &news.keys {
            published.keys = (keys.added.len(), keys.revoked.len());
        }
        published.counters_full = news.full;
    }
}

/// What has changed since the shards were told last.
struct News {
    changed: Arc<[(Arc<str>, i64)]>,
    full: bool,
    filled: bool,
    reachable: Option<bool>,
    keys: Option<Arc<KeyList>>,
}

impl Member {
    fn tell(&mut self, news: &News) {
        if let Some(reachable) = news.reachable {
            self.send(StoreReply::Reachable(reachable));
        }
        if let Some(keys) = &news.keys {
            self.send(StoreReply::Keys(keys.clone()));
        }
        if !news.changed.is_empty() || news.filled || self.unacknowledged {
            self.send_sums(news.changed.clone(), news.full);
        }
    }

    fn tell_all(&mut self, totals: &Totals, told: &Told) {
        self.behind = false;
        if let Some(reachable) = told.reachable {
            self.send(StoreReply::Reachable(reachable));
        }
        if let Some(keys) = &told.keys {
            self.send(StoreReply::Keys(keys.clone()));
        }
        self.send_sums(totals.all(), told.full);
    }

    fn send_sums(&mut self, sums: Arc<[(Arc<str>, i64)]>, full: bool) {
        let acknowledges = self.unacknowledged;
        if self.send(StoreReply::Counters(CounterSums { sums, acknowledges, full })) {
            self.unacknowledged = false;
        }
    }

    /// Nothing more is sent to a shard that is behind, until it is told everything.
    fn send(&mut self, reply: StoreReply) -> bool {
        self.behind = self.behind || !(self.sink)(reply);
        !self.behind
    }
}
