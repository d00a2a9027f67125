//! The store in Redis, as the link's thread sees it: exchanges while it answers, attempts to connect while it does not.
//!
//! An exchange holds the thread up for at most the timeout. Connecting may take longer (names are looked up, a frozen
//! server still accepts), so that each attempt has a thread of its own, and what is asked meanwhile fails at once.

mod address;
mod connection;
mod keyring;
mod node;
mod op;
mod slots;
mod work;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::redis::Value;
use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::health::Health;
use super::keys::KeyList;
use super::message::{StoreReply, StoreRequest};
use super::snapshot::{StoreState, Traffic};
use super::totals::Totals;
use connection::Connection;
use op::{Answer, Names, Op};
use work::{Extra, answer_of, op_of, refuse};

pub use address::Address;
pub use keyring::KeyRing;
pub use node::Failure;

/// How often counters are sent, if there is something to send.
const COUNTERS_EVERY: Duration = Duration::from_millis(20);
/// How often counters are read, since other processes add to them.
const COUNTERS_READ_EVERY: Duration = Duration::from_millis(100);
/// How often it is looked whether keys have changed. It also finds out that a store nobody uses is lost.
const KEYS_EVERY: Duration = Duration::from_millis(400);
/// How often a cluster's slots are looked up again while it says that they move.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// `[store]` with a URL.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteConfig {
    pub address: Address,
    /// Of one exchange.
    pub timeout: Duration,
    /// In front of the names of all keys, not empty.
    pub key_prefix: String,
}

type Attempt = Receiver<Result<Connection, Failure>>;

pub struct Remote {
    config: Arc<RemoteConfig>,
    names: Arc<Names>,
    health: Health,
    connection: Option<Connection>,
    attempt: Option<Attempt>,
    counters_due: Instant,
    counters_read_due: Instant,
    keys_due: Instant,
    refresh_due: Instant,
    /// They are not as last read.
    keys_changed: bool,
    /// As last read.
    keys: Option<(Option<String>, Arc<KeyList>)>,
    last_error: Option<Arc<str>>,
    traffic: Traffic,
}

impl Remote {
    pub fn new(config: RemoteConfig, now: Instant) -> Remote {
        let random = RandomState::new();
        let names = Names::new(config.key_prefix.clone(), random.hash_one("process"));
        Remote {
            health: Health::new(now, config.timeout, random.hash_one("jitter")),
            config: Arc::new(config),
            names: Arc::new(names),
            connection: None,
            attempt: None,
            counters_due: now,
            counters_read_due: now,
            keys_due: now,
            refresh_due: now,
            keys_changed: false,
            keys: None,
            last_error: None,
            traffic: Traffic::default(),
        }
    }

    pub fn is_reachable(&self) -> bool {
        self.connection.is_some()
    }

    /// `None` until they have been read once. They stay while the store is lost.
    pub fn keys(&self) -> Option<Arc<KeyList>> {
        self.keys.as_ref().map(|(_, keys)| keys.clone())
    }

    pub fn state(&self) -> StoreState {
        self.health.state()
    }

    pub fn last_error(&self) -> Option<Arc<str>> {
        self.last_error.clone()
    }

    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// Ready when [`Remote::tick`] has something to take.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.attempt.as_ref()
    }

    /// When [`Remote::tick`] or [`Remote::serve`] have something to do without being asked.
    pub fn next_due(&self, totals: &Totals) -> Option<Instant> {
        if !self.is_reachable() {
            return self.attempt.is_none().then(|| self.health.next_try());
        }
        let counters = totals.is_unsent().then_some(self.counters_due);
        let reading = can_read(totals).then_some(self.counters_read_due);
        [counters, reading].into_iter().flatten().chain([self.keys_due]).min()
    }

    /// Takes a connection that is ready, and begins an attempt that is due.
    pub fn tick(&mut self, now: Instant) {
        if let Some(outcome) = self.finished_attempt() {
            self.attempt = None;
            self.refresh_due = now + REFRESH_EVERY;
            match outcome {
                Ok(connection) => self.adopt(connection, now),
                // A connection that is only stale goes on.
                Err(failure) if self.is_reachable() => self.note(&failure),
                Err(failure) => self.lose(&failure, now),
            }
        }
        let due = match &self.connection {
            Some(connection) => connection.stale && now >= self.refresh_due,
            None => now >= self.health.next_try(),
        };
        if due && self.attempt.is_none() {
            self.begin_attempt(now);
        }
    }

    fn finished_attempt(&self) -> Option<Result<Connection, Failure>> {
        match self.attempt.as_ref()?.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Failure("connecting has panicked".into()))),
        }
    }

    fn begin_attempt(&mut self, now: Instant) {
        let (outcome, attempt) = bounded(1);
        let (config, names) = (self.config.clone(), self.names.clone());
        let work = move || {
            // Nobody waits for it any more when the link has ended.
            let _ = outcome.send(Connection::open(&config.address, &names, config.timeout));
        };
        match std::thread::Builder::new().name("store-connect".into()).spawn(work) {
            Ok(_) => self.attempt = Some(attempt),
            Err(error) => self.lose(&Failure(format!("no thread to connect: {error}")), now),
        }
    }

    fn adopt(&mut self, connection: Connection, now: Instant) {
        if !self.is_reachable() {
            self.health.connected();
            tracing::info!("the store answers");
        }
        self.connection = Some(connection);
        (self.counters_due, self.counters_read_due, self.keys_due) = (now, now, now);
    }

    /// Drops the connection, if there is one: what it would say next belongs to what was given up.
    fn lose(&mut self, failure: &Failure, now: Instant) {
        self.connection = None;
        self.traffic.failures += 1;
        self.note(failure);
        if self.health.failed(now) || self.traffic.failures == 1 {
            tracing::warn!("the store does not answer: {failure}");
        }
    }

    fn note(&mut self, failure: &Failure) {
        self.last_error = Some(failure.0.as_str().into());
    }

    /// Answers all requests, and does what else is due, with one exchange. `crowded`: more requests came than may wait.
    pub fn serve(
        &mut self,
        requests: &mut Vec<StoreRequest>,
        totals: &mut Totals,
        crowded: bool,
        reply: &mut dyn FnMut(usize, StoreReply),
    ) {
        let now = Instant::now();
        let extras = self.extras(totals, now);
        if requests.is_empty() && extras.is_empty() {
            return;
        }
        let ops: Vec<Op> = requests.iter().filter_map(op_of).chain(extras.iter().map(Extra::op)).collect();
        let outcome = self.exchange(&ops, now, crowded);
        let Some((answers, outage)) = outcome else {
            self.traffic.unanswered += requests.len() as u64;
            requests.drain(..).for_each(|request| refuse(&request, reply));
            return;
        };
        let mut answers = answers.into_iter();
        for request in requests.drain(..) {
            match answers.next().flatten().and_then(|answer| answer_of(&request, &answer)) {
                Some((shard, answer)) => reply(shard, answer),
                None => {
                    self.traffic.unanswered += 1;
                    refuse(&request, reply);
                }
            }
        }
        for (extra, answer) in extras.into_iter().zip(answers) {
            if let Some(answer) = answer {
                self.take(extra, &answer, totals, now);
            }
        }
        if let Some(failure) = outage {
            self.lose(&failure, Instant::now());
        }
    }

    /// What is due by the clock.
    fn extras(&mut self, totals: &mut Totals, now: Instant) -> Vec<Extra> {
        let mut extras = Vec::new();
        if !self.is_reachable() {
            return extras;
        }
        // Not both: a reading from before the batch could be taken for one from after it.
        if now >= self.counters_read_due && can_read(totals) {
            self.counters_read_due = now + COUNTERS_READ_EVERY;
            extras.push(Extra::ReadCounters(totals.names()));
        } else if now >= self.counters_due
            && let Some(batch) = totals.offer()
        {
            self.counters_due = now + COUNTERS_EVERY;
            extras.push(Extra::Count(batch));
        }
        if now >= self.keys_due {
            self.keys_due = now + KEYS_EVERY;
            extras.push(if self.keys_changed { Extra::Keys } else { Extra::KeysVersion });
        }
        extras
    }

    /// For each command its answer, `None` where it is an error; and an error that is about the store as a whole.
    /// `None` for all: there is no store, or it was lost on the way.
    fn exchange(
        &mut self,
        ops: &[Op],
        began: Instant,
        crowded: bool,
    ) -> Option<(Vec<Option<Value>>, Option<Failure>)> {
        let connection = self.connection.as_mut()?;
        let answers = match connection.exchange(&self.names, ops, began + self.config.timeout) {
            Ok(answers) => answers,
            Err(failure) => {
                self.lose(&failure, Instant::now());
                return None;
            }
        };
        let mut outage = None;
        let answers = answers.into_iter().map(|answer| self.sort_out(answer, &mut outage)).collect();
        if outage.is_none() {
            self.health.exchanged(began.elapsed(), crowded);
            self.traffic.record(ops.len() as u64, began.elapsed());
        }
        Some((answers, outage))
    }

    fn sort_out(&mut self, answer: Answer, outage: &mut Option<Failure>) -> Option<Value> {
        answer
            .map_err(|error| {
                let failure = Failure::from(&error);
                if op::is_outage(&error) {
                    *outage = Some(failure);
                } else {
                    self.note(&failure);
                }
            })
            .ok()
    }

    fn take(&mut self, extra: Extra, answer: &Value, totals: &mut Totals, now: Instant) {
        match extra {
            Extra::Count(batch) => {
                if let Some(values) = op::counters(answer, batch.deltas.len()) {
                    totals.settle(&values);
                }
            }
            Extra::ReadCounters(names) => {
                if let Some(values) = op::counters(answer, names.len()) {
                    totals.read(&names, &values);
                }
            }
            Extra::KeysVersion => {
                let version = op::version(answer);
                if self.keys.as_ref().is_none_or(|(known, _)| *known != version) {
                    (self.keys_changed, self.keys_due) = (true, now);
                }
            }
            Extra::Keys => {
                if let Some((version, entries)) = op::keys(answer) {
                    self.keys = Some((version, Arc::new(KeyList::of(entries))));
                    self.keys_changed = false;
                }
            }
        }
    }

    /// Sends the counters that are left, at the end.
    pub fn finish(&mut self, totals: &mut Totals) {
        self.counters_read_due = Instant::now() + COUNTERS_READ_EVERY;
        // Twice: a batch that was offered before, and what was added since.
        for _ in 0..2 {
            self.counters_due = Instant::now();
            self.serve(&mut Vec::new(), totals, false, &mut |_, _| {});
        }
        if totals.is_unsent() {
            tracing::warn!("the store does not answer: what scripts have counted meanwhile is lost");
        }
    }
}

/// Whether the store's sums would be of use.
fn can_read(totals: &Totals) -> bool {
    !totals.is_empty() && !totals.is_offered()
}
