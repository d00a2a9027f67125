//! The store in Redis, as the link's thread sees it: exchanges while it answers, attempts to connect while it does not.
//!
//! An exchange blocks the thread for at most the timeout. Connecting may take longer (names are resolved, a frozen
//! server still accepts), so that each attempt has a thread of its own, and requests fail at once meanwhile.

mod address;
mod connection;
mod keyring;
mod node;
mod op;
mod requests;
mod scripts;
mod slots;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value;
use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::health::StoreHealth;
use super::keys::KeyList;
use super::message::{StoreReply, StoreRequest};
use super::snapshot::{StoreState, StoreTraffic};
use super::totals::CounterTotals;
use connection::RedisConnection;
use op::{Keyspace, Op, OpAnswer};
use requests::{TimedOp, op_of, reply_failed, reply_to};

pub use address::Address;
pub use keyring::KeyRing;
pub use node::NodeFailure;

/// How often counters are sent, if there is something to send.
const SEND_COUNTERS_EVERY: Duration = Duration::from_millis(20);
/// How often counters are read, since other processes add to them.
const READ_COUNTERS_EVERY: Duration = Duration::from_millis(100);
/// How often the version of the API keys is read. This also detects the loss of a store that nothing else uses.
const CHECK_KEYS_EVERY: Duration = Duration::from_millis(400);
/// How often a cluster's slots are read again while it reports that they move.
const REFRESH_SLOTS_EVERY: Duration = Duration::from_secs(1);

/// `[store]` with a URL.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteConfig {
    pub address: Address,
    /// For one exchange.
    pub timeout: Duration,
    /// Begins the names of all keys in Redis; not empty.
    pub key_prefix: String,
}

type ConnectAttempt = Receiver<Result<RedisConnection, NodeFailure>>;

pub struct RemoteStore {
    config: Arc<RemoteConfig>,
    keyspace: Arc<Keyspace>,
    health: StoreHealth,
    connection: Option<RedisConnection>,
    attempt: Option<ConnectAttempt>,
    counters_due: Instant,
    counters_read_due: Instant,
    keys_due: Instant,
    refresh_due: Instant,
    /// The API keys have changed since they were read.
    keys_changed: bool,
    /// The API keys and their version, as last read.
    keys: Option<(Option<String>, Arc<KeyList>)>,
    last_error: Option<Arc<str>>,
    traffic: StoreTraffic,
}

impl RemoteStore {
    pub fn new(config: RemoteConfig, now: Instant) -> RemoteStore {
        let random = RandomState::new();
        let keyspace = Keyspace::new(config.key_prefix.clone(), random.hash_one("process"));
        RemoteStore {
            health: StoreHealth::new(now, config.timeout, random.hash_one("jitter")),
            config: Arc::new(config),
            keyspace: Arc::new(keyspace),
            connection: None,
            attempt: None,
            counters_due: now,
            counters_read_due: now,
            keys_due: now,
            refresh_due: now,
            // The whole list at once: gateways wait for it.
            keys_changed: true,
            keys: None,
            last_error: None,
            traffic: StoreTraffic::default(),
        }
    }

    pub fn is_reachable(&self) -> bool {
        self.connection.is_some()
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

    /// When [`RemoteStore::tick`] or [`RemoteStore::serve`] have something to do without a request.
    pub fn next_due(&self, totals: &CounterTotals) -> Option<Instant> {
        if !self.is_reachable() {
            return self.attempt.is_none().then(|| self.health.next_try());
        }
        let counters = totals.has_unsent().then_some(self.counters_due);
        let reading = may_read(totals).then_some(self.counters_read_due);
        [counters, reading].into_iter().flatten().chain([self.keys_due]).min()
    }

    /// Takes a new connection, and begins an attempt to connect that is due.
    pub fn tick(&mut self, now: Instant) {
        if let Some(outcome) = self.connecting_result() {
            self.attempt = None;
            self.refresh_due = now + REFRESH_SLOTS_EVERY;
            match outcome {
                Ok(connection) => self.adopt(connection, now),
                // The present connection is stale, but works.
                Err(failure) if self.is_reachable() => self.record_error(&failure),
                Err(failure) => self.lose(&failure, now),
            }
        }
        let due = match &self.connection {
            Some(connection) => connection.stale && now >= self.refresh_due,
            None => now >= self.health.next_try(),
        };
        if due && self.attempt.is_none() {
            self.begin_connecting(now);
        }
    }

    fn connecting_result(&self) -> Option<Result<RedisConnection, NodeFailure>> {
        match self.attempt.as_ref()?.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(NodeFailure("connecting has panicked".into()))),
        }
    }

    fn begin_connecting(&mut self, now: Instant) {
        let (outcome, attempt) = bounded(1);
        let (config, keyspace) = (self.config.clone(), self.keyspace.clone());
        let work = move || {
            // The link may have ended, and dropped the receiver.
            let _ = outcome.send(RedisConnection::open(&config.address, &keyspace, config.timeout));
        };
        match std::thread::Builder::new().name("store-connect".into()).spawn(work) {
            Ok(_) => self.attempt = Some(attempt),
            Err(error) => self.lose(&NodeFailure(format!("no thread to connect: {error}")), now),
        }
    }

    fn adopt(&mut self, connection: RedisConnection, now: Instant) {
        if !self.is_reachable() {
            self.health.connected();
            tracing::info!("the store answers");
        }
        self.connection = Some(connection);
        (self.counters_due, self.counters_read_due, self.keys_due) = (now, now, now);
    }

    /// Drops the connection, if there is one: the next replies on it would be those to operations that were given up.
    fn lose(&mut self, failure: &NodeFailure, now: Instant) {
        self.connection = None;
        self.traffic.failures += 1;
        self.record_error(failure);
        if self.health.failed(now) || self.traffic.failures == 1 {
            tracing::warn!("the store does not answer: {failure}");
        }
    }

    fn record_error(&mut self, failure: &NodeFailure) {
        self.last_error = Some(failure.0.as_str().into());
    }

    /// Answers all requests, and does what else is due, with one exchange. `queue_full`: more requests came than may
    /// wait.
    pub fn serve(
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
        let ops: Vec<Op> = requests.iter().filter_map(op_of).chain(timed.iter().map(TimedOp::op)).collect();
        let outcome = self.exchange(&ops, now, queue_full);
        let Some((answers, outage)) = outcome else {
            self.traffic.unanswered += requests.len() as u64;
            requests.drain(..).for_each(|request| reply_failed(&request, reply));
            return;
        };
        let mut answers = answers.into_iter();
        for request in requests.drain(..) {
            match answers.next().flatten().and_then(|answer| reply_to(&request, &answer)) {
                Some((shard, answer)) => reply(shard, answer),
                None => {
                    self.traffic.unanswered += 1;
                    reply_failed(&request, reply);
                }
            }
        }
        for (op, answer) in timed.into_iter().zip(answers) {
            if let Some(answer) = answer {
                self.apply(op, &answer, totals, now);
            }
        }
        if let Some(failure) = outage {
            self.lose(&failure, Instant::now());
        }
    }

    /// The operations that are due by the clock.
    fn timed_ops(&mut self, totals: &mut CounterTotals, now: Instant) -> Vec<TimedOp> {
        let mut timed = Vec::new();
        if !self.is_reachable() {
            return timed;
        }
        // Not both: values read before the batch was added could be taken for values from after it.
        if now >= self.counters_read_due && may_read(totals) {
            self.counters_read_due = now + READ_COUNTERS_EVERY;
            timed.push(TimedOp::ReadCounters(totals.names()));
        } else if now >= self.counters_due
            && let Some(batch) = totals.next_batch()
        {
            self.counters_due = now + SEND_COUNTERS_EVERY;
            timed.push(TimedOp::AddCounters(batch));
        }
        if now >= self.keys_due {
            self.keys_due = now + CHECK_KEYS_EVERY;
            timed.push(if self.keys_changed { TimedOp::ListKeys } else { TimedOp::KeysVersion });
        }
        timed
    }

    /// The answer to each operation, `None` where it is an error; and an error that is about the store as a whole.
    /// `None` for all: the store is not connected, or was lost during the exchange.
    fn exchange(
        &mut self,
        ops: &[Op],
        began: Instant,
        queue_full: bool,
    ) -> Option<(Vec<Option<Value>>, Option<NodeFailure>)> {
        let connection = self.connection.as_mut()?;
        let answers = match connection.exchange(&self.keyspace, ops, began + self.config.timeout) {
            Ok(answers) => answers,
            Err(failure) => {
                self.lose(&failure, Instant::now());
                return None;
            }
        };
        let mut outage = None;
        let answers = answers.into_iter().map(|answer| self.check_answer(answer, &mut outage)).collect();
        if outage.is_none() {
            self.health.exchanged(began.elapsed(), queue_full);
            self.traffic.record(ops.len() as u64, began.elapsed());
        }
        Some((answers, outage))
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

    /// Sends the counters that are left, before the thread ends.
    pub fn finish(&mut self, totals: &mut CounterTotals) {
        self.counters_read_due = Instant::now() + READ_COUNTERS_EVERY;
        // Twice: a batch that was sent before without an answer, and what was added since.
        for _ in 0..2 {
            self.counters_due = Instant::now();
            self.serve(&mut Vec::new(), totals, false, &mut |_, _| {});
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
