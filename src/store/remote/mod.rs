//! The store in Redis, as the link's thread sees it: exchanges while it answers, attempts to connect while it does not.
//!
//! Nothing here blocks: exchanges are carried out by the threads of their lanes. Connecting may take long (names are
//! resolved, a frozen server still accepts), so that each attempt has a thread of its own, and requests fail at once
//! meanwhile.

mod address;
mod connection;
mod keyring;
mod lanes;
mod node;
mod op;
mod requests;
mod scripts;
mod slots;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value;
use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::health::StoreHealth;
use super::keys::KeyList;
use super::message::{StoreReply, StoreRequest};
use super::snapshot::{StoreState, StoreTraffic};
use super::totals::CounterTotals;
use lanes::{ExchangeLane, ExchangeLanes, FinishedExchange, StoreExchange};
use op::{Keyspace, OpAnswer};
use requests::{TimedOp, reply_failed, reply_to};

pub use address::Address;
pub use keyring::KeyRing;
pub use lanes::longest_wait;
pub use node::NodeFailure;

/// How often counters are sent, if there is something to send.
const SEND_COUNTERS_EVERY: Duration = Duration::from_millis(20);
/// How often counters are read, since other processes add to them.
const READ_COUNTERS_EVERY: Duration = Duration::from_millis(100);
/// How often the version of the API keys is read. This also detects the loss of a store that nothing else uses.
const CHECK_KEYS_EVERY: Duration = Duration::from_millis(400);
/// How often a cluster's slots are read again while it reports that they move.
const REFRESH_SLOTS_EVERY: Duration = Duration::from_secs(1);
/// For an exchange at the end. Each ends by its own timeout; this is for a thread that is gone.
const FINISH_WITHIN: Duration = Duration::from_secs(60);

/// `[store]` with a URL.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteConfig {
    pub address: Address,
    /// For one exchange.
    pub timeout: Duration,
    /// Begins the names of all keys in Redis; not empty.
    pub key_prefix: String,
}

type ConnectAttempt = Receiver<Result<Vec<ExchangeLane>, NodeFailure>>;

pub struct RemoteStore {
    config: Arc<RemoteConfig>,
    keyspace: Arc<Keyspace>,
    health: StoreHealth,
    /// None while the store is lost.
    lanes: ExchangeLanes,
    /// The number of the next new lane.
    next_lane: u64,
    /// The cluster has reported that slots moved, or a node is lost: new connections are due, though the present ones
    /// still work.
    stale: bool,
    /// A node of the cluster is lost.
    node_lost: bool,
    attempt: Option<ConnectAttempt>,
    counters_due: Instant,
    counters_read_due: Instant,
    keys_due: Instant,
    /// An operation on counters, or on API keys, is under way: two at a time could end in another order.
    counters_under_way: bool,
    keys_under_way: bool,
    refresh_due: Instant,
    /// The API keys have changed since they were read.
    keys_changed: bool,
    /// The API keys and their version, as last read.
    keys: Option<(Option<String>, Arc<KeyList>)>,
    last_error: Option<Arc<str>>,
    traffic: StoreTraffic,
}

impl RemoteStore {
    /// `process` is drawn at random at each start of the gateway.
    pub fn new(config: RemoteConfig, process: u64, now: Instant) -> RemoteStore {
        let keyspace = Keyspace::new(config.key_prefix.clone(), process);
        RemoteStore {
            health: StoreHealth::new(now, config.timeout, process),
            lanes: ExchangeLanes::new(config.timeout),
            next_lane: 0,
            stale: false,
            node_lost: false,
            config: Arc::new(config),
            keyspace: Arc::new(keyspace),
            attempt: None,
            counters_due: now,
            counters_read_due: now,
            keys_due: now,
            counters_under_way: false,
            keys_under_way: false,
            refresh_due: now,
            // The whole list at once: gateways wait for it.
            keys_changed: true,
            keys: None,
            last_error: None,
            traffic: StoreTraffic::default(),
        }
    }

    pub fn is_reachable(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// The API keys; `None` until they have been read once. They stay while the store is lost.
    pub fn keys(&self) -> Option<Arc<KeyList>> {
        self.keys.as_ref().map(|(_, keys)| keys.clone())
    }

    pub fn state(&self) -> StoreState {
        self.health.state()
    }

    pub fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.clone()
    }

    pub fn traffic(&self) -> StoreTraffic {
        self.traffic
    }

    /// The attempt to connect; it becomes readable when [`RemoteStore::tick`] has a result to take.
    pub fn attempt(&self) -> Option<&ConnectAttempt> {
        self.attempt.as_ref()
    }

    /// Exchanges that end, to be taken by [`RemoteStore::take_finished`].
    pub fn finished(&self) -> &Receiver<FinishedExchange> {
        self.lanes.finished()
    }

    /// Whether there are exchanges under way.
    pub fn is_busy(&self) -> bool {
        self.lanes.under_way() > 0
    }

    /// Whether requests are to be taken now: they go into an exchange, or fail at once.
    pub fn takes_requests(&self, now: Instant) -> bool {
        !self.is_reachable() || self.lanes.next_begin(now).is_some_and(|begin| begin <= now)
    }

    /// When there is something to do without a request, or requests can be taken that could not before.
    pub fn next_due(&self, totals: &CounterTotals, now: Instant) -> Option<Instant> {
        if !self.is_reachable() {
            return self.attempt.is_none().then(|| self.health.next_try());
        }
        let begin = self.lanes.next_begin(now)?;
        if begin > now {
            return Some(begin);
        }
        let sending = (totals.has_unsent() && !self.counters_under_way).then_some(self.counters_due);
        let reading = (may_read(totals) && !self.counters_under_way).then_some(self.counters_read_due);
        let keys = (!self.keys_under_way).then_some(self.keys_due);
        [sending, reading, keys].into_iter().flatten().min()
    }

    /// Takes new connections, and begins an attempt to connect that is due.
    pub fn tick(&mut self, now: Instant) {
        if let Some(outcome) = self.connecting_result() {
            self.attempt = None;
            self.refresh_due = now + REFRESH_SLOTS_EVERY;
            match outcome {
                Ok(lanes) => self.adopt(lanes, now),
                // The present connections are stale, but work.
                Err(failure) if self.is_reachable() => self.record_error(&failure),
                Err(failure) => self.lose(&failure, now),
            }
        }
        let due = match self.is_reachable() {
            true => self.stale && now >= self.refresh_due,
            false => now >= self.health.next_try(),
        };
        if due && self.attempt.is_none() {
            self.begin_connecting(now);
        }
    }

    fn connecting_result(&self) -> Option<Result<Vec<ExchangeLane>, NodeFailure>> {
        match self.attempt.as_ref()?.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(NodeFailure("connecting has panicked".into()))),
        }
    }

    fn begin_connecting(&mut self, now: Instant) {
        let (outcome, attempt) = bounded(1);
        let (config, keyspace) = (self.config.clone(), self.keyspace.clone());
        let (ids, finished) = (lanes::next_ids(&mut self.next_lane), self.lanes.sender());
        let work = move || {
            // The link may have ended, and dropped the receiver.
            let _ = outcome.send(lanes::open(&config, &keyspace, ids, &finished));
        };
        match std::thread::Builder::new().name("store-connect".into()).spawn(work) {
            Ok(_) => self.attempt = Some(attempt),
            Err(error) => self.lose(&NodeFailure(format!("no thread to connect: {error}")), now),
        }
    }

    fn adopt(&mut self, lanes: Vec<ExchangeLane>, now: Instant) {
        if !self.is_reachable() {
            self.health.connected();
            tracing::info!("the store answers");
        }
        let lost = lanes.iter().find_map(|lane| lane.node_lost.clone());
        self.lanes.replace(lanes);
        self.stale = lost.is_some();
        self.note_lost_node(lost.as_ref());
        (self.counters_due, self.counters_read_due, self.keys_due) = (now, now, now);
    }

    /// An attempt to connect has failed.
    fn lose(&mut self, failure: &NodeFailure, now: Instant) {
        let is_news = self.health.failed(now);
        self.drop_connections(failure, is_news);
    }

    /// Drops the connections, if there are any. Exchanges that are under way end in time: what the store still answers
    /// counts.
    fn drop_connections(&mut self, failure: &NodeFailure, is_news: bool) {
        self.lanes.replace(Vec::new());
        self.traffic.failures += 1;
        self.record_error(failure);
        if is_news || self.traffic.failures == 1 {
            tracing::warn!("the store does not answer: {failure}");
        }
    }

    /// Of a cluster, one node may be lost while others answer.
    fn note_lost_node(&mut self, lost: Option<&NodeFailure>) {
        let was_lost = std::mem::replace(&mut self.node_lost, lost.is_some());
        match lost {
            Some(failure) if !was_lost => {
                tracing::warn!("a node of the store does not answer, and its keys are lost: {failure}");
                self.record_error(failure);
            }
            None if was_lost => tracing::info!("all nodes of the store answer"),
            _ => {}
        }
    }

    fn record_error(&mut self, failure: &NodeFailure) {
        self.last_error = Some(failure.0.as_str().into());
    }

    /// Begins an exchange with all requests and what else is due, or replies that there is no answer. To be called only
    /// while the store takes requests. `queue_full`: more requests came than may wait.
    pub fn begin(
        &mut self,
        requests: &mut Vec<StoreRequest>,
        totals: &mut CounterTotals,
        queue_full: bool,
        reply: &mut dyn FnMut(usize, StoreReply),
    ) {
        let now = Instant::now();
        let timed = self.timed_ops(totals, now);
        if requests.is_empty() && timed.is_empty() {
            return;
        }
        let exchange = StoreExchange { requests: std::mem::take(requests), timed, queue_full };
        if let Err(exchange) = self.lanes.begin(exchange, now) {
            self.fail(exchange, reply);
            if self.is_reachable() {
                self.lose(&NodeFailure("the thread of a connection is gone".into()), now);
            }
        }
    }

    /// Takes the exchanges that have ended, and answers their requests.
    pub fn take_finished(&mut self, totals: &mut CounterTotals, reply: &mut dyn FnMut(usize, StoreReply)) {
        while let Ok(finished) = self.lanes.finished().try_recv() {
            self.take(finished, totals, reply);
        }
    }

    fn take(
        &mut self,
        finished: FinishedExchange,
        totals: &mut CounterTotals,
        reply: &mut dyn FnMut(usize, StoreReply),
    ) {
        let now = Instant::now();
        let is_current = self.lanes.ended(&finished);
        self.stale |= is_current && finished.stale;
        if let Some(lost) = finished.node_lost.as_ref().filter(|_| is_current && finished.outcome.is_ok()) {
            self.note_lost_node(Some(lost));
        }
        let exchange = finished.exchange;
        let answered = finished.outcome.is_ok();
        let outage = match finished.outcome {
            Ok(answers) => {
                let (count, queue_full) = (answers.len() as u64, exchange.queue_full);
                let outage = self.answer(exchange, answers, totals, reply);
                if outage.is_none() && is_current {
                    self.health.exchanged(finished.took, queue_full);
                }
                if outage.is_none() {
                    self.traffic.record(count, finished.took);
                }
                outage
            }
            Err(failure) => {
                self.fail(exchange, reply);
                Some(failure)
            }
        };
        // Of several that were under way, the first that fails ends the connections of all.
        if let Some(failure) = outage.filter(|_| is_current) {
            // The same refusal again and again is in the log once.
            let is_news = self.last_error.as_deref() != Some(failure.0.as_str());
            let is_news =
                if answered { self.health.refused(now) && is_news } else { self.health.failed(now) };
            self.drop_connections(&failure, is_news);
        }
    }

    /// Answers the requests of an exchange, and applies its other answers. Returns an error that is about the store as
    /// a whole.
    fn answer(
        &mut self,
        exchange: StoreExchange,
        answers: Vec<OpAnswer>,
        totals: &mut CounterTotals,
        reply: &mut dyn FnMut(usize, StoreReply),
    ) -> Option<NodeFailure> {
        let now = Instant::now();
        let mut outage = None;
        let check = |answer| self.check_answer(answer, &mut outage);
        let mut answers = answers.into_iter().map(check).collect::<Vec<_>>().into_iter();
        for request in exchange.requests {
            match answers.next().flatten().and_then(|answer| reply_to(&request, &answer)) {
                Some((shard, answer)) => reply(shard, answer),
                None => {
                    self.traffic.unanswered += 1;
                    reply_failed(&request, reply);
                }
            }
        }
        for (op, answer) in exchange.timed.into_iter().zip(answers) {
            self.end_timed(&op);
            if let Some(answer) = answer {
                self.apply(op, &answer, totals, now);
            }
        }
        outage
    }

    /// Replies that there is no answer to any request of an exchange.
    fn fail(&mut self, exchange: StoreExchange, reply: &mut dyn FnMut(usize, StoreReply)) {
        self.traffic.unanswered += exchange.requests.len() as u64;
        exchange.requests.iter().for_each(|request| reply_failed(request, reply));
        exchange.timed.iter().for_each(|op| self.end_timed(op));
    }

    /// The operations that are due by the clock.
    fn timed_ops(&mut self, totals: &mut CounterTotals, now: Instant) -> Vec<TimedOp> {
        let mut timed = Vec::new();
        if !self.is_reachable() {
            return timed;
        }
        // One at a time: values read before a batch was added could be taken for values from after it.
        if !self.counters_under_way {
            if now >= self.counters_read_due && may_read(totals) {
                self.counters_read_due = now + READ_COUNTERS_EVERY;
                timed.push(TimedOp::ReadCounters(totals.names()));
            } else if now >= self.counters_due
                && let Some(batch) = totals.next_batch()
            {
                self.counters_due = now + SEND_COUNTERS_EVERY;
                timed.push(TimedOp::AddCounters(batch));
            }
            self.counters_under_way = !timed.is_empty();
        }
        if now >= self.keys_due && !self.keys_under_way {
            self.keys_due = now + CHECK_KEYS_EVERY;
            self.keys_under_way = true;
            timed.push(if self.keys_changed { TimedOp::ListKeys } else { TimedOp::KeysVersion });
        }
        timed
    }

    fn end_timed(&mut self, op: &TimedOp) {
        match op {
            TimedOp::AddCounters(_) | TimedOp::ReadCounters(_) => self.counters_under_way = false,
            TimedOp::KeysVersion | TimedOp::ListKeys => self.keys_under_way = false,
        }
    }

    fn check_answer(&mut self, answer: OpAnswer, outage: &mut Option<NodeFailure>) -> Option<Value> {
        answer
            .map_err(|error| {
                let failure = NodeFailure::from(&error);
                if op::is_outage(&error) {
                    *outage = Some(failure);
                } else {
                    self.record_error(&failure);
                }
            })
            .ok()
    }

    fn apply(&mut self, op: TimedOp, answer: &Value, totals: &mut CounterTotals, now: Instant) {
        match op {
            TimedOp::AddCounters(batch) => {
                if let Some(values) = op::counters(answer, batch.deltas.len()) {
                    totals.confirm(&values);
                }
            }
            TimedOp::ReadCounters(names) => {
                if let Some(values) = op::counters(answer, names.len()) {
                    totals.read(&names, &values);
                }
            }
            TimedOp::KeysVersion => {
                let version = op::version(answer);
                if self.keys.as_ref().is_none_or(|(known, _)| *known != version) {
                    (self.keys_changed, self.keys_due) = (true, now);
                }
            }
            TimedOp::ListKeys => {
                if let Some((version, entries)) = op::keys(answer) {
                    self.keys = Some((version, Arc::new(KeyList::of(entries))));
                    self.keys_changed = false;
                }
            }
        }
    }

    /// Sends the counters that are left, before the thread ends. Blocks, for a few timeouts at most.
    pub fn finish(&mut self, totals: &mut CounterTotals) {
        self.counters_read_due = Instant::now() + FINISH_WITHIN;
        // Twice: a batch that was sent before without an answer, and what was added since.
        for _ in 0..2 {
            self.counters_due = Instant::now();
            self.begin(&mut Vec::new(), totals, false, &mut |_, _| {});
            while self.is_busy() {
                let Ok(finished) = self.lanes.finished().recv_timeout(FINISH_WITHIN) else { break };
                self.take(finished, totals, &mut |_, _| {});
            }
        }
        if totals.has_unsent() {
            tracing::warn!("the store does not answer: what scripts have counted meanwhile is lost");
        }
    }
}

/// Whether the store's values of counters may be used.
fn may_read(totals: &CounterTotals) -> bool {
    !totals.is_empty() && !totals.has_pending_batch()
}
