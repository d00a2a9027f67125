//! A shard's side of the link, without an event loop.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};

use crate::limit::{Key, LeaseGrant, LeaseRequest, Rule, Verdict};
use crate::store::{CounterSums, KeyList, Link, ShardCounters, StoreReply, StoreRequest};

/// A test that waits for longer has failed.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(20);

pub struct TestShard {
    pub id: usize,
    link: Link,
    pub counters: ShardCounters,
    pub replies: Receiver<StoreReply>,
    /// The tickets of all replies that were taken.
    tickets: RefCell<Vec<u64>>,
    /// As last announced.
    reachable: Cell<bool>,
    keys: RefCell<Arc<KeyList>>,
}

impl TestShard {
    /// Joins, and waits for the first replies.
    pub fn join(link: &Link, id: usize) -> TestShard {
        let (sink, replies) = unbounded();
        link.join_shard(id, Box::new(move |reply| sink.send(reply).is_ok()));
        let shard = TestShard {
            id,
            link: link.clone(),
            counters: ShardCounters::new(),
            replies,
            tickets: RefCell::default(),
            reachable: Cell::new(false),
            keys: RefCell::default(),
        };
        shard.next_sums();
        shard
    }

    pub fn tick(&self) {
        let deltas = self.counters.take_deltas();
        if !deltas.is_empty() && self.link.send(StoreRequest::Counters { shard: self.id, deltas }).is_err() {
            self.counters.put_back();
        }
    }

    /// Adds, and waits until the link has it.
    pub fn count(&self, name: &str, n: i64) {
        self.counters.add(name, n);
        self.tick();
        while !self.next_sums().acknowledges {}
    }

    pub fn next(&self) -> StoreReply {
        let reply = self.replies.recv_timeout(TEST_TIMEOUT).expect("a reply comes");
        match &reply {
            StoreReply::Counters(sums) => self.counters.apply(sums),
            StoreReply::Reachable(reachable) => self.reachable.set(*reachable),
            StoreReply::Keys(keys) => *self.keys.borrow_mut() = keys.clone(),
            _ => {}
        }
        self.tickets.borrow_mut().extend(ticket_of(&reply));
        reply
    }

    pub fn next_sums(&self) -> CounterSums {
        loop {
            if let StoreReply::Counters(sums) = self.next() {
                return sums;
            }
        }
    }

    /// Takes replies until the counter has the value.
    pub fn await_value(&self, name: &str, value: i64) {
        while self.counters.value(name) != value {
            self.next_sums();
        }
    }

    pub fn await_reachable(&self, wanted: bool) {
        while self.reachable.get() != wanted {
            self.next();
        }
    }

    pub fn await_keys(&self, wanted: impl Fn(&KeyList) -> bool) {
        while !wanted(&self.keys.borrow()) {
            self.next();
        }
    }

    /// `None`: the store failed.
    pub fn strict(&self, ticket: u64, rule: &Rule) -> Option<Verdict> {
        self.send_strict(ticket, rule, Key::new(b"k"));
        match self.answer(ticket) {
            StoreReply::Strict { verdict, .. } => Some(verdict),
            StoreReply::Failed { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    pub fn send_strict(&self, ticket: u64, rule: &Rule, key: Key) {
        assert!(self.try_strict(ticket, rule, key));
    }

    /// Whether the link took it.
    pub fn try_strict(&self, ticket: u64, rule: &Rule, key: Key) -> bool {
        let request = StoreRequest::Strict { shard: self.id, ticket, limit: "api".into(), rule: *rule, key };
        self.link.send(request).is_ok()
    }

    /// `None`: the store failed.
    pub fn lease(&self, ticket: u64, rule: &Rule, request: LeaseRequest) -> Option<LeaseGrant> {
        let (shard, limit, rule) = (self.id, "api".into(), *rule);
        assert!(self.link.send(StoreRequest::Lease { shard, ticket, limit, rule, request }).is_ok());
        match self.answer(ticket) {
            StoreReply::Lease { grant, .. } => Some(grant),
            StoreReply::Failed { .. } => None,
            other => panic!("{other:?}"),
        }
    }

    /// The next reply that has a ticket, which must be this one.
    pub fn answer(&self, ticket: u64) -> StoreReply {
        loop {
            let reply = self.next();
            if let Some(got) = ticket_of(&reply) {
                assert_eq!(got, ticket);
                return reply;
            }
        }
    }

    /// Those of all replies so far, waited for or not.
    pub fn tickets(&self) -> Vec<u64> {
        self.tickets.borrow_mut().extend(self.replies.try_iter().filter_map(|reply| ticket_of(&reply)));
        self.tickets.borrow().clone()
    }
}

fn ticket_of(reply: &StoreReply) -> Option<u64> {
    match reply {
        StoreReply::Lease { ticket, .. }
        | StoreReply::Strict { ticket, .. }
        | StoreReply::Failed { ticket } => Some(*ticket),
        StoreReply::Counters(_) | StoreReply::Keys(_) | StoreReply::Reachable(_) => None,
    }
}
